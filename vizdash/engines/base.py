"""The protocol that both engines keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vizdash.model import Job, JobRequest, Node, Partition, Reservation


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Who and what the engine is: ``cluster`` its name, ``version`` of its software,
    ``user`` the name that its jobs will carry, ``admin`` whether that user may act on
    everyone's jobs, ``node_admin`` whether on nodes. ``accounting`` is whether what has ended is
    kept for good, ``memory_s`` how many seconds it is kept else (0: untold). ``memory_tracked`` is
    whether jobs are given memory, so that it can be asked for.
    """

    name: str
    cluster: str
    version: str
    user: str
    admin: bool = False
    node_admin: bool = False
    accounting: bool = False
    memory_s: int = 0
    memory_tracked: bool = True


class Engine(Protocol):
    """Runs jobs and tells of nodes and jobs. Every call may raise Unreachable or TimedOut."""

    @property
    def name(self) -> str:
        """``slurm`` or ``local``."""
        ...

    async def info(self) -> EngineInfo:
        """Ask once; kept afterwards."""
        ...

    async def nodes(self) -> tuple[Node, ...]:
        """All nodes, in the engine's order."""
        ...

    async def partitions(self) -> tuple[Partition, ...]:
        """All partitions, hidden ones (so marked) too."""
        ...

    async def reservations(self) -> tuple[Reservation, ...]:
        """The reservations of nodes that this user may see, now and later."""
        ...

    async def jobs(self, *, user: str | None = None, partition: str = "") -> tuple[Job, ...]:
        """Jobs waiting, running and lately ended (while the engine still knows them).

        With ``user``, that user's only (cheap); with ``partition``, those of that partition.
        """
        ...

    async def submit(self, request: JobRequest) -> str:
        """Hand in a job and return its id.

        Raises Refused, with the engine's reason in words, when the engine won't have it.
        """
        ...

    async def expected_start(self, request: JobRequest) -> int | None:
        """When the job would start if it were handed in now, in seconds since the epoch; None
        when the engine can't say. Nothing is handed in. Raises Refused as ``submit`` does.
        """
        ...

    async def cancel(self, job_id: str) -> None:
        """End a job, its TERM trap included. A job that has already ended is no error.

        Raises Refused when the job is someone else's, NotFound when there's no such job.
        """
        ...

    async def history(self, *, since_s: int, user: str | None = None) -> tuple[Job, ...]:
        """Jobs that ended in the last ``since_s`` seconds; of ``user``, or of all one may see.

        Raises Refused, saying why, where nothing keeps them.
        """
        ...

    async def drain(self, node: str, reason: str) -> None:
        """Let no new job onto a node; ``reason`` tells others why.

        Raises Refused when this user may not, or the engine has no such node.
        """
        ...

    async def resume(self, node: str) -> None:
        """Undo ``drain``. Raises Refused when this user may not, or the node is not drained."""
        ...

    async def set_time_limit(self, job_id: str, time_s: int) -> None:
        """Give a job another time limit, in seconds from its start.

        Raises Refused when this user may not, or it is too long.
        """
        ...

    async def annotate(self, job_id: str, comment: str) -> None:
        """Write a job's comment. Raises Refused when this user may not."""
        ...

    async def tell(self, job_id: str, text: str, comment: str) -> None:
        """Have a running session show ``text``; ``comment`` is its job's comment with the text.

        Raises Refused when this user may not, or nothing there shows it.
        """
        ...
