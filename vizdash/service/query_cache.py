"""A cluster's nodes, partitions and jobs, each queried only as often as it changes."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Iterable
from dataclasses import replace

from vizdash.config import Cluster
from vizdash.config.readers import nearest
from vizdash.engines import Engine
from vizdash.engines.job_selection import JobSelection, SelectedJobs
from vizdash.errors import ConfigError
from vizdash.model import Job, JobState, Node, Partition, Reservation
from vizdash.model.node import find_unknown_partition
from vizdash.model.reservation import reservations_of_node

#: Seconds for which partitions and reservations, and other users' jobs, are not queried again.
_PARTITIONS_S = 60.0
_OTHERS_S = 30.0
#: Everyone's jobs are a large cluster's dearest query: once in so many times the time it takes.
_OTHERS_SHARE = 150


class QueryCache:
    """The engine's answers. Methods raise as the engine's do."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        #: When ``own_jobs`` was answered last, in seconds since the epoch.
        self.own_jobs_at = 0.0
        #: When an answer had other jobs than the one before it, or jobs in other states: nodes that
        #: were asked before are out of date.
        self._own_changed_at = float("-inf")
        self._own_states: tuple[tuple[str, JobState], ...] | None = None
        self._nodes: tuple[Node, ...] = ()
        self._nodes_at = float("-inf")
        self._partitions: tuple[Partition, ...] = ()
        self._partitions_at = float("-inf")
        self._reservations: tuple[Reservation, ...] = ()
        self._reservations_at = float("-inf")
        self._others = SelectedJobs()
        self._selection = JobSelection("")
        self._others_due = float("-inf")

    async def own_jobs(self) -> tuple[Job, ...]:
        """The user's own jobs, never from the cache."""
        jobs = await self._engine.jobs(user=(await self._engine.info()).user)
        self.own_jobs_at = time.time()
        states = tuple((job.id, job.state) for job in jobs)
        if self._own_states not in (None, states):
            self._own_changed_at = time.monotonic()
        self._own_states = states
        return jobs

    async def others_jobs(self, selection: JobSelection) -> SelectedJobs:
        """Other users' jobs of ``selection``, of which some may be more than it asks for; ``own``
        is empty.
        """
        if self._engine.name == "local":
            return SelectedJobs()
        began = time.monotonic()
        covered = self._selection.covers(selection)
        if began > self._others_due or not covered:
            self._selection = self._selection if covered else self._selection.join(selection)
            self._others = replace(await self._engine.select_jobs(self._selection), own=())
            now = time.monotonic()
            self._others_due = now + max(_OTHERS_S, (now - began) * _OTHERS_SHARE)
        if self._selection.nodes == selection.nodes:
            return self._others
        here = (j for j in self._others.holding if not selection.nodes.isdisjoint(j.nodes))
        return replace(self._others, holding=tuple(here) if selection.nodes else ())

    async def all_jobs(self, nodes: Iterable[str] = ()) -> tuple[Job, ...]:
        """The user's own jobs and, of others', those that wait and those that hold one of
        ``nodes``; none on this machine, where no job waits for another.
        """
        if self._engine.name == "local":
            return ()
        user = (await self._engine.info()).user
        wanted = JobSelection(user, nodes=frozenset(nodes), waiting=True)
        own, others = await asyncio.gather(self.own_jobs(), self.others_jobs(wanted))
        return (*own, *others.every)

    async def nodes(self, *, max_age_s: float = 0.0) -> tuple[Node, ...]:
        """Every node, as it was ``max_age_s`` ago or since, and since the own jobs last changed;
        its reservations may be older.
        """
        began = time.monotonic()
        if self._own_changed_at < self._nodes_at and began - self._nodes_at < max_age_s:
            return self._nodes
        nodes = await self._engine.nodes()
        if reservations := await self.reservations():
            now = time.time()
            nodes = tuple(
                replace(n, reservations=reservations_of_node(reservations, n.name, now))
                for n in nodes
            )
        self._nodes, self._nodes_at = nodes, began
        return nodes

    async def reservations(self, *, max_age_s: float = _PARTITIONS_S) -> tuple[Reservation, ...]:
        """Every reservation, as it was ``max_age_s`` ago or since."""
        if time.monotonic() - self._reservations_at > max_age_s:
            self._reservations = await self._engine.reservations()
            self._reservations_at = time.monotonic()
        return self._reservations

    async def partitions(self) -> tuple[Partition, ...]:
        """Every partition."""
        if time.monotonic() - self._partitions_at > _PARTITIONS_S:
            self._partitions = await self._engine.partitions()
            self._partitions_at = time.monotonic()
        return self._partitions

    async def partition(self, cluster: Cluster, name: str = "") -> Partition | None:
        """The partition called ``name`` (several, separated by commas, count as one); without a
        name, that of the configuration (``local`` has none), else the engine's default.

        None where no partition has that name, or the engine has no default. Raises ConfigError for
        a configured name that no partition has but that resembles one.
        """
        partitions = await self.partitions()
        configured = cluster.partition if self._engine.name != "local" else ""
        if name:
            return Partition.combine(name, partitions)
        if not configured:
            return next((p for p in partitions if p.default), None)
        missing = find_unknown_partition(configured, tuple(p.name for p in partitions))
        visible = tuple(p.name for p in partitions if not p.hidden)
        if missing is not None and difflib.get_close_matches(missing, visible):
            why = f"the cluster shows no partition {missing!r}"
            fix = nearest(missing, visible)
            raise ConfigError(f"clusters.{cluster.name}.partition", why, fix)
        return Partition.combine(configured, partitions)
