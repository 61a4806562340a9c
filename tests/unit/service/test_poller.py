"""The poller: one query at a time, faster while a session starts, slower while Slurm is down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.fakes import FakeEngine, MemoryStore, service_on
from vizdash.config import Cluster, Config
from vizdash.errors import Unreachable
from vizdash.model import Job, JobState, Node, Snapshot
from vizdash.service.poller import Poller

PENDING = Job("7", "alice", "vizdash-desktop", JobState.PENDING)

STARTING = "vizdash/1 id=3f9a01bc app=desktop image=- state=starting step=image"


class SlowEngine(FakeEngine):
    """Counts queries of nodes, one a snapshot; each takes ``takes_s`` on the service's clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.asked = self.running = self.most = 0
        self.takes_s = 0.0
        self._now = 0.0
        clock = SimpleNamespace(monotonic=lambda: self._now, time=time.time)
        monkeypatch.setattr("vizdash.service.service.time", clock)

    async def jobs(self, *, user: str | None = None, partition: str = "") -> tuple[Job, ...]:
        if user is None and "everybody" in self.gates:
            await self.gates["everybody"].wait()
        return await super().jobs(user=user, partition=partition)

    async def nodes(self) -> tuple[Node, ...]:
        self.asked += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            return await super().nodes()
        finally:
            self._now += self.takes_s
            self.running -= 1


class Received:
    """Snapshots, those of one's own jobs that came before others' are known, and failures."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.own: list[Snapshot] = []
        self.failures: list[str] = []

    def take(self, snapshot: Snapshot) -> None:
        (self.own if snapshot.own_only else self.snapshots).append(snapshot)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlowEngine:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("vizdash.service.query_cache._OTHERS_S", -1.0)
    monkeypatch.setattr("vizdash.service.query_cache._OTHERS_SHARE", -1.0)
    return SlowEngine(monkeypatch)


def poller_of(engine: SlowEngine) -> tuple[Poller, Received]:
    seen = Received()
    poller = Poller(
        service_on(
            engine, config=Config(Cluster("viz", refresh_s=10), {}, {}), store=MemoryStore()
        ),
        on_snapshot=seen.take,
        on_failure=seen.failures.append,
    )
    return poller, seen


@asynccontextmanager
async def running(poller: Poller) -> AsyncIterator[None]:
    task = asyncio.create_task(poller.run())
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_request_brings_a_snapshot_now(engine: SlowEngine) -> None:
    poller, seen = poller_of(engine)
    async with running(poller):
        await until(lambda: len(seen.snapshots) == 1)
        poller.refresh()
        await until(lambda: len(seen.snapshots) == 2)


async def test_the_users_own_jobs_come_before_everybodys(engine: SlowEngine) -> None:
    poller, seen = poller_of(engine)
    others = Job("8", "bob", "vizdash-desktop", JobState.RUNNING)
    engine.queues[0] = (PENDING, others)
    everybody = engine.gates["everybody"] = asyncio.Event()
    async with running(poller):
        await until(lambda: seen.own)
        assert seen.snapshots == []
        assert [s.user for s in seen.own[0].sessions] == ["alice"]
        everybody.set()
        await until(lambda: seen.snapshots)
        assert {s.user for s in seen.snapshots[0].sessions} == {"alice", "bob"}
        poller.refresh()
        await until(lambda: len(seen.snapshots) == 2)
        assert len(seen.own) == 1, "only the first time"


async def test_one_query_at_a_time_serves_several_requests(engine: SlowEngine) -> None:
    poller, seen = poller_of(engine)
    gate = engine.gates["nodes"] = asyncio.Event()
    async with running(poller):
        await until(lambda: engine.asked == 1)
        for _ in range(5):
            poller.refresh()
        gate.set()
        # A request during a query leads to another one after it, which cannot have missed it.
        await until(lambda: len(seen.snapshots) == 2)
        for _ in range(50):
            await asyncio.sleep(0)
        # The second snapshot, with others' jobs, has the nodes of the first.
        assert (engine.asked, engine.most) == (2, 1)


async def test_a_failure_is_reported_and_polling_continues(engine: SlowEngine) -> None:
    poller, seen = poller_of(engine)
    engine.refusals["nodes"] = Unreachable("slurm", "no answer", "is it up?")
    async with running(poller):
        await until(lambda: seen.failures)
        assert seen.failures == ["slurm: no answer (is it up?)"]
        engine.refusals.clear()
        poller.refresh()
        await until(lambda: seen.snapshots)


async def test_the_pause_grows_with_failures_and_is_the_usual_one_after(
    engine: SlowEngine,
) -> None:
    poller, seen = poller_of(engine)
    pauses = []
    async with running(poller):
        await until(lambda: seen.snapshots)
        engine.refusals["nodes"] = Unreachable("slurm", "no answer")
        for n in range(1, 8):
            poller.refresh()
            await until(lambda n=n: len(seen.failures) == n)  # type: ignore[misc]
            pauses.append(poller.pause_s())
        engine.refusals.clear()
        poller.refresh()
        await until(lambda: len(seen.snapshots) == 2)
        assert poller.pause_s() == 10
    assert pauses == [10, 20, 40, 80, 120, 120, 120]


async def test_polling_is_fast_while_your_session_starts(engine: SlowEngine) -> None:
    poller, seen = poller_of(engine)
    async with running(poller):
        await until(lambda: seen.snapshots)
        assert poller.pause_s() == 10
        engine.queues = [(replace(PENDING, user="bob"),)]
        poller.refresh()
        await until(lambda: len(seen.snapshots) == 2)
        assert poller.pause_s() == 10
        engine.queues = [(PENDING,)]
        poller.refresh()
        await until(lambda: len(seen.snapshots) == 3)
        # One that waits for hours is asked for at the usual pace after a minute or so.
        pauses = [poller.pause_s() for _ in range(30)]
        assert pauses[0] < 2 and pauses == sorted(pauses) and pauses[-1] == 10
        assert 50 < sum(s for s in pauses if s < 10) < 100
        # Nodes change all the time; only a change of the user's own sessions brings the next.
        for nodes, pause in (((Node("n1", "MIXED", os_load=3.0),), 10), ((), 10)):
            engine.all_nodes = nodes
            before = len(seen.snapshots)
            await poller._once()
            assert len(seen.snapshots) > before and poller.pause_s() == pause
        engine.queues = [(replace(PENDING, state=JobState.RUNNING, comment=STARTING),)]
        await poller._once()
        assert [poller.pause_s() for _ in range(20)] == [1.5] * 20


async def test_a_slow_controller_is_asked_less(engine: SlowEngine) -> None:
    poller, seen = poller_of(engine)
    async with running(poller):
        for asked_s, pause in ((0.1, 10), (3.0, 60), (0.1, 10)):
            engine.takes_s = asked_s
            before = len(seen.snapshots)
            poller.refresh()
            await until(lambda before=before: len(seen.snapshots) > before)  # type: ignore[misc]
            await until(lambda pause=pause: poller.pause_s() == pause)  # type: ignore[misc]


async def test_nodes_are_not_listed_for_every_look_at_the_own_jobs(
    engine: SlowEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    poller, seen = poller_of(engine)
    now = 1000.0
    clock = SimpleNamespace(monotonic=lambda: now, time=time.time)
    monkeypatch.setattr("vizdash.service.query_cache.time", clock)
    engine.queues = [(PENDING,)]
    await poller._once()
    for after_s, asked in ((1.5, 1), (3.0, 1), (9.0, 2), (10.5, 2)):
        now = 1000.0 + after_s
        await poller._once()
        assert engine.asked == asked, after_s
    poller.refresh()
    await poller._once()
    assert engine.asked == 3, "a user who asks gets everything"
    engine.queues = [(replace(PENDING, state=JobState.RUNNING, comment=STARTING),)]
    await poller._once()
    assert engine.asked == 4, "a session that begins takes part of a node"
    assert len(seen.snapshots) == 7
