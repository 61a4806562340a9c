"""A submission without an answer: found in the queue, never submitted twice."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from tests.fakes import Answer, FakeEngine, MemoryStore
from vizdash.config import App, Cluster
from vizdash.errors import (
    CommandFailed,
    ConnectionLost,
    Refused,
    TimedOut,
    Unreachable,
    VizdashError,
)
from vizdash.model import Job, JobState, Resources, SessionRequest
from vizdash.sessions import comment, submit
from vizdash.sessions.folder import pairs_of, status_of
from vizdash.sessions.start_plan import StartPlan

ID = "0badcafe"
LOST = ConnectionLost("sbatch", "the connection to login broke while it ran")


def job(session_id: str) -> Job:
    text = comment.encode(comment.Claim(session_id, "desktop"))
    return Job(id="42", name="x", user="alice", state=JobState.PENDING, comment=text)


def engine_that_loses(error: VizdashError, queues: list[Answer]) -> FakeEngine:
    """It fails to answer the submission; the queue says one thing after another."""
    return FakeEngine(queues=queues, refusals={"submit": error})


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = asyncio.sleep

    async def short(seconds: float) -> None:
        await sleep(0)

    monkeypatch.setattr("vizdash.sessions.submit.asyncio.sleep", short)


async def submit_once(engine: FakeEngine, store: MemoryStore, *extra: str) -> str:
    app = App("desktop", host_command="xterm")
    request = SessionRequest("desktop", Resources(1, 1024, 0, 3600), extra=extra)
    plan = StartPlan(request, app, "host", geometry=app.geometry, session_id=ID)
    return await submit.submit_once(engine, store, Cluster("viz"), plan)


@pytest.mark.parametrize("error", [LOST, TimedOut("sbatch", "slurmctld did not answer in time")])
async def test_it_is_found_again_by_its_session_id(error: VizdashError) -> None:
    gone = Unreachable("login", "the connection is lost: it no longer answers")
    engine = engine_that_loses(error, [gone, gone, [job("12345678")], [job("12345678"), job(ID)]])
    store = MemoryStore()
    assert await submit_once(engine, store) == "42"
    assert len(engine.submitted) == 1
    assert store.removed == []
    assert "\nJOB_ID=42\n" in store.records[ID]


def nameless(number: str, state: JobState = JobState.PENDING) -> Job:
    """A job of that name whose comment a site has taken."""
    return Job(id=number, name="vizdash-desktop", user="alice", state=state, comment="project=4711")


@pytest.mark.parametrize(
    ("queue", "others"),
    [
        ([nameless("40"), nameless("42")], {"11111111": "40"}),  # the other one is known
        ([nameless("40"), nameless("42")], {ID: "42"}),  # it runs, and its folder says so
        ([nameless("40", JobState.FAILED), nameless("42")], {}),
    ],
)
async def test_it_is_found_again_without_a_comment(
    queue: list[Job], others: dict[str, str]
) -> None:
    engine, store = engine_that_loses(LOST, [[], queue]), MemoryStore(jobs=others)
    assert await submit_once(engine, store) == "42"
    assert "\nJOB_ID=42\n" in store.records[ID]


async def test_of_two_that_it_could_be_neither_is_taken() -> None:
    engine, store = engine_that_loses(LOST, [[nameless("41"), nameless("42")]]), MemoryStore()
    with pytest.raises(TimedOut, match="it may have been submitted"):
        await submit_once(engine, store)
    assert "\nJOB_ID=\n" in store.records[ID]


async def test_one_that_is_not_found_may_still_come() -> None:
    engine, store = engine_that_loses(LOST, [[]]), MemoryStore()
    with pytest.raises(TimedOut, match="it may have been submitted") as caught:
        await submit_once(engine, store)
    assert ID in caught.value.line
    assert len(engine.submitted) == 1
    # Its job would have nowhere to write to.
    assert store.removed == []


@pytest.mark.parametrize(
    "error",
    [Refused("desktop", "no such account"), CommandFailed("scontrol", 1, "no answer")],
)
async def test_one_that_was_refused_leaves_nothing(error: VizdashError) -> None:
    engine, store = engine_that_loses(error, [[]]), MemoryStore()
    with pytest.raises(type(error)):
        await submit_once(engine, store)
    assert store.removed == [ID]


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        ((), ""),
        (("--comment=x", "-J", "render"), "render"),
        (("-Jrender", "--job-name=other"), "other"),
        (("--job-name", "vizdash-desktop"), ""),
    ],
)
async def test_the_folder_says_where_and_under_which_name(
    extra: tuple[str, ...], name: str
) -> None:
    store = MemoryStore()
    await submit_once(FakeEngine(), store, *extra)
    status = status_of(pairs_of(store.records[ID]))
    assert (status.job_name, status.app) == (name, "desktop")
    assert status.cluster == (await FakeEngine().info()).cluster
    assert abs(status.submitted_at - time.time()) < 60


async def test_one_with_a_name_of_its_own_is_found_again() -> None:
    render = replace(nameless("42"), name="render")
    engine = engine_that_loses(LOST, [[nameless("41"), render]])
    assert await submit_once(engine, MemoryStore(), "-J", "render") == "42"
