"""What is asked of the engine less often than at every poll."""

from __future__ import annotations

import difflib
import time
from dataclasses import replace

from vizdash.config import Cluster
from vizdash.config.fields import nearest
from vizdash.engines import Engine
from vizdash.errors import ConfigError
from vizdash.model import Job, Node, Partition, Reservation
from vizdash.model.node import unknown
from vizdash.model.reservation import on_node

#: Seconds that what is known of partitions and reservations, and of other people's jobs, stays
#: good.
_PARTITIONS_S = 60.0
_OTHERS_S = 30.0


class Kept:
    """Partitions and other people's jobs, and when they were asked for. Methods raise as the
    engine's do.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        #: When ``own`` was answered last, in seconds since the epoch.
        self.own_at = 0.0
        self._partitions: tuple[Partition, ...] = ()
        self._partitions_at = float("-inf")
        self._reservations: tuple[Reservation, ...] = ()
        self._reservations_at = float("-inf")
        self._others: tuple[Job, ...] = ()
        self._others_at = float("-inf")

    async def own(self) -> tuple[Job, ...]:
        """The user's own jobs: never an old answer."""
        jobs = await self._engine.jobs(user=(await self._engine.info()).user)
        self.own_at = time.time()
        return jobs

    async def others(self, user: str) -> tuple[Job, ...]:
        """The jobs of everybody but ``user``."""
        if time.monotonic() - self._others_at > _OTHERS_S and self._engine.name != "local":
            jobs = await self._engine.jobs()
            self._others = tuple(job for job in jobs if job.user != user)
            self._others_at = time.monotonic()
        return self._others

    async def jobs(self) -> tuple[Job, ...]:
        """Everybody's jobs; none on this machine, where no job waits for another."""
        if self._engine.name == "local":
            return ()
        return (*await self.own(), *await self.others((await self._engine.info()).user))

    async def nodes(self) -> tuple[Node, ...]:
        """Every node: never an old answer, but for its reservations, which may be."""
        nodes = await self._engine.nodes()
        if not (reservations := await self.reservations()):
            return nodes
        now = time.time()
        return tuple(replace(n, reservations=on_node(reservations, n.name, now)) for n in nodes)

    async def reservations(self) -> tuple[Reservation, ...]:
        """Every reservation of nodes."""
        if time.monotonic() - self._reservations_at > _PARTITIONS_S:
            self._reservations = await self._engine.reservations()
            self._reservations_at = time.monotonic()
        return self._reservations

    async def partitions(self) -> tuple[Partition, ...]:
        """Every partition."""
        if time.monotonic() - self._partitions_at > _PARTITIONS_S:
            self._partitions = await self._engine.partitions()
            self._partitions_at = time.monotonic()
        return self._partitions

    def partition(
        self, partitions: tuple[Partition, ...], cluster: Cluster, wanted: str = ""
    ) -> Partition | None:
        """The one asked for, the configured one (``local`` has none), or the engine's default.

        Raises ConfigError for a configured one that isn't among those there are, but looks like
        one of them.
        """
        configured = cluster.partition if self._engine.name != "local" else ""
        if wanted:
            return Partition.called(wanted, partitions)
        if not configured:
            return next((p for p in partitions if p.default), None)
        names = tuple(p.name for p in partitions)
        strange = unknown(configured, names)
        seen = tuple(p.name for p in partitions if not p.hidden)
        if strange is not None and difflib.get_close_matches(strange, seen):
            why = f"the cluster shows no partition {strange!r}"
            raise ConfigError(f"clusters.{cluster.name}.partition", why, nearest(strange, seen))
        return Partition.called(configured, partitions)
