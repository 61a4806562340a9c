"""Jobs as the engine reports them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from vizdash.model.node import Node
from vizdash.util.nodesets import expand_nodes


class JobState(StrEnum):
    """Slurm's base job states (squeue(1), "JOB STATE CODES"); UNKNOWN for a newer one."""

    PENDING = "PENDING"
    CONFIGURING = "CONFIGURING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    COMPLETING = "COMPLETING"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    PREEMPTED = "PREEMPTED"
    NODE_FAIL = "NODE_FAIL"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    BOOT_FAIL = "BOOT_FAIL"
    DEADLINE = "DEADLINE"
    REVOKED = "REVOKED"
    STOPPED = "STOPPED"
    UNKNOWN = "UNKNOWN"

    @property
    def ended(self) -> bool:
        """Whether nothing of the job will run again."""
        return self in _ENDED

    @property
    def waiting(self) -> bool:
        """Whether the job has not begun."""
        return self in {JobState.PENDING, JobState.CONFIGURING}


_ENDED = frozenset(
    {
        JobState.COMPLETED,
        JobState.CANCELLED,
        JobState.FAILED,
        JobState.TIMEOUT,
        JobState.PREEMPTED,
        JobState.NODE_FAIL,
        JobState.OUT_OF_MEMORY,
        JobState.BOOT_FAIL,
        JobState.DEADLINE,
        JobState.REVOKED,
    }
)


@dataclass(frozen=True, slots=True)
class Job:
    """One job. Texts are as the submitter wrote them: escape before showing.

    Times are seconds; ``start_at`` and ``submit_at`` are seconds since the epoch, ``start_at``
    being the expected start of a pending job where Slurm has one, and ``end_at`` is set for an
    ended one. ``time_left_s`` is None when the job has no limit, and negative values never occur.
    ``limit_at`` is when a running job is expected to end, by its time limit, which a suspension
    moves (None: not known).
    ``node`` is as Slurm writes it, ``viz-node[001-002]`` for a job on several.
    """

    id: str
    user: str
    name: str
    state: JobState
    partition: str = ""
    reason: str = ""
    node: str = ""
    cores: int = 0
    memory_mib: int = 0
    gres: str = ""
    time_limit_s: int | None = None
    time_left_s: int | None = None
    start_at: int | None = None
    submit_at: int | None = None
    end_at: int | None = None
    limit_at: int | None = None
    account: str = ""
    qos: str = ""
    comment: str = ""

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of its nodes."""
        return expand_nodes(self.node)


#: Reasons of a job that waits for its turn only.
RESOURCES = "waiting for free cores, memory or GPUs"
PRIORITY = "jobs with a higher priority come first"
#: Those of a job that is planned soon; empty: it has not been tried yet.
_SOON_PLANNED = frozenset({"", RESOURCES, PRIORITY})


def may_start_soon(state: JobState, reason: str, start_at: int | None) -> bool:
    """Whether a job waits for nodes and is planned soon, or has an expected start."""
    return state is JobState.PENDING and (reason in _SOON_PLANNED or start_at is not None)


def jobs_on_nodes(jobs: Iterable[Job], nodes: Iterable[Node]) -> tuple[Job, ...]:
    """The jobs that run on one of ``nodes``."""
    names = {node.name for node in nodes}
    live = (job for job in jobs if job.node and not job.state.ended)
    return tuple(job for job in live if not names.isdisjoint(job.nodes))
