"""Jobs that wait already, and the nodes that the scheduler keeps for them.

Slurm's backfill scheduler plans a start for each job that waits, marks the nodes as PLANNED, and
starts a later job there only if that one ends before (slurm.conf(5), "SchedulerType";
sinfo(1), "NODE STATE CODES"). ``sbatch --test-only`` knows nothing of these plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vizdash.engines.slurm.reasons import PRIORITY, RESOURCES
from vizdash.model import Job, JobState, Node, Partition
from vizdash.model.gres import gpu_count
from vizdash.sessions.reserved import listed
from vizdash.units import clock_words, duration_words

#: Reasons of a job that waits for nodes, and has a plan for them soon; empty: it is not tried yet.
_SOON_PLANNED = frozenset({"", RESOURCES, PRIORITY})

#: Backfill plans in steps of this many seconds (slurm.conf(5), "bf_resolution").
_STEP_S = 60

#: More waiting jobs than the scheduler is sure to plan for (slurm.conf(5), "bf_max_job_test").
_MANY = 100


@dataclass(frozen=True, slots=True)
class Planned:
    """A free node that is kept for a waiting job: until ``until`` (seconds since the epoch), where
    that is known, others may run there.
    """

    node: str
    until: int | None

    def longest_s(self, now: float) -> int:
        """The longest job that may start there ``now``, in seconds (whole minutes)."""
        return max(0, int((self.until or 0) - now - _STEP_S) // 60 * 60)


def waiting_ahead(
    jobs: Iterable[Job], partition: Partition | None, partitions: Iterable[Partition]
) -> tuple[Job, ...]:
    """The waiting jobs that may come before a new one in ``partition``: those of partitions of a
    lower tier do not (slurm.conf(5), "PriorityTier"). Which priority a new job will have is not
    known.
    """
    tiers = {p.name: p.tier for p in partitions}
    least = min((p.tier for p in partition.each), default=1) if partition is not None else 0
    return tuple(
        job
        for job in jobs
        if job.state is JobState.PENDING
        and (job.reason in _SOON_PLANNED or job.start_at is not None)
        and any(tiers.get(part, least) >= least for part in job.partition.split(","))
    )


def kept_for_others(
    node: Node, ahead: Sequence[Job], time_s: int, now: float, *, backfills: bool
) -> Planned | None:
    """What keeps a job of ``time_s`` seconds off ``node`` though it is free; None for nothing."""
    mine = [job for job in ahead if _may_use(job, node)]
    unplanned = [job for job in mine if job.start_at is None or not backfills]
    if unplanned or len(ahead) > _MANY:
        return Planned(node.name, None)
    if "PLANNED" not in node.flags:
        return None
    # Jobs that one may not see have plans, too (slurm.conf(5), "PrivateData").
    until = min((job.start_at for job in mine if job.start_at is not None), default=None)
    planned = Planned(node.name, until)
    return None if -(-time_s // 60) * 60 <= planned.longest_s(now) else planned


def planned_words(planned: Sequence[Planned], now: float) -> str:
    """``waiting jobs take viz-node003 from 16:26 on; up to 58 min starts now``."""
    starts = [one.until for one in planned if one.until is not None]
    if not starts:
        return ""
    names, first = listed([one.node for one in planned]), max(min(starts), int(now))
    text = f"waiting jobs take {names} from {clock_words(first, now)} on"
    longest = max(one.longest_s(now) for one in planned)
    return f"{text}; up to {duration_words(longest)} starts now" if longest else text


def _may_use(job: Job, node: Node) -> bool:
    """Whether the job may be given the node. Its cores and memory may be those of several."""
    parts = job.partition.split(",")
    return any(p in node.partitions for p in parts) and gpu_count(job.gres) <= node.gpus
