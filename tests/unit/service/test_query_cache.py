"""How often others' jobs are queried, and for which nodes."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.fakes import FakeEngine
from vizdash.engines.job_selection import JobSelection, SelectedJobs
from vizdash.model import Job, JobState
from vizdash.service.query_cache import QueryCache

NODES = frozenset({"n1"})
MINE = JobSelection("alice", nodes=NODES, waiting=True)
JOBS = (
    Job("1", "alice", "solver", JobState.RUNNING, node="n1"),
    Job("2", "bob", "solver", JobState.RUNNING, node="n1"),
    Job("3", "bob", "solver", JobState.RUNNING, node="n2"),
    Job("4", "bob", "solver", JobState.PENDING),
)


class Clocked(FakeEngine):
    """An engine whose listings of jobs take ``takes_s`` on a clock of the test's own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, takes_s: float = 0.0) -> None:
        super().__init__(queues=[JOBS])
        self.now = 0.0
        self.takes_s = takes_s
        clock = SimpleNamespace(monotonic=lambda: self.now, time=time.time)
        monkeypatch.setattr("vizdash.service.query_cache.time", clock)

    async def select_jobs(self, selection: JobSelection) -> SelectedJobs:
        self.now += self.takes_s
        return await super().select_jobs(selection)

    @property
    def asked(self) -> int:
        return self.calls.count("jobs")


@pytest.mark.parametrize(("takes_s", "pause_s"), [(0.05, 30), (0.6, 90), (2, 300)])
async def test_a_dear_query_is_a_rare_one(
    monkeypatch: pytest.MonkeyPatch, takes_s: float, pause_s: float
) -> None:
    engine = Clocked(monkeypatch, takes_s)
    cache = QueryCache(engine)
    first = await cache.others_jobs(MINE)
    engine.now += pause_s - 1
    assert await cache.others_jobs(MINE) is first
    assert engine.asked == 1
    engine.now += 2
    assert await cache.others_jobs(MINE) == first
    assert engine.asked == 2


async def test_other_nodes_are_another_query_and_both_stay_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Clocked(monkeypatch)
    cache = QueryCache(engine)
    assert [job.id for job in (await cache.others_jobs(MINE)).holding] == ["2"]
    other = JobSelection("alice", nodes=frozenset({"n2"}))
    assert [job.id for job in (await cache.others_jobs(other)).holding] == ["3"]
    assert engine.asked == 2
    assert [job.id for job in (await cache.others_jobs(MINE)).holding] == ["2"]
    assert (await cache.others_jobs(JobSelection("alice", waiting=True))).holding == ()
    assert engine.asked == 2


async def test_all_jobs_are_ones_own_and_those_that_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Clocked(monkeypatch)
    cache = QueryCache(engine)
    assert [job.id for job in await cache.all_jobs()] == ["1", "4"]
    assert [job.id for job in await cache.all_jobs({"n1", "n2"})] == ["1", "2", "3", "4"]


async def test_nodes_are_asked_again_whoever_saw_the_own_jobs_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Clocked(monkeypatch)
    engine.queues = [JOBS, JOBS, (replace(JOBS[0], state=JobState.COMPLETING), *JOBS[1:])]
    cache = QueryCache(engine)
    for _ in range(2):
        await cache.own_jobs()
        engine.now += 1
        await cache.nodes(max_age_s=10)
        await cache.nodes(max_age_s=10)
    assert engine.calls.count("nodes") == 1
    await cache.all_jobs()  # as the start form does
    engine.now += 1
    await cache.nodes(max_age_s=10)
    assert engine.calls.count("nodes") == 2
    engine.now += 11
    await cache.nodes(max_age_s=10)
    assert engine.calls.count("nodes") == 3
