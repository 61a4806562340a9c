"""What ended: from the accounting, or from what the engine still remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import cast

import pytest

from vizdash.engines import Engine, EngineInfo
from vizdash.errors import CommandFailed, Unreachable, VizdashError
from vizdash.model import Job, JobState, Session
from vizdash.sessions.listing import sessions_of
from vizdash.sessions.past import Past

COMMENT = "vizdash/1 id={} app=desktop image=1.0 state=ready step=ready"


def job(number: int, state: JobState = JobState.COMPLETED, **more: object) -> Job:
    values: dict[str, object] = {"comment": COMMENT.format(f"{number:08x}"), "end_at": number}
    return Job(str(number), "alice", "vizdash-desktop", state, **(values | more))  # type: ignore[arg-type]


@dataclass
class FakeEngine:
    accounting: bool = True
    known: tuple[Job, ...] = ()
    kept: tuple[Job, ...] = ()
    failure: VizdashError | None = None
    name: str = "slurm"
    asked: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def info(self) -> EngineInfo:
        return EngineInfo(
            "slurm", "lab", "24.11", "alice", accounting=self.accounting, memory_s=300
        )

    async def jobs(self, *, user: str | None = None, partition: str = "") -> tuple[Job, ...]:
        return self.known

    async def history(self, *, since_s: int, user: str | None = None) -> tuple[Job, ...]:
        self.asked += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.kept


async def listed(jobs: Collection[Job], user: str) -> tuple[Session, ...]:
    return sessions_of(jobs, "bob")


def past(engine: FakeEngine, *, open_: bool = True) -> Past:
    if open_:
        engine.gate.set()
    return Past(cast("Engine", engine), listed)


async def test_the_accounting_lies_under_the_engines_memory() -> None:
    running = job(3, JobState.RUNNING)
    engine = FakeEngine(known=(running, job(2, JobState.CANCELLED)), kept=(job(1), job(2)))
    found, note = await past(engine).ended(since_s=10**12)
    assert [(s.job_id, s.result) for s in found] == [("2", "cancelled"), ("1", "finished")]
    assert note == ""


async def test_only_what_ended_lately() -> None:
    found, _ = await past(FakeEngine(known=(job(2),), kept=(job(1),))).ended(since_s=60)
    assert found == ()


async def test_without_accounting_it_says_what_is_not_known() -> None:
    engine = FakeEngine(accounting=False, known=(job(2),))
    found, note = await past(engine).ended(since_s=10**12)
    assert [s.job_id for s in found] == ["2"]
    assert note == "what ended is known for 5 min: cluster lab keeps no accounting"
    assert engine.asked == 0


@pytest.mark.parametrize(
    "failure", [Unreachable("Slurm", "slurmdbd is away"), CommandFailed("sacct", 1, "away")]
)
async def test_an_accounting_that_does_not_answer_fails_nothing(failure: VizdashError) -> None:
    engine = FakeEngine(known=(job(2),), failure=failure)
    found, note = await past(engine).ended(since_s=10**12)
    assert [s.job_id for s in found] == ["2"]
    assert "the accounting does not answer: " in note
    assert "away" in note


async def test_a_slow_accounting_is_not_waited_for() -> None:
    engine = FakeEngine(kept=(job(1),))
    slow = past(engine, open_=False)
    now = (job(2),)
    assert slow.under(now, "alice") == now
    await asyncio.sleep(0)
    assert slow.under(now, "alice") == now
    engine.gate.set()
    while len(slow.under(now, "alice")) == 1:
        await asyncio.sleep(0.01)
    assert slow.under(now, "alice") == (job(2), job(1))
    assert engine.asked == 1, "a look stays good for a while"
    await slow.close()


async def test_it_is_closed_while_it_looks() -> None:
    engine = FakeEngine()
    slow = past(engine, open_=False)
    slow.under((), "alice")
    await asyncio.sleep(0)
    await slow.close()
    assert engine.asked == 1
