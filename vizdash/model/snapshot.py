"""All that one poll saw."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from vizdash.model.image import Image, Matrix, Place
from vizdash.model.job import Job
from vizdash.model.node import Node, Partition
from vizdash.model.session import Session


@dataclass(frozen=True, slots=True)
class Capacity:
    """Sums over the usable nodes of the partition; of memory where it is tracked."""

    cores: int = 0
    cores_alloc: int = 0
    memory_mib: int = 0
    memory_alloc_mib: int = 0
    gpus: int = 0
    gpus_used: int = 0

    @classmethod
    def of(cls, nodes: Iterable[Node]) -> Capacity:
        """Add up the nodes that can take jobs."""
        up = [n for n in nodes if n.usable]
        tracked = [n for n in up if n.memory_tracked]
        return cls(
            cores=sum(n.cores for n in up),
            cores_alloc=sum(n.cores_alloc for n in up),
            memory_mib=sum(n.memory_mib for n in tracked),
            memory_alloc_mib=sum(n.memory_alloc_mib for n in tracked),
            gpus=sum(n.gpus for n in up),
            gpus_used=sum(n.gpus - n.gpus_free for n in up),
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One poll. ``taken_at`` (seconds since the epoch, when the user's own jobs were told) and
    ``asked_s`` (seconds that the engine's answers took, without the looks at images and folders)
    are outside equality.

    ``jobs`` are those that run on the nodes, other people's too (as of a while ago), ``waiting``
    those that a new job of the partition may have to let go first, ``past_note``
    says in words why ended sessions are known for a short time only (empty: they are kept).
    """

    cluster: str
    engine: str
    partition: str
    user: str
    nodes: tuple[Node, ...] = ()
    partitions: tuple[Partition, ...] = ()
    sessions: tuple[Session, ...] = ()
    images: tuple[Image, ...] = ()
    jobs: tuple[Job, ...] = ()
    waiting: tuple[Job, ...] = ()
    past_note: str = ""
    places: tuple[Place, ...] = ()
    wanted_images: tuple[tuple[str, str], ...] = ()
    taken_at: float = field(default=0.0, compare=False)
    asked_s: float = field(default=0.0, compare=False)

    @property
    def capacity(self) -> Capacity:
        """Sums over the usable nodes."""
        return Capacity.of(self.nodes)

    def jobs_on(self, node: str) -> tuple[Job, ...]:
        """What runs on a node, the largest first; a session is found by its job's id."""
        found = [job for job in self.jobs if node in job.nodes]
        return tuple(sorted(found, key=lambda j: (-j.cores, -j.memory_mib, j.id)))

    @property
    def matrix(self) -> Matrix:
        """Images × nodes."""
        return Matrix(self.images, self.places, self.wanted_images)

    def called(self, name: str) -> Snapshot:
        """With the person's own name for the cluster, if they gave it one."""
        return replace(self, cluster=name) if name else self
