"""The poller: one query at a time, faster while something moves, slower while nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from vizdash.config import Cluster, Config
from vizdash.errors import Unreachable
from vizdash.history import History
from vizdash.model import Session, SessionState, Snapshot
from vizdash.poller import Poller
from vizdash.service import Service

EMPTY = Snapshot("viz", "slurm", "viz", "alice")
PENDING = Session("3f9a01bc", "7", "desktop", "alice", SessionState.PENDING)


class FakeCluster:
    """Answers when it is told to."""

    def __init__(self, history: History) -> None:
        self.config = Config(Cluster("viz", refresh_s=10), {}, {})
        self.history = history
        self.now = EMPTY
        self.failure: Unreachable | None = None
        self.asked = 0
        self.running = 0
        self.most = 0
        self.gate: asyncio.Event | None = None

    async def snapshot(self) -> Snapshot:
        self.asked += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.gate is not None:
                await self.gate.wait()
            else:
                await asyncio.sleep(0)
            if self.failure is not None:
                raise self.failure
            return self.now
        finally:
            self.running -= 1


class Seen:
    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.failures: list[str] = []


@pytest.fixture
def cluster(tmp_path: Path) -> FakeCluster:
    return FakeCluster(History(tmp_path / "history.json"))


def poller_of(cluster: FakeCluster) -> tuple[Poller, Seen]:
    seen = Seen()
    poller = Poller(
        cast("Service", cluster),
        on_snapshot=seen.snapshots.append,
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


async def test_a_wish_brings_a_snapshot_now(cluster: FakeCluster) -> None:
    poller, seen = poller_of(cluster)
    async with running(poller):
        await until(lambda: len(seen.snapshots) == 1)
        poller.refresh()
        await until(lambda: len(seen.snapshots) == 2)


async def test_one_query_in_flight_and_several_wishes_are_one(cluster: FakeCluster) -> None:
    poller, seen = poller_of(cluster)
    cluster.gate = asyncio.Event()
    async with running(poller):
        await until(lambda: cluster.asked == 1)
        for _ in range(5):
            poller.refresh()
        cluster.gate.set()
        # What was wished for while a query was under way is asked after it: it may have missed it.
        await until(lambda: len(seen.snapshots) == 2)
        for _ in range(50):
            await asyncio.sleep(0)
        assert (cluster.asked, cluster.most) == (2, 1)


async def test_a_failure_is_told_and_the_poll_goes_on(cluster: FakeCluster) -> None:
    poller, seen = poller_of(cluster)
    cluster.failure = Unreachable("slurm", "no answer", "is it up?")
    async with running(poller):
        await until(lambda: seen.failures)
        assert seen.failures == ["slurm: no answer (is it up?)"]
        cluster.failure = None
        poller.refresh()
        await until(lambda: seen.snapshots)


async def test_the_pause_grows_with_failures_and_is_the_usual_one_after(
    cluster: FakeCluster,
) -> None:
    poller, seen = poller_of(cluster)
    pauses = []
    async with running(poller):
        await until(lambda: seen.snapshots)
        cluster.failure = Unreachable("slurm", "no answer")
        for n in range(1, 8):
            poller.refresh()
            await until(lambda n=n: len(seen.failures) == n)  # type: ignore[misc]
            pauses.append(poller.pause_s())
        cluster.failure = None
        poller.refresh()
        await until(lambda: len(seen.snapshots) == 2)
        assert poller.pause_s() == 10
    assert pauses == [10, 20, 40, 80, 120, 120, 120]


async def test_it_is_quick_while_a_session_of_ones_own_moves(cluster: FakeCluster) -> None:
    poller, seen = poller_of(cluster)
    async with running(poller):
        await until(lambda: seen.snapshots)
        assert poller.pause_s() == 10
        cluster.now = replace(EMPTY, sessions=(replace(PENDING, mine=False),))
        poller.refresh()
        await until(lambda: len(seen.snapshots) == 2)
        assert poller.pause_s() == 10
        cluster.now = replace(EMPTY, sessions=(PENDING,))
        poller.refresh()
        await until(lambda: len(seen.snapshots) == 3)
        quick = 0
        while poller.pause_s() < 10:
            quick += 1
            assert quick < 1000
        # One that waits for hours is asked for at the usual pace after a minute or so.
        assert 10 < quick < 100


async def test_a_slow_controller_is_asked_less(cluster: FakeCluster) -> None:
    poller, seen = poller_of(cluster)
    async with running(poller):
        for asked_s, pause in ((0.1, 10), (3.0, 60), (0.1, 10)):
            cluster.now = replace(EMPTY, asked_s=asked_s)
            before = len(seen.snapshots)
            poller.refresh()
            await until(lambda before=before: len(seen.snapshots) > before)  # type: ignore[misc]
            await until(lambda pause=pause: poller.pause_s() == pause)  # type: ignore[misc]
