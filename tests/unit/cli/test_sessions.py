"""The verbs about sessions, on an engine whose answers are the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.cli.vd import Said, Vizdash
from vizdash import waiting
from vizdash.config import Config
from vizdash.engines import Engine, EngineInfo
from vizdash.errors import Refused, Unreachable, UsageError, VizdashError
from vizdash.model import Job, JobRequest, JobState, Node, Partition, Reservation
from vizdash.service import Service
from vizdash.sessions import folder
from vizdash.sessions.comment import Claim, decode, encode
from vizdash.sessions.routes import Route
from vizdash.transport import Command, Result
from vizdash.transport.forward import SshForwarder

ONE, TWO, THREE = "3f9a01bc", "3f9a02bc", "4c0ffee0"


def job(
    number: int, session_id: str, state: JobState = JobState.RUNNING, claimed: str = "ready"
) -> Job:
    claim = encode(Claim(session_id, "desktop", "", claimed, "xvnc"))
    return Job(str(number), "alice", "vizdash-desktop", state, node="n1", comment=claim)


def _write_status(job: Job) -> None:
    """What the job itself would write into its folder."""
    claim = decode(job.comment)
    if claim is not None and job.state is JobState.RUNNING and folder.folder_of(claim.id).exists():
        text = f"STATE={claim.state}\nSTEP={claim.step}\nJOB_ID={job.id}\n"
        (folder.folder_of(claim.id) / "status").write_text(text)


class NoCommands:
    """Nothing is run."""

    async def run(self, command: Command) -> Result:
        return Result(1, "", "")

    def has(self, program: str) -> bool:
        return False


@dataclass
class FakeEngine:
    """``looks`` are the answers about jobs, one after another; the last one stays. ``course`` is
    what becomes of a session that is started: its job's states and claims.
    """

    looks: list[tuple[Job, ...]] = field(default_factory=lambda: [()])
    refusals: dict[str, VizdashError] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    course: tuple[tuple[JobState, str], ...] = ()
    name: str = "slurm"

    async def info(self) -> EngineInfo:
        return EngineInfo("slurm", "viz", "24.11", "alice")

    async def jobs(self, *, user: str | None = None, partition: str = "") -> tuple[Job, ...]:
        jobs = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        for one in jobs:
            _write_status(one)
        return jobs

    async def nodes(self) -> tuple[Node, ...]:
        return (Node("n1", "IDLE", cores=8, memory_mib=8192, partitions=("viz",)),)

    async def partitions(self) -> tuple[Partition, ...]:
        return (Partition("viz", default=True, nodes=("n1",)),)

    async def reservations(self) -> tuple[Reservation, ...]:
        return ()

    async def submit(self, request: JobRequest) -> str:
        self.looks = [(job(1041, request.session_id, *stands),) for stands in self.course]
        return "1041"

    async def cancel(self, job_id: str) -> None:
        if job_id in self.refusals:
            raise self.refusals[job_id]
        await asyncio.sleep(0)  # a refusal of another one comes before this is done
        self.cancelled.append(job_id)


@pytest.fixture
def engine(vizdash: Vizdash, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    made = FakeEngine()

    async def connect(config: Config, *_: object) -> Service:
        return Service(config, cast("Engine", made), NoCommands(), SshForwarder())

    monkeypatch.setattr(import_module("vizdash.cli.common"), "connect", connect)
    return made


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Between two looks at a log there is no time, but what the test does then."""

    def between(do: Callable[[], None]) -> None:
        async def sleep(seconds: float) -> None:
            do()
            await asyncio.sleep(0)

        quick = SimpleNamespace(sleep=sleep, gather=asyncio.gather)
        monkeypatch.setattr(import_module("vizdash.cli.sessions"), "asyncio", quick)

    return between


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves by what is waited."""
    now = [0.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(waiting, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: now[0]))


def left(session_id: str, log: str, *, job_id: str = "") -> None:
    """What a session leaves in its folder."""
    place = folder.make_folder(session_id)
    (place / "job.log").write_text(log)
    if job_id:
        (place / "status").write_text(f"STATE=ended\nJOB_ID={job_id}\n")


# ---------------------------------------------------------------------- logs


@pytest.mark.parametrize("word", [ONE, ONE[:6], "1041"])
def test_a_log_is_shown_when_the_cluster_has_forgotten_the_job(
    vizdash: Vizdash, engine: FakeEngine, word: str
) -> None:
    left(ONE, "one's last words\n", job_id="1041")
    left(TWO, "two's\n", job_id="1042")
    said = vizdash("logs", word)
    assert (said.code, said.out, said.err) == (0, "one's last words\n", "")
    assert vizdash("logs", word, "-f").out == "one's last words\n"


def test_a_log_is_shown_of_a_job_that_wrote_nothing_else(
    vizdash: Vizdash, engine: FakeEngine
) -> None:
    left(ONE, "slurmstepd: error: no\n")
    assert vizdash("logs", ONE).out == "slurmstepd: error: no\n"


def test_a_live_session_goes_before_one_that_is_forgotten(
    vizdash: Vizdash, engine: FakeEngine
) -> None:
    engine.looks = [(job(1042, TWO),)]
    left(ONE, "one's\n", job_id="1041")
    left(TWO, "two's\n", job_id="1042")
    assert vizdash("logs", ONE[:4]).out == "two's\n"


def test_what_is_left_of_several_is_not_guessed_at(vizdash: Vizdash, engine: FakeEngine) -> None:
    left(ONE, "one's\n", job_id="1041")
    left(TWO, "two's\n", job_id="1042")
    said = vizdash("logs", ONE[:4])
    assert (said.code, said.out) == (2, "")
    assert said.line == f"session {ONE[:4]}: could be several (name the whole id)"
    for word in (THREE, ONE[:2], "1043"):
        assert "there is no such session of yours" in vizdash("logs", word).line


def test_a_log_that_is_followed_ends_when_the_cluster_forgets_the_job(
    vizdash: Vizdash, engine: FakeEngine, hasty: Callable[[Callable[[], None]], None]
) -> None:
    left(ONE, "begun\n", job_id="1041")
    engine.looks = [(job(1041, ONE),), (job(1041, ONE),), ()]
    log = folder.folder_of(ONE) / "job.log"

    def write() -> None:
        log.write_text(log.read_text() + "more\n")

    hasty(write)
    said = vizdash("logs", ONE, "-f")
    assert (said.code, said.out, said.err) == (0, "begun\nmore\nmore\n", "")


# ---------------------------------------------------------------------- stop


def _three() -> tuple[Job, ...]:
    return (job(1041, ONE), job(1042, TWO), job(1043, THREE))


def _after(*states: JobState) -> tuple[Job, ...]:
    ids = (ONE, TWO, THREE)
    return tuple(job(1041 + n, ids[n], state) for n, state in enumerate(states))


@pytest.mark.usefixtures("clock")
def test_all_are_stopped_whatever_comes_of_one(vizdash: Vizdash, engine: FakeEngine) -> None:
    over = JobState.CANCELLED
    engine.looks = [_three(), _three(), _three(), _after(JobState.RUNNING, over, JobState.RUNNING)]
    engine.refusals = {
        "1041": UsageError("scancel", "no such option"),
        "1043": Unreachable("Slurm", "slurmctld does not answer", "wait"),
    }
    said = vizdash("stop", ONE, TWO, THREE, "--json")
    assert engine.cancelled == ["1042"]
    assert said.code == 2
    first, last = (
        f"session {ONE}: scancel: no such option",
        (f"session {THREE}: Slurm: slurmctld does not answer (wait)"),
    )
    assert said.err.splitlines() == [
        f"vizdash: session {TWO} has ended",
        f"vizdash: {last}",
        f"vizdash: {first}",
    ]
    assert said.json["stopped"] == [TWO]
    assert said.json["ending"] == []
    assert said.json["failed"] == [{"id": ONE, "error": first}, {"id": THREE, "error": last}]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("words", [(), ("--json",)])
def test_what_does_not_end_in_time_is_not_called_stopped(
    vizdash: Vizdash, engine: FakeEngine, words: tuple[str, ...]
) -> None:
    now = _after(JobState.CANCELLED, JobState.COMPLETING)
    engine.looks = [_three(), _three(), now]
    said = vizdash("stop", ONE, TWO, *words)
    assert said.code == 0
    assert said.err.splitlines() == [
        f"vizdash: session {ONE} has ended",
        f"vizdash: session {TWO} is told to end, but has not yet",
    ]
    if words:
        told = {key: said.json[key] for key in ("stopped", "ending", "failed")}
        assert told == {"stopped": [ONE], "ending": [TWO], "failed": []}
    else:
        assert said.out == ""


def test_what_names_the_session_already_is_left_as_it_is(
    vizdash: Vizdash, engine: FakeEngine
) -> None:
    engine.looks = [_three()]
    engine.refusals = {"1041": Refused(f"session {ONE}", "it belongs to bob")}
    said = vizdash("stop", ONE)
    assert (said.code, said.out) == (1, "")
    assert said.line == f"session {ONE}: it belongs to bob"


# ---------------------------------------------------------------------- start

STARTING, READY = (JobState.RUNNING, "starting"), (JobState.RUNNING, "ready")
FAILED = (JobState.NODE_FAIL, "starting")
ADDRESS = "http://127.0.0.1:40123/vnc.html#autoconnect=1&password=Xk29fQpa"


@pytest.fixture
def plain(vizdash: Vizdash, engine: FakeEngine, clock: None) -> FakeEngine:
    """An engine, and an app that needs no image."""
    vizdash.config.write_text(
        "clusters: {here: {engine: local, handoff_host: login2}}\n"
        "apps: {plain: {runtime: host, host_command: xterm}}\n"
    )
    return engine


def _id(said: Said) -> str:
    """The session that was started, as stderr calls it."""
    return said.err.split()[2]


@pytest.mark.parametrize(
    ("course", "state", "line"),
    [
        ((STARTING,), "starting", ": starting on n1, step xvnc after 60 s (it is left as it is)"),
        ((STARTING, FAILED), "ended", " failed at step xvnc: its node failed"),
    ],
)
def test_what_was_started_is_told_though_it_did_not_come(
    vizdash: Vizdash,
    plain: FakeEngine,
    course: tuple[tuple[JobState, str], ...],
    state: str,
    line: str,
) -> None:
    plain.course = course
    for words in ((), ("--json",)):
        said = vizdash("start", "plain", "--wait", "--timeout", "1m", *words)
        assert said.code == 1
        assert f"session {_id(said)}{line}" in said.err.splitlines()[-1]
        if words:
            assert (said.json["session"]["id"], said.json["session"]["state"]) == (_id(said), state)
            assert "address" not in said.json
        else:
            assert said.out == f"{_id(said)}\n"


def test_what_is_ready_is_told_once(vizdash: Vizdash, plain: FakeEngine) -> None:
    plain.course = (STARTING, READY)
    said = vizdash("start", "plain", "--wait")
    assert (said.code, said.out) == (0, f"{_id(said)}\n")
    assert vizdash("start", "plain", "--wait", "--json").json["session"]["state"] == "ready"


def _opens(monkeypatch: pytest.MonkeyPatch, kind: str, *, shown: bool) -> None:
    """Desktops are opened by such a route, and whoever holds it goes at once."""

    async def open_desktop(*_: object, **__: object) -> tuple[Route, bool]:
        return Route(kind, ADDRESS, "127.0.0.1", 40123, "/tmp/vizdash-x7k2m9qd/s"), shown

    async def until_lost(*_: object) -> None:
        return None

    monkeypatch.setattr(Service, "open_desktop", open_desktop)
    monkeypatch.setattr(import_module("vizdash.cli.sessions"), "until_lost", until_lost)


@pytest.mark.parametrize("kind", ["direct", "tunnel", "handoff"])
def test_the_address_is_in_the_one_object(
    vizdash: Vizdash, plain: FakeEngine, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    _opens(monkeypatch, kind, shown=False)
    plain.course = (READY,)
    said = vizdash("start", "plain", "--open", "--json")
    assert (said.code, said.json["session"]["state"]) == (0, "ready")
    address, _, secret = said.json["address"].partition("#")
    assert "password" not in address
    assert secret == ADDRESS.partition("#")[2]
    assert "Xk29fQpa" not in said.err
    plain.course = (READY,)
    alone = vizdash("start", "plain", "--open").out
    assert alone.count("\n") == 1
    assert alone.endswith(f"/vnc.html#{secret}\n")


def test_a_browser_that_shows_it_needs_no_address(
    vizdash: Vizdash, plain: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    _opens(monkeypatch, "tunnel", shown=True)
    plain.course = (READY,)
    said = vizdash("start", "plain", "--open", "--json")
    assert (said.code, said.json["address"]) == (0, None)
    assert vizdash("start", "plain", "--open").out == ""


def test_one_that_can_not_be_opened_is_told_all_the_same(
    vizdash: Vizdash, plain: FakeEngine
) -> None:
    plain.course = (READY,)  # but it has left no connection file
    said = vizdash("start", "plain", "--open", "--json")
    assert said.code == 1
    assert "it has no connection file" in said.err.splitlines()[-1]
    assert (said.json["session"]["id"], said.json["address"]) == (_id(said), None)
    said = vizdash("start", "plain", "--open")
    assert (said.code, said.out) == (1, "")
