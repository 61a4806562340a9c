"""The protocol that both engines keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vizdash.model import Job, JobRequest, Node, Partition


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Who and what the engine is: ``cluster`` its name, ``version`` of its software,
    ``user`` the name that its jobs will carry, ``admin`` whether that user may act on
    everyone's jobs.
    """

    name: str
    cluster: str
    version: str
    user: str
    admin: bool = False


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
        """All partitions that this user may see."""
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

    async def cancel(self, job_id: str) -> None:
        """End a job, its TERM trap included. A job that has already ended is no error.

        Raises Refused when the job is someone else's, NotFound when there's no such job.
        """
        ...
