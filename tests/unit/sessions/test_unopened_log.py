"""Why a node could not open a job's log, in the node's own message."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vizdash.engines.slurm.reasons import NO_LOG
from vizdash.errors import Unreachable
from vizdash.model import Job, JobState, Node, Session, SessionState
from vizdash.sessions.folder import make_folder, read_status
from vizdash.sessions.folder_store import LocalSessionStore
from vizdash.sessions.listing import LogFailures
from vizdash.transport.base import Command, Result
from vizdash.transport.node_ssh import NodeHosts

ID = "3f9a01bc"
JOB = Job("12", "alice", "vizdash-plain", JobState.FAILED, node="n1", reason="RaisedSignal:53(x)")
SESSION = Session(ID, "12", "plain", "alice", SessionState.ENDED, result="failed", error=NO_LOG)


class NodeHere:
    """A CommandRunner: scontrol's answer about a job with ``log``, and a node whose shell is ours
    (``away``: none answers)."""

    def __init__(self, log: Path, *, away: bool = False) -> None:
        self.asked: list[str] = []
        self._log = log
        self._away = away

    async def run(self, command: Command) -> Result:
        if command.argv[0] != "ssh":
            return Result(0, f"JobId=12\n   StdOut={self._log}\n", "")
        self.asked.append(command.argv[-2])
        if self._away:
            raise Unreachable("n1", "no route")
        done = subprocess.run(["sh", "-c", command.argv[-1]], input=command.input, text=True,
                              capture_output=True, check=False)  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def has(self, program: str) -> bool:
        return True


def causes_of(runner: NodeHere) -> LogFailures:
    async def query() -> tuple[Node, ...]:
        return ()

    return LogFailures(runner, NodeHosts(runner, query), LocalSessionStore())


async def explained(causes: LogFailures, *sessions: Session) -> list[str]:
    return [s.error for s in await causes.explain(sessions or (SESSION,), [JOB])]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


async def test_a_folder_that_is_missing_there_is_named_and_stays_named(tmp_path: Path) -> None:
    make_folder(ID, "APP=plain\n")
    runner = NodeHere(tmp_path / "scratch/alice/vizdash/sessions" / ID / "job.log")
    assert await explained(causes_of(runner)) == [f"{tmp_path}/scratch is not there on n1"]
    status = read_status(ID)
    assert (status.error, status.app, status.job_id) == (
        f"{tmp_path}/scratch is not there on n1",
        "plain",
        "12",
    )


async def test_a_folder_that_takes_nothing(tmp_path: Path) -> None:
    """A write fails there, here since a folder has the name of every new file's folder."""
    make_folder(ID, "")
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / ID).symlink_to("/proc/self/task")
    (error,) = await explained(causes_of(NodeHere(tmp_path / "sessions" / ID / "job.log")))
    assert error.startswith(f"{tmp_path} can't be written on n1: ")


@pytest.mark.parametrize("away", [True, False])
async def test_what_no_node_explains_stays(tmp_path: Path, *, away: bool) -> None:
    """The node does not answer, or the log can be written by now. It is queried once."""
    folder = make_folder(ID, "APP=plain\n")
    runner = NodeHere(folder / "job.log", away=away)
    causes = causes_of(runner)
    for _ in range(3):
        assert await explained(causes) == [NO_LOG]
    assert runner.asked == ["n1"]
    assert sorted(path.name for path in folder.iterdir()) == ["job"]
    assert read_status(ID).error == ""


async def test_other_sessions_cause_no_query(tmp_path: Path) -> None:
    runner = NodeHere(tmp_path / "x")
    theirs = Session(ID, "12", "a", "bob", SessionState.ENDED, mine=False, error=NO_LOG)
    own = Session(ID, "12", "a", "alice", SessionState.ENDED, error="the app ended")
    assert await explained(causes_of(runner), theirs, own) == [NO_LOG, "the app ended"]
    assert runner.asked == []
