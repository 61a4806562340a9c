"""The service on recorded answers of Slurm: starting, finding, remembering."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.engines.slurm_replay import VERSIONS, Recording, Replay, from_program
from tests.unit.sessions.test_logout import LOGIN, Logind
from vizdash.config import App, Cluster, Config
from vizdash.engines.base import EngineInfo
from vizdash.engines.job_selection import JobSelection, SelectedJobs
from vizdash.engines.local import LocalEngine
from vizdash.engines.slurm import SlurmEngine
from vizdash.errors import ConfigError, NotFound, Refused, Unreachable, UsageError
from vizdash.images import survey
from vizdash.model import (
    ImageRoot,
    Job,
    Matrix,
    Node,
    Reservation,
    Resources,
    SessionRequest,
    SessionState,
)
from vizdash.service.builds import ImageBuilder
from vizdash.service.doctor.checks import Case
from vizdash.service.doctor.cluster_checks import check_partition
from vizdash.service.service import Service
from vizdash.sessions.capacity import CapacityVerdict
from vizdash.sessions.folder import sessions_root
from vizdash.sessions.last_request import build_request
from vizdash.transport.forwarders import LocalForwarder, SshForwarder

APP = App(
    "plain",
    runtime="host",
    host_command="exec openbox",
    resources=Resources(1, 128, 0, 7200),
    presets={"big": Resources(4, 1024, 0, 7200)},
)
REQUEST = SessionRequest("plain", APP.resources)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def service(
    *, read_only: bool = False, user: str = "alice", partition: str = "", **instead: str
) -> Service:
    runner = Replay(Recording(VERSIONS[-1]), instead=instead)
    cluster = Cluster("viz", partition=partition)
    config = Config(cluster, {"viz": cluster}, {"plain": APP}, read_only=read_only)
    return Service(config, SlurmEngine(runner, user=user), runner, SshForwarder())


def sent(made: Service) -> list[str]:
    runner = made._runner
    assert isinstance(runner, Replay)
    return [from_program(command)[0] for command in runner.commands]


async def fit(made: Service, request: SessionRequest) -> CapacityVerdict:
    """What is said of whether it fits."""
    return (await made.plan(request)).verdict


def folders() -> list[Path]:
    return list(sessions_root().glob("*")) if sessions_root().exists() else []


async def test_slow_image_folders_do_not_count_as_a_slow_controller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, clock = service(), [0.0]
    nodes = made.engine.nodes

    async def three_seconds() -> tuple[Node, ...]:
        clock[0] += 3
        return await nodes()

    async def half_a_minute(nodes: Sequence[Node], wait_s: float | None = None) -> Matrix:
        clock[0] += 30
        return Matrix()

    monkeypatch.setattr(
        "vizdash.service.service.time", SimpleNamespace(monotonic=lambda: clock[0], time=time.time)
    )
    monkeypatch.setattr(made.engine, "nodes", three_seconds)
    monkeypatch.setattr(made.images, "cached_matrix", half_a_minute)
    assert (await made.snapshot()).asked_s == 3
    assert clock == [33]


async def test_a_snapshot_is_as_old_as_its_answer_about_the_users_jobs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, clock, answered = service(), [1000.0], asyncio.Event()
    monkeypatch.setattr("vizdash.service.query_cache.time.time", lambda: clock[0])
    own, nodes, others = made.queries.own_jobs, made.engine.nodes, made.queries.others_jobs

    async def own_jobs_then_signal() -> tuple[Job, ...]:
        found = await own()
        answered.set()
        return found

    async def slow_nodes() -> tuple[Node, ...]:
        await answered.wait()
        clock[0] += 60
        return await nodes()

    async def slow_others(selection: JobSelection) -> SelectedJobs:
        clock[0] += 60
        return await others(selection)

    async def slow_matrix(*_: object) -> Matrix:
        clock[0] += 60
        return Matrix()

    monkeypatch.setattr(made.queries, "own_jobs", own_jobs_then_signal)
    monkeypatch.setattr(made.queries, "others_jobs", slow_others)
    monkeypatch.setattr(made.engine, "nodes", slow_nodes)
    monkeypatch.setattr(made.images, "cached_matrix", slow_matrix)
    assert (await made.snapshot()).taken_at == 1000
    assert clock[0] >= 1180


async def test_a_start_leaves_a_folder_and_is_remembered() -> None:
    made = service(sbatch="sbatch-ok")
    session = await made.start(REQUEST)
    assert session.state is SessionState.PENDING
    assert session.job_id.isdigit()
    assert [f.name for f in folders()] == [session.id]
    assert made.user_data.last_request() == REQUEST
    charged = await made.start(replace(REQUEST, account="chem", qos="long"))
    assert (charged.account, charged.qos) == ("chem", "long")


@pytest.mark.parametrize("answer", ["sbatch-account", "sbatch-down", "sbatch-not-installed"])
async def test_a_start_that_slurm_refuses_leaves_nothing(answer: str) -> None:
    made = service(sbatch=answer)
    with pytest.raises((Refused, Unreachable)):
        await made.start(REQUEST)
    assert "sbatch" in sent(made)
    assert folders() == []
    assert made.user_data.last_request() is None


async def test_what_cannot_fit_is_refused_before_sbatch() -> None:
    made = service(sbatch="sbatch-ok")
    with pytest.raises(Refused, match="cores requested, but"):
        await made.start(replace(REQUEST, resources=Resources(5000, 128, 0, 7200)))
    assert "sbatch" not in sent(made)
    assert folders() == []


async def test_an_account_that_the_partition_does_not_name_is_left_to_slurm() -> None:
    """AllowAccounts means the accounts below the named ones too, and vizdash knows no tree."""
    gated = replace(REQUEST, partition="gated", account="physics")
    made = service(sbatch="sbatch-ok")
    assert (await made.start(gated)).state is SessionState.PENDING
    with pytest.raises(Refused, match="may not use this account with this partition"):
        await service(sbatch="sbatch-gated").start(gated)


async def test_a_constraint_and_a_reservation_are_held_against_the_nodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = service()
    (maint,) = [r for r in await made.engine.reservations() if r.name == "maint"]
    monkeypatch.setattr("time.time", lambda: maint.start_at + 60.0)
    anywhere = await fit(made, REQUEST)
    gpu = await fit(made, replace(REQUEST, constraint="gpu"))
    with_gpu = tuple((name, n) for name, n in anywhere.fits_now if name == "viz-node002")
    assert gpu.fits_now == with_gpu
    assert gpu.fits_now != anywhere.fits_now
    assert await fit(made, replace(REQUEST, extra=("-C", "gpu"))) == gpu
    assert (
        "constraint 'gpu|big'"
        in (await fit(made, replace(REQUEST, constraint="gpu|big"))).undetermined
    )
    spare = replace(REQUEST, partition="spare", resources=Resources(1, 128, 0, 600))
    assert re.fullmatch(r"maintenance until .*[0-9]{2}:[0-9]{2}", (await fit(made, spare)).text)
    refusal = (await fit(made, replace(spare, reservation="maint"))).refusal
    assert refusal.startswith("reservation 'maint' is not for you: maintenance until ")


async def test_a_reservation_that_is_requested_lets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    made = service()
    (maint,) = [r for r in await made.engine.reservations() if r.name == "maint"]
    monkeypatch.setattr("time.time", lambda: maint.start_at + 60.0)
    shown: list[tuple[Reservation, ...]] = [()]

    async def reservations() -> tuple[Reservation, ...]:
        return shown[-1]

    monkeypatch.setattr(made.engine, "reservations", reservations)
    spare = replace(REQUEST, partition="spare", resources=Resources(1, 128, 0, 600))
    assert (await fit(made, replace(spare, reservation="maint"))).unknown_name
    shown.append((replace(maint, users=("alice",)),))  # made a moment ago
    for its in ({"reservation": "maint"}, {"extra": ("--reservation=maint",)}):
        inside = await fit(made, replace(spare, **its))
        assert [name for name, _ in inside.fits_now] == ["viz-node011"]


async def test_what_fits_is_held_against_the_jobs_that_run_and_wait() -> None:
    """The partition's limit is of all its jobs, and a waiting one may have the node planned."""
    made = service()
    small = replace(REQUEST, resources=Resources(1, 128, 0, 60))
    found = await fit(made, replace(small, partition="short"))
    assert "squeue" in sent(made)
    assert found.fits_now == (("viz-node001", 2),)


async def test_several_partitions_are_requested_at_once() -> None:
    made = service(sbatch="sbatch-ok", partition="short,spare")
    seen = await made.snapshot(images=False)
    assert (seen.partition, {n.name for n in seen.nodes}) == (
        "short,spare",
        {"viz-node001", "viz-node011"},
    )
    both = replace(REQUEST, partition="viz,short")
    one = await fit(made, replace(REQUEST, partition="viz"))
    assert (await fit(made, both)).fits_now == one.fits_now
    found = await fit(made, replace(REQUEST, partition="viz,shirt"))
    assert found.refusal == "partition 'shirt' is not there"
    assert found.fix == "did you mean 'short'?"


async def test_what_a_job_scripts_sbatch_lines_request_is_judged(tmp_path: Path) -> None:
    """The job has what they say, where vizdash's own arguments do not say otherwise."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    app = replace(APP, kind="legacy", script="job.sh")

    async def judged(*lines: str, partition: str = "") -> CapacityVerdict:
        text = "".join(f"#SBATCH {line}\n" for line in lines)
        (folder / "job.sh").write_text(f"#!/bin/bash\n{text}sleep 600\n")
        made = service(sbatch="sbatch-ok", partition=partition)
        cluster = replace(made.config.cluster, job_scripts=str(folder))
        config = replace(
            made.config, cluster=cluster, clusters={"viz": cluster}, apps={"plain": app}
        )
        made = Service(config, made.engine, made._runner, SshForwarder())
        return await fit(made, replace(REQUEST, resources=Resources(1, 128, 0, 600)))

    usual = await judged()
    assert len(usual.candidates) > 1
    spare = await judged("--partition=spare")
    assert spare.candidates == ("viz-node011",)
    assert await judged("-p spare") == spare
    assert await judged("--partition=spare", partition="viz") == usual
    in_vain = ("--mem=99G", "--time 9:00", "-n1", "-N 1", "-c4", "--ntasks-per-node=1", "-J x")
    assert await judged(*in_vain) == usual
    missing = await judged("-pnowhere")
    assert missing.refusal == "partition 'nowhere' is not there"
    exclusive = await judged("--exclusive")
    assert exclusive.undetermined == "only the scheduler knows what fits with --exclusive"
    assert (await judged("--gres=gpu:1")).undetermined.endswith("--gres")
    assert (await judged("--constraint=gpu")).candidates == ("viz-node002", "viz-node003")


async def test_a_configured_partition_that_does_not_exist_is_reported() -> None:
    made = service(sbatch="sbatch-ok", partition="vis")
    for attempt in (made.snapshot(), made.plan(REQUEST), made.start(REQUEST)):
        with pytest.raises(ConfigError) as caught:
            await attempt
        assert caught.value.line == (
            "clusters.viz.partition: the cluster shows no partition 'vis' (did you mean 'viz'?)"
        )
    assert "sbatch" not in sent(made)
    assert (await made.start(replace(REQUEST, partition="viz"))).partition == "viz"
    # One that is like none may be hidden.
    assert await service(sbatch="sbatch-ok", partition="by-night").start(REQUEST)


async def test_where_partitions_are_private_the_scheduler_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ "partition 'viz' is not there"; scontrol shows no nodes then, either."""

    async def private() -> EngineInfo:
        return EngineInfo("slurm", "viz", "24.11", "alice", private=("jobs", "partitions"))

    async def none() -> tuple[()]:
        return ()

    made = service(sbatch="sbatch-ok", partition="viz")
    for name, answer in (("info", private), ("partitions", none), ("nodes", none)):
        monkeypatch.setattr(made.engine, name, answer)
    assert (await made.snapshot(images=False)).partition == ""
    expected = "only the scheduler knows: this cluster keeps its partitions private"
    assert (await fit(made, replace(REQUEST, partition="short"))).text == expected
    assert (await made.start(REQUEST)).reason == expected
    case = cast("Case", SimpleNamespace(service=made, request=REQUEST, nodes=()))
    assert await check_partition(case) == "viz: partitions are hidden from you on this cluster"


async def test_when_it_would_start_is_asked_and_nothing_is_submitted() -> None:
    made = service(sbatch="test-later")
    at = await made.expected_start(await made.plan(REQUEST))
    assert at is not None
    later = CapacityVerdict(candidates=("viz-node001",))
    assert later.text_with_start(at, at - 7200).endswith("(in 2 h), on viz-node001")
    assert folders() == []
    assert made.user_data.last_request() is None


async def test_read_only_changes_nothing() -> None:
    made = service(read_only=True)
    (session, *_) = await made.sessions.query(all_users=True)
    with pytest.raises(Refused, match="changes nothing"):
        await made.start(REQUEST)
    with pytest.raises(Refused, match="changes nothing"):
        await made.stop(session)
    assert not {"sbatch", "scancel"} & set(sent(made))


async def test_another_users_session_can_be_neither_stopped_nor_read_nor_opened() -> None:
    made = service(user="nobody-of-these")
    (session, *_) = await made.sessions.query(all_users=True)
    assert not session.mine
    for attempt in (
        made.stop(session),
        made.sessions.log(session),
        made.desktops.open_route(session),
    ):
        with pytest.raises(Refused, match=session.user):
            await attempt
    assert "scancel" not in sent(made)


async def test_a_session_is_found_by_its_id_its_start_and_its_job() -> None:
    made = service()
    sessions = await made.sessions.query()
    ids = [s.id for s in sessions]
    one = next(s for s in sessions if ids.count(s.id) == 1)
    for word in (one.id, one.id[:5], one.job_id):
        if sum(i.startswith(word) for i in ids) <= 1:
            assert await made.sessions.find(word) == one
    for word in ("ffffffff", one.id[:2], ""):
        with pytest.raises(NotFound, match="no such session of yours"):
            await made.sessions.find(word)


async def test_a_word_that_could_mean_several_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = service()
    (one, *_) = await made.sessions.query()

    async def several(**_: object) -> tuple[object, ...]:
        return (one, replace(one, job_id="4711"))

    monkeypatch.setattr(made.sessions, "query", several)
    with pytest.raises(UsageError, match="name the job id"):
        await made.sessions.find(one.id)
    assert (await made.sessions.find("4711")).job_id == "4711"


@pytest.mark.parametrize(
    "change",
    [
        {"resources": {"cores": "2", "memory_mib": 128, "gpus": 0, "time_s": 60}},
        {"resources": {"cores": 0, "memory_mib": 128, "gpus": 0, "time_s": 60}},
        {"resources": {"cores": 1}, "more": 1},
        {"resources": None},
        {"app": "gone"},
        {"app": ["plain"]},
        {"node": 7},
        {"extra": [1]},
    ],
)
async def test_a_damaged_memory_of_the_last_choice_is_none(
    tmp_path: Path, change: dict[str, object]
) -> None:
    made = service(sbatch="sbatch-ok")
    await made.start(REQUEST)
    (path,) = (tmp_path / "state/vizdash").glob("last-*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert made.user_data.last_request() is None
    for text in ("", "[]", "null", "{", "\0"):
        path.write_text(text)
        assert made.user_data.last_request() is None


async def test_a_home_that_is_full_does_not_spoil_a_start(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    made = service(sbatch="sbatch-ok")
    assert (await made.start(REQUEST)).job_id
    assert made.user_data.last_request() is None


def test_choices_lie_over_the_apps_defaults_and_presets() -> None:
    assert build_request(APP, {}).resources == APP.resources
    chosen = build_request(APP, {"cores": 2, "time_s": None, "node": "n1"}, "big")
    assert chosen.resources == Resources(2, 1024, 0, 7200)
    assert chosen.node == "n1"
    with pytest.raises(UsageError, match="did you mean 'big'"):
        build_request(APP, {}, "bigg")


def test_a_changed_config_is_taken_whole_but_for_what_the_connection_was_made_with() -> None:
    made = service()
    made.images.latest = Matrix((), (ImageRoot("n1"),))
    new = Cluster("viz", image_root="/new", host="me@login", tunnel="srun", refresh_s=3)
    changed = Config(Cluster("other"), {"other": Cluster("other"), "viz": new}, {})
    assert made.use(changed) == ("clusters.viz.host", "clusters.viz.tunnel")
    assert made.config.cluster == replace(new, host="", tunnel="auto")
    assert made.images.latest == Matrix()
    assert made.apps.all == ()
    assert made.use(Config(Cluster("other"), {}, {})) == ("clusters.viz",)
    assert made.config.cluster.image_root == "/new"


def test_a_config_that_is_the_same_leaves_nothing_as_it_was() -> None:
    """Nor is the cluster gone from it: each start of the dashboard said so."""
    made = service()
    assert made.use(made.config) == ()
    assert made.use(replace(made.config, cluster=Cluster("other"))) == ()
    assert made.use(Config(Cluster("other"), {}, {})) == ("clusters.viz",)


async def test_operators_do_as_the_changed_config_says() -> None:
    made = service()
    made.use(replace(made.config, read_only=True))
    with pytest.raises(Refused, match="read-only"):
        await made.operations.drain("n1", "a fan")
    made.use(replace(made.config, read_only=False))
    with pytest.raises(Refused, match="you may not"):
        await made.operations.drain("n1", "a fan")


async def test_what_is_seen_in_the_old_image_root_says_nothing_of_the_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, looked, gate = service(), [], asyncio.Event()

    async def collect(shell: object, nodes: object, root: str, **more: object) -> Matrix:
        looked.append(root)
        await gate.wait()
        return Matrix((), (ImageRoot(root),))

    monkeypatch.setattr(survey, "survey_nodes", collect)
    began = await made.images.cached_matrix((), wait_s=0)
    assert began == Matrix()
    cluster = replace(made.config.cluster, image_root="/new")
    made.use(replace(made.config, cluster=cluster))
    gate.set()
    assert await made.images.cached_matrix(()) == Matrix((), (ImageRoot("/new"),))
    looks = len(looked)
    made.use(replace(made.config, read_only=True))
    assert await made.images.cached_matrix(()) == Matrix((), (ImageRoot("/new"),))
    assert (len(looked), looked[-1]) == (looks, "/new")


def test_builds_go_where_the_changed_config_says() -> None:
    made = service()
    building = ImageBuilder(made)
    cluster = replace(made.config.cluster, image_store="/new")
    made.use(replace(made.config, cluster=cluster))
    assert building.cluster == cluster
    assert building.store.root == Path("/new")


@pytest.mark.parametrize(("kill", "warned"), [("yes", True), ("no", False)])
async def test_a_local_session_that_would_end_at_logout(
    kill: str, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vizdash.sessions.logout._own_cgroup", lambda: LOGIN)
    config = Config(Cluster("here"), {}, {"plain": APP})
    made = Service(config, LocalEngine(tmp_path), Logind(kill), LocalForwarder())
    warning = await made.query_logout_warning()
    assert ("KillUserProcesses=yes" in warning) is warned
    assert warned or not warning
    assert await service().query_logout_warning() == ""
