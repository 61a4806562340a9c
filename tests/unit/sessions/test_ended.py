"""Ended sessions, from accounting or from what the engine still remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace

import pytest

from tests.fakes import FakeEngine
from vizdash.engines import EngineInfo
from vizdash.errors import CommandFailed, Unreachable, VizdashError
from vizdash.model import Job, JobState, Session
from vizdash.sessions.ended import EndedSessions
from vizdash.sessions.listing import sessions_from_jobs

COMMENT = "vizdash/1 id={} app=desktop image=1.0 state=ready step=ready"


def job(number: int, state: JobState = JobState.COMPLETED, **more: object) -> Job:
    values: dict[str, object] = {"comment": COMMENT.format(f"{number:08x}"), "end_at": number}
    return Job(str(number), "alice", "vizdash-desktop", state, **(values | more))  # type: ignore[arg-type]


ABOUT = EngineInfo("slurm", "lab", "24.11", "alice", accounting=True, job_retention_s=300)


def engine_of(
    known: Collection[Job] = (), accounted: tuple[Job, ...] = (), *, accounting: bool = True
) -> FakeEngine:
    """One that remembers ``known``, over an accounting that has the others."""
    about = replace(ABOUT, accounting=accounting)
    return FakeEngine(about=about, queues=[tuple(known)], accounted=accounted)


async def list_sessions(jobs: Collection[Job], user: str) -> tuple[Session, ...]:
    return sessions_from_jobs(jobs, "bob")


def ended_sessions(engine: FakeEngine, gate: asyncio.Event | None = None) -> EndedSessions:
    if gate is not None:
        engine.gates["history"] = gate
    return EndedSessions(engine, list_sessions)


async def test_the_accounting_lies_under_the_engines_memory() -> None:
    running = job(3, JobState.RUNNING)
    engine = engine_of((running, job(2, JobState.CANCELLED)), (job(1), job(2)))
    found, note = await ended_sessions(engine).ended(since_s=10**12)
    assert [(s.job_id, s.result) for s in found] == [("2", "cancelled"), ("1", "finished")]
    assert note == ""


async def test_only_what_ended_lately() -> None:
    found, _ = await ended_sessions(engine_of((job(2),), (job(1),))).ended(since_s=60)
    assert found == ()


async def test_without_accounting_it_says_what_is_not_known() -> None:
    engine = engine_of((job(2),), accounting=False)
    found, note = await ended_sessions(engine).ended(since_s=10**12)
    assert [s.job_id for s in found] == ["2"]
    assert note == "ended sessions are known for 5 min: cluster lab keeps no accounting"
    assert engine.calls.count("history") == 0


@pytest.mark.parametrize(
    "failure", [Unreachable("Slurm", "slurmdbd is away"), CommandFailed("sacct", 1, "away")]
)
async def test_an_accounting_that_does_not_answer_fails_nothing(failure: VizdashError) -> None:
    engine = engine_of((job(2),))
    engine.refusals["history"] = failure
    found, note = await ended_sessions(engine).ended(since_s=10**12)
    assert [s.job_id for s in found] == ["2"]
    assert "the accounting does not answer: " in note
    assert "away" in note


async def test_a_slow_accounting_is_not_waited_for() -> None:
    engine, gate = engine_of((), (job(1),)), asyncio.Event()
    slow = ended_sessions(engine, gate)
    now = (job(2),)
    assert slow.with_ended(now, "alice") == now
    await asyncio.sleep(0)
    assert slow.with_ended(now, "alice") == now
    gate.set()
    while len(slow.with_ended(now, "alice")) == 1:
        await asyncio.sleep(0.01)
    assert slow.with_ended(now, "alice") == (job(2), job(1))
    assert engine.calls.count("history") == 1, "a look stays good for a while"
    await slow.close()


async def test_closing_during_a_query() -> None:
    engine = engine_of()
    slow = ended_sessions(engine, asyncio.Event())
    slow.with_ended((), "alice")
    await asyncio.sleep(0)
    await slow.close()
    assert engine.calls.count("history") == 1
