"""The result of one poll."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from vizdash.model.image import Image, ImageRoot, Matrix
from vizdash.model.job import Job
from vizdash.model.node import Node, Partition
from vizdash.model.session import Session


@dataclass(frozen=True, slots=True)
class Capacity:
    """Sums over the usable nodes of the partition; memory only where Slurm tracks it."""

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
    """The result of one poll. Not compared: ``taken_at`` (seconds since the epoch, when the user's
    own jobs were listed) and ``asked_s`` (seconds that the engine's answers took, without images
    and folders).

    ``jobs`` run on the nodes, those of other users included (these may be a while old). ``waiting``
    are pending jobs that may start before a new job of the partition. ``past_note`` is why ended
    sessions are known for a short time only (empty: they are recorded).
    With ``own_only`` other users' jobs have not been queried yet; ``saved`` was read from a file: a
    picture of the last poll of an earlier dashboard.
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
    image_roots: tuple[ImageRoot, ...] = ()
    wanted_images: tuple[tuple[str, str], ...] = ()
    taken_at: float = field(default=0.0, compare=False)
    asked_s: float = field(default=0.0, compare=False)
    own_only: bool = field(default=False, compare=False)
    saved: bool = field(default=False, compare=False)

    @property
    def capacity(self) -> Capacity:
        """Sums over the usable nodes."""
        return Capacity.of(self.nodes)

    def jobs_on(self, node: str) -> tuple[Job, ...]:
        """What runs on a node, the largest first; a session is found by its job's id."""
        jobs = [job for job in self.jobs if node in job.nodes]
        return tuple(sorted(jobs, key=lambda j: (-j.cores, -j.memory_mib, j.id)))

    @property
    def matrix(self) -> Matrix:
        """Images × nodes."""
        return Matrix(self.images, self.image_roots, self.wanted_images)

    def rename(self, name: str) -> Snapshot:
        """Return the snapshot with the user's name for the cluster, unless it is empty."""
        return replace(self, cluster=name) if name else self
