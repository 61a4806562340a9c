"""A session's lease: planned from limits that are read, submitted, kept by its job, shown."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typing_extensions import override

from tests.fakes import FakeEngine, MemoryStore
from tests.waiting import wait_until
from vizdash.config import App, Cluster
from vizdash.config.lifetime import Lease
from vizdash.engines.slurm import associations, commands, parse
from vizdash.engines.slurm.client import SlurmEngine
from vizdash.errors import Refused
from vizdash.model import Job, JobState, Resources, SessionRequest
from vizdash.sessions.comment import Claim, decode, encode
from vizdash.sessions.folder import Status, lease_record, status_of
from vizdash.sessions.last_request import repeat_request
from vizdash.sessions.listing import session_from_job
from vizdash.sessions.start_plan import StartPlan, resolve_plan
from vizdash.sessions.submit import build_job_request, submit_once
from vizdash.transport import Command, CommandRunner, Result
from vizdash.util.assets import assets

CLUSTER = Cluster("viz", lease=Lease(12 * 3600), job_scripts="/nonexistent")
APP = App("desktop")
REQUEST = SessionRequest("desktop", Resources(2, 2048, 0, 7200))


def planned(app: App = APP, cluster: Cluster = CLUSTER, longest_s: int | None = None) -> StartPlan:
    return resolve_plan(
        REQUEST, app, cluster, runtime="apptainer", image="/i.sif", longest_s=longest_s
    )


@pytest.mark.parametrize(
    ("app", "longest_s", "limit_s", "lease_s"),
    [
        (APP, None, 12 * 3600, 7200),
        (APP, 8 * 3600, 8 * 3600, 7200),
        (APP, 3600, 7200, 0),  # refused by what fits: no longer limit is made of it
        (replace(APP, lease=Lease(0)), None, 7200, 0),
        (replace(APP, lease=Lease(4 * 3600)), None, 4 * 3600, 7200),
        (replace(APP, kind="legacy"), None, 7200, 0),
    ],
)
def test_the_limit_is_the_longest_that_is_allowed(
    app: App, longest_s: int | None, limit_s: int, lease_s: int
) -> None:
    plan = planned(app, longest_s=longest_s)
    assert (plan.limit_s, plan.lease_s) == (limit_s, lease_s)
    assert ("extendable" in plan.lifetime_text) == bool(lease_s)


def test_the_job_has_the_lease_as_its_least_time() -> None:
    job = build_job_request(planned(), CLUSTER, engine="slurm", folder="/f")
    argv = commands.sbatch(job).argv
    assert "--time=720" in argv
    assert "--time-min=120" in argv
    assert "\nVIZDASH_LEASE_SECONDS=7200\n" in job.script
    claim = decode(job.comment)
    assert claim is not None
    assert claim.lease == 7200


def test_a_site_script_that_keeps_no_lease_gets_a_time_limit(tmp_path: Path) -> None:
    (tmp_path / "vnc.sh").write_text("#!/bin/bash\necho\n")
    cluster = replace(CLUSTER, job_scripts=str(tmp_path))
    job = build_job_request(planned(cluster=cluster), cluster, engine="slurm", folder="/f")
    assert (job.resources.time_s, job.time_min_s) == (7200, 0)
    assert " lease=" not in job.comment


async def test_where_the_long_limit_is_refused_the_lease_alone_is_submitted() -> None:
    engine = FakeEngine()

    def allow(name: str) -> None:
        if name == "submit" and len(engine.submitted) == 2:
            engine.refusals.clear()

    engine.refusals["submit"] = Refused("not started", "more than the association allows")
    engine.on_call = allow
    assert await submit_once(engine, MemoryStore(), CLUSTER, planned()) == "1042"
    long, short = engine.submitted
    assert (long.resources.time_s, long.time_min_s) == (12 * 3600, 7200)
    assert (short.resources.time_s, short.time_min_s) == (7200, 0)


async def test_a_refusal_for_another_reason_stays_one() -> None:
    engine, store = FakeEngine(), MemoryStore()
    engine.refusals["submit"] = Refused("not started", "no such account")
    with pytest.raises(Refused, match="no such account"):
        await submit_once(engine, store, CLUSTER, planned())
    assert len(store.removed) == 1


_ASSOCIATIONS = """\
Current Association Manager state
User Records
UserName=alice(1000) DefAccount=science DefWckey= AdminLevel=None
Association Records
ClusterName=lab Account=root UserName= Partition= ID=1 MaxWallPJ= MaxTRESPJ= Comment=(null)
ClusterName=lab Account=art UserName=alice(1000) Partition= ID=5 MaxWallPJ=600 Comment=(null)
ClusterName=lab Account=science UserName=alice(1000) Partition= ID=6 MaxWallPJ= Comment=(null)
ClusterName=lab Account=science UserName=bob(1001) Partition= ID=7 MaxWallPJ=5 Comment=(null)
QOS Records
QOS=normal(1) UsageRaw=0.000000 MaxWallPJ= MaxTRESPJ= Account Limits=No Accounts
QOS=brief(3) UsageRaw=0.000000 MaxWallPJ=30 MaxTRESPJ= Account Limits=No Accounts
"""


@pytest.mark.parametrize(
    ("account", "qos", "limit_s"),
    [
        ("", "normal", None),
        ("art", "normal", 36000),
        ("art", "brief", 1800),
        ("", "brief", 1800),
        ("none", "x", None),
    ],
)
def test_the_limits_of_association_and_qos(account: str, qos: str, limit_s: int | None) -> None:
    assert associations.wall_limit(_ASSOCIATIONS, "alice", account, {qos}) == limit_s


@pytest.mark.parametrize(
    ("answer", "qos"),
    [
        ("science|brief|brief,normal\nart|normal|normal\n", {"brief"}),
        ("art|normal|normal\nscience||brief\n", {"brief"}),
        ("science||brief,normal\n", {"normal"}),
        ("science|brief|brief,normal\nscience|long|long,normal\n", {"brief", "long"}),
        ("art|brief|brief\n", {"normal"}),
        ("sacctmgr: error\n", {"normal"}),
        ("", {"normal"}),
    ],
)
def test_the_qos_of_a_job_that_requests_none(answer: str, qos: set[str]) -> None:
    assert associations.default_qos(answer, "science") == qos


class _Accounting(CommandRunner):
    """The answers of a cluster with accounting; ``code`` is sacctmgr's exit code."""

    def __init__(self, code: int = 0) -> None:
        self._code = code

    @override
    async def run(self, command: Command) -> Result:
        """Answer by the command's last words."""
        words = " ".join(command.argv)
        if "show config" in words:
            config = "ClusterName = lab\nAccountingStorageType = accounting_storage/slurmdbd\n"
            return Result(0, config, "")
        if "sacctmgr" in words:
            if "show qos" in words:
                flags = "normal|\nlong|DenyOnLimit,PartitionTimeLimit\nbrief|PartitionTimeLimits\n"
                return Result(self._code, flags, "")
            assert "user=alice" in words
            return Result(self._code, "art|brief|brief,normal\nscience|brief|brief\n", "")
        return Result(0, _ASSOCIATIONS, "")

    @override
    def has(self, program: str) -> bool:
        return True


@pytest.mark.parametrize(
    ("account", "qos", "code", "limit_s"),
    [
        ("", "", 0, 1800),
        ("science", "", 0, 1800),
        ("art", "", 0, 1800),
        ("art", "normal", 0, 36000),
        ("art", "", 1, 36000),
    ],
)
async def test_the_limit_of_the_default_qos_counts(
    account: str, qos: str, code: int, limit_s: int
) -> None:
    engine = SlurmEngine(_Accounting(code), user="alice")
    assert await engine.max_time_s(account, qos) == limit_s


@pytest.mark.parametrize(
    ("qos", "code", "lifted"),
    [("long", 0, True), ("normal", 0, False), ("", 0, False), ("brief", 0, False),
     ("long", 1, False)],
)  # fmt: skip
async def test_a_qos_may_lift_the_partitions_limit(qos: str, code: int, *, lifted: bool) -> None:
    engine = SlurmEngine(_Accounting(code), user="alice")
    assert await engine.qos_lifts_time_limit("art", qos) is lifted


def test_a_partitions_own_qos_limits_too() -> None:
    assert associations.wall_limit(_ASSOCIATIONS, "alice", "art", {"normal"}, "brief") == 1800
    shown = "PartitionName=viz AllowQos=ALL Default=YES QoS=brief MaxTime=08:00:00 State=UP"
    assert parse.partitions(shown)[0].qos == "brief"
    assert parse.partitions(shown.replace("QoS=brief", "QoS=N/A"))[0].qos == ""


JOB = Job(
    id="7",
    user="alice",
    name="vizdash-desktop",
    state=JobState.RUNNING,
    start_at=1000,
    time_limit_s=28800,
    time_left_s=25200,
    comment=encode(Claim("3f9a01bc", "desktop", "1.0", "ready", "ready", lease=7200)),
)


def test_a_row_counts_by_the_schedulers_clock() -> None:
    claim = decode(JOB.comment)
    assert claim is not None
    status = status_of({"STATE": "ready", "LEASE_END": "8200"})
    own = session_from_job(JOB, claim, status, mine=True)
    assert (own.lease_s, own.lease_left_s, own.time_left_s) == (7200, 3600, 25200)
    assert own.ends_in_s == 3600
    assert repeat_request(own).resources.time_s == 7200
    others = session_from_job(JOB, claim, Status(), mine=False)
    assert (others.lease_s, others.lease_left_s, others.ends_in_s) == (7200, None, 25200)


@pytest.mark.parametrize(
    ("state", "time_left_s", "limit_at", "lease_end_at", "left_s"),
    [
        (JobState.RUNNING, 25200, 29800, 8200, 3600),
        # It runs for an hour, and is suspended for an hour.
        (JobState.SUSPENDED, 25200, 29800, 8200, 3600),
        # Its job has moved the end of the lease by that hour, Slurm that of the limit.
        (JobState.RUNNING, 25140, 33400, 11800, 3540),
        (JobState.RUNNING, 25200, None, 8200, 3600),  # not known
        (JobState.RUNNING, 25200, 4900, 8200, 3600),  # it is preempted in 5 min
    ],
)
def test_a_suspension_does_not_count(
    state: JobState, time_left_s: int, limit_at: int | None, lease_end_at: int, left_s: int
) -> None:
    job = replace(JOB, state=state, time_left_s=time_left_s, limit_at=limit_at)
    claim = decode(JOB.comment)
    assert claim is not None
    status = status_of({"STATE": "ready", "LEASE_END": str(lease_end_at)})
    own = session_from_job(job, claim, status, mine=True)
    assert own.lease_left_s == left_s
    assert own.limit_at == max(29800, limit_at or 0)


def test_a_job_that_ended_itself_names_its_reason() -> None:
    done = replace(JOB, state=JobState.COMPLETED, time_left_s=0)
    claim = decode(JOB.comment)
    assert claim is not None
    status = Status(state="ended", result="timed out", error="its lease is over")
    session = session_from_job(done, claim, status, mine=True)
    assert (session.result, session.error) == ("timed out", "its lease is over")


_KEEPER = """
umask 077
SESSION_ID=3f9a01bc VIZDASH_APP=desktop VIZDASH_FOLDER=$PWD/f VIZDASH_LEASE_SECONDS=$1
mkdir f r
source common.sh
show_text() { printf '%s\\n' "$1" >>shown; }
end_session() { :; }
runtime=$PWD/r step=ready
trap on_term TERM
begin_lease
start_keeper
: >up
while :; do sleep 0.05; done
"""


def keeper(place: Path, seconds: int, suspended_from: str = "30") -> subprocess.Popen[bytes]:
    jobs = assets() / "jobs"
    script = _KEEPER
    for name in ("common.sh", "cleanup.sh", "lease.sh", "limit.sh", "reserve.sh"):
        script = script.replace(f"source {name}", (jobs / name).read_text(encoding="utf-8"))
    limits = "\nsuspended_from=30 suspended_in_round=120\n"
    assert limits in script
    own = f"\nsuspended_from={suspended_from} suspended_in_round={suspended_from}\n"
    script = script.replace(limits, own)
    (place / "script").write_text(script)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(place)}
    argv = ["bash", "-p", "script", str(seconds)]
    return subprocess.Popen(argv, cwd=place, env=env, start_new_session=True)


def test_the_job_ends_itself_when_its_lease_is_over(tmp_path: Path) -> None:
    lease = tmp_path / "f/lease"
    with keeper(tmp_path, 3600) as process:
        wait_until((tmp_path / "up").exists, "lease")
        assert int(lease.read_text().removeprefix("LEASE_END=")) > time.time() + 1800
        # What is no lease changes nothing.
        lease.write_text("LEASE_END=soon\n")
        lease.write_text(lease_record(int(time.time()) + 240))
        wait_until((tmp_path / "shown").exists, "warning")
        assert process.poll() is None
        lease.write_text(lease_record(int(time.time()) + 1))
        assert process.wait(timeout=120) == 0
    status = (tmp_path / "f/status").read_text()
    assert "RESULT=timed-out\nERROR=its lease is over\n" in status
    assert not (tmp_path / "f/lease").exists()
    assert "ends in" in (tmp_path / "shown").read_text()


def test_the_time_of_a_suspension_is_not_that_of_the_lease(tmp_path: Path) -> None:
    """As Slurm suspends a job: all its processes stop. Three seconds count as a suspension here."""
    lease, shown = tmp_path / "f/lease", tmp_path / "shown"

    def end_at() -> int:
        return int(lease.read_text().removeprefix("LEASE_END="))

    with keeper(tmp_path, 3600, suspended_from="3") as process:
        wait_until((tmp_path / "up").exists, "lease")
        end = int(time.time()) + 10
        lease.write_text(lease_record(end))
        wait_until(shown.exists, "warning")
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(12)
        os.killpg(process.pid, signal.SIGCONT)
        wait_until(lambda: process.poll() is not None or end_at() >= end + 5, "the later end")
        assert process.poll() is None
        wait_until(lambda: len(shown.read_text().splitlines()) == 2, "another warning")
        assert process.wait(timeout=120) == 0
        assert time.time() >= end + 5
    assert "its lease is over" in (tmp_path / "f/status").read_text()


def test_a_session_without_a_lease_keeps_none(tmp_path: Path) -> None:
    script = _KEEPER.replace("VIZDASH_LEASE_SECONDS=$1", "").replace("while :;", "exit; while :;")
    jobs = assets() / "jobs"
    for name in ("common.sh", "cleanup.sh", "lease.sh", "limit.sh", "reserve.sh"):
        script = script.replace(f"source {name}", (jobs / name).read_text(encoding="utf-8"))
    subprocess.run(["bash", "-p", "-c", script], cwd=tmp_path, check=True)
    assert [p.name for p in (tmp_path / "f").iterdir()] == []
    assert [p.name for p in (tmp_path / "r").iterdir()] == []
