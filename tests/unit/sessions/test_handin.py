"""A request that got no answer: looked for in the queue, never made again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from vizdash.config import App, Cluster
from vizdash.engines import Engine, EngineInfo
from vizdash.errors import ConnectionLost, Refused, TimedOut, Unreachable, VizdashError
from vizdash.model import Job, JobRequest, JobState, Resources, SessionRequest
from vizdash.sessions import comment, handin
from vizdash.sessions.store import SessionStore
from vizdash.sessions.submit import Prepared

ID = "0badcafe"
LOST = ConnectionLost("sbatch", "the connection to login broke while it ran")


def job(session_id: str) -> Job:
    text = comment.encode(comment.Claim(session_id, "desktop"))
    return Job(id="42", name="x", user="alice", state=JobState.PENDING, comment=text)


@dataclass
class FakeEngine:
    """Fails to answer; the queue says one thing after another."""

    error: VizdashError
    queue: list[Sequence[Job] | VizdashError]
    name: str = "slurm"
    submitted: list[JobRequest] = field(default_factory=list)

    async def info(self) -> EngineInfo:
        return EngineInfo("slurm", "lab", "24.11", "alice")

    async def submit(self, request: JobRequest) -> str:
        self.submitted.append(request)
        raise self.error

    async def jobs(self, *, user: str | None = None, partition: str = "") -> tuple[Job, ...]:
        told = self.queue.pop(0) if len(self.queue) > 1 else self.queue[0]
        if isinstance(told, VizdashError):
            raise told
        return tuple(told)


@dataclass
class FakeStore:
    removed: list[str] = field(default_factory=list)
    #: The record of each session; and what by_job finds beside what they hold.
    records: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)

    async def make(self, session_id: str, record: str) -> str:
        self.records[session_id] = record
        return f"/home/alice/{session_id}"

    async def write_record(self, session_id: str, record: str) -> None:
        self.records[session_id] = record

    async def by_job(self) -> Mapping[str, str]:
        return self.others

    async def remove(self, session_id: str) -> None:
        self.removed.append(session_id)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = asyncio.sleep

    async def short(seconds: float) -> None:
        await sleep(0)

    monkeypatch.setattr("vizdash.sessions.handin.asyncio.sleep", short)


async def submit(engine: FakeEngine, store: FakeStore) -> str:
    app = App("desktop", host_command="xterm")
    prepared = Prepared(ID, app, "host", "", "")
    request = SessionRequest("desktop", Resources(1, 1024, 0, 3600))
    places: tuple[Any, Any] = (cast("Engine", engine), cast("SessionStore", store))
    return await handin.hand_in(*places, Cluster("viz"), request, prepared)


@pytest.mark.parametrize("error", [LOST, TimedOut("sbatch", "slurmctld did not answer in time")])
async def test_it_is_found_again_by_its_session_id(error: VizdashError) -> None:
    gone = Unreachable("login", "the connection is lost: it does not answer any more")
    engine = FakeEngine(error, [gone, gone, [job("12345678")], [job("12345678"), job(ID)]])
    store = FakeStore()
    assert await submit(engine, store) == "42"
    assert len(engine.submitted) == 1
    assert store.removed == []
    assert "\nJOB_ID=42\n" in store.records[ID]


def nameless(number: str, state: JobState = JobState.PENDING) -> Job:
    """A job of that name whose comment a site has taken."""
    return Job(id=number, name="vizdash-desktop", user="alice", state=state, comment="project=4711")


@pytest.mark.parametrize(
    ("queue", "others"),
    [
        ([nameless("40"), nameless("42")], {"40": "11111111"}),  # the other one is known
        ([nameless("40"), nameless("42")], {"42": ID}),  # it runs, and its folder says so
        ([nameless("40", JobState.FAILED), nameless("42")], {}),
    ],
)
async def test_it_is_found_again_without_a_comment(
    queue: list[Job], others: dict[str, str]
) -> None:
    engine, store = FakeEngine(LOST, [[], queue]), FakeStore(others=others)
    assert await submit(engine, store) == "42"
    assert "\nJOB_ID=42\n" in store.records[ID]


async def test_of_two_that_it_could_be_neither_is_taken() -> None:
    engine, store = FakeEngine(LOST, [[nameless("41"), nameless("42")]]), FakeStore()
    with pytest.raises(TimedOut, match="it may have been submitted"):
        await submit(engine, store)
    assert "\nJOB_ID=\n" in store.records[ID]


async def test_one_that_is_not_found_may_still_come() -> None:
    engine, store = FakeEngine(LOST, [[]]), FakeStore()
    with pytest.raises(TimedOut, match="it may have been submitted") as caught:
        await submit(engine, store)
    assert ID in caught.value.line
    assert len(engine.submitted) == 1
    # Its job would have nowhere to write to.
    assert store.removed == []


async def test_one_that_was_refused_leaves_nothing() -> None:
    engine, store = FakeEngine(Refused("desktop", "no such account"), [[]]), FakeStore()
    with pytest.raises(Refused):
        await submit(engine, store)
    assert store.removed == [ID]
