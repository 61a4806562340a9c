"""The protocol of an engine: what runs jobs and knows nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vizdash.engines.job_selection import JobSelection, SelectedJobs, select_jobs
from vizdash.model import Job, JobRequest, Node, Partition, Reservation


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Who and what the engine is: ``cluster`` its name, ``version`` of its software,
    ``user`` the name that its jobs will carry, ``admin`` whether that user may act on
    everyone's jobs, ``node_admin`` whether on nodes. ``accounting`` is whether ended jobs are kept
    for good, ``job_retention_s`` for how many seconds they are kept otherwise (0: unknown).
    ``memory_tracked`` is whether memory is allocated to jobs, so that it can be requested.
    ``private`` is what the user may not see: ``partitions``, or others' ``reservations``.
    """

    name: str
    cluster: str
    version: str
    user: str
    admin: bool = False
    node_admin: bool = False
    accounting: bool = False
    job_retention_s: int = 0
    memory_tracked: bool = True
    private: tuple[str, ...] = ()


class Engine(Protocol):
    """Runs jobs, and lists nodes and jobs. Every call may raise Unreachable or TimedOut."""

    @property
    def name(self) -> str:
        """``slurm`` or ``local``."""
        ...

    async def info(self) -> EngineInfo:
        """Who and what the engine is: queried once, then cached."""
        ...

    async def nodes(self) -> tuple[Node, ...]:
        """All nodes, in the engine's order."""
        ...

    async def partitions(self) -> tuple[Partition, ...]:
        """All partitions, including hidden ones (marked so); none where they are private."""
        ...

    async def reservations(self) -> tuple[Reservation, ...]:
        """Current and future reservations, as far as this user may see them."""
        ...

    async def jobs(self, *, user: str | None = None, partition: str = "") -> tuple[Job, ...]:
        """Pending, running and recently ended jobs (while the engine still knows them).

        With ``user``, only that user's (cheaper); with ``partition``, only those of that partition.
        """
        ...

    async def select_jobs(self, selection: JobSelection) -> SelectedJobs:
        """Of everyone's jobs, those that matter: cheaper than ``jobs`` where there are many."""
        return select_jobs(await self.jobs(), selection)

    async def submit(self, request: JobRequest) -> str:
        """Submit a job and return its id. Raises Refused, with the engine's reason in words."""
        ...

    async def expected_start(self, request: JobRequest) -> int | None:
        """When the job would start if it were submitted now, in seconds since the epoch; None
        where the engine can't say. Nothing is submitted. Raises Refused as ``submit`` does.
        """
        ...

    async def cancel(self, job_id: str) -> None:
        """Cancel a job; its TERM trap runs. A job that has already ended is no error.

        Raises Refused for another user's job, NotFound where no such job exists.
        """
        ...

    async def history(self, *, since_s: int, user: str | None = None) -> tuple[Job, ...]:
        """Jobs that ended in the last ``since_s`` seconds: those of ``user``, or all that this user
        may see.

        Raises Refused, with the cause, where no accounting keeps them.
        """
        ...

    async def drain(self, node: str, reason: str) -> None:
        """Drain a node: running jobs finish, no new ones start. ``reason`` is shown to all users.

        Raises Refused where this user may not, or no such node exists.
        """
        ...

    async def resume(self, node: str) -> None:
        """Undo ``drain``. Raises Refused where this user may not, or the node is not drained."""
        ...

    async def max_time_s(self, account: str, qos: str, partition_qos: str = "") -> int | None:
        """The longest time limit that this user's jobs may have with this account and QOS (empty:
        their defaults) in a partition with this QOS, in seconds; None for no limit, or where none
        is known.
        """
        return None

    async def qos_lifts_time_limit(self, account: str, qos: str) -> bool:
        """Whether this user's jobs with this account and QOS (empty: their defaults) may be longer
        than their partition allows.
        """
        return False

    async def set_time_limit(self, job_id: str, time_s: int) -> None:
        """Change a job's time limit, in seconds from its start.

        Raises Refused where this user may not, or the limit is too long.
        """
        ...

    async def set_comment(self, job_id: str, comment: str) -> None:
        """Write a job's comment. Raises Refused where this user may not."""
        ...

    async def send_message(self, job_id: str, text: str, comment: str) -> None:
        """Show ``text`` in a running session; ``comment`` is its job's comment with the text.

        Raises Refused where this user may not, or the session can show nothing.
        """
        ...
