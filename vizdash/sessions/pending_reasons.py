"""The reservations that keep a job pending, in words.

engines/slurm/reasons.py has the words of Slurm's own reason codes.

"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from vizdash.engines.slurm.reasons import MAINTENANCE, MAYBE_RESERVED
from vizdash.model import Job, JobState, Node, Reservation
from vizdash.util.units import format_duration


@dataclass(frozen=True, slots=True)
class ReservedNode:
    """A node, the reservations that a session would overlap there if it started now, and whether it
    has free capacity for the session otherwise.
    """

    node: str
    reservations: tuple[Reservation, ...]
    has_capacity: bool = True


def blocking_reservations(
    node: Node, time_s: int, now: float, *, reservation: str = ""
) -> tuple[Reservation, ...]:
    """The node's reservations that a job of ``time_s`` seconds would overlap if it started ``now``,
    except the one that it names.
    """
    others = (r for r in node.reservations if r.name != reservation)
    return tuple(r for r in others if r.blocks(now, time_s))


def describe_reservations(
    blocked: Sequence[ReservedNode], now: float, *, others: bool = False
) -> str:
    """``maintenance from 16:26 to 18:26; up to 58 min starts now``. Nodes are named where the
    reservation is for certain users, differs between nodes, or there are ``others``.
    """
    nodes: dict[tuple[bool, str], list[str]] = {}
    for one in blocked:
        first = one.reservations[0]
        nodes.setdefault((first.maintenance, first.describe(now)), []).append(one.node)
    plain = len(nodes) == 1 and not others
    parts = []
    for (maintenance, what), names in nodes.items():
        verb = "has" if maintenance else "is"
        if len(names) > 1:
            verb = "have" if maintenance else "are"
        parts.append(what if plain and maintenance else f"{join_names(names)} {verb} {what}")
    free = [min(r.longest_s(now) for r in one.reservations) for one in blocked if one.has_capacity]
    if longest := max(free, default=0):
        parts.append(f"up to {format_duration(longest)} starts now")
    return "; ".join(parts)


def explain_pending(jobs: Iterable[Job], nodes: Sequence[Node], now: float) -> tuple[Job, ...]:
    """``jobs``; the reason of a job that waits for a reservation names it and its end."""
    all_jobs = tuple(jobs)
    if not any(node.reservations for node in nodes):
        return all_jobs
    return tuple(_explained(job, nodes, now) for job in all_jobs)


def may_be_reserved(reason: str) -> bool:
    """Whether a job with this reason (as ``describe_reason`` has it) may wait for a reservation."""
    return reason == MAINTENANCE or reason.startswith(MAYBE_RESERVED)


def _explained(job: Job, nodes: Sequence[Node], now: float) -> Job:
    if job.state is not JobState.PENDING or not may_be_reserved(job.reason):
        return job
    parts = job.partition.split(",")
    members = [node for node in nodes if any(part in node.partitions for part in parts)]
    # A job without a limit overlaps every reservation.
    time_s = 366 * 86400 if job.time_limit_s is None else job.time_limit_s
    blocked = []
    for node in members:
        blocking = blocking_reservations(node, time_s, now)
        if job.reason == MAINTENANCE:
            blocking = tuple(r for r in blocking if r.maintenance)
        if blocking:
            blocked.append(
                ReservedNode(node.name, blocking, has_capacity=node.usable and node.cores_free > 0)
            )
    if not blocked:
        return job
    text = describe_reservations(blocked, now, others=len(blocked) < len(members))
    # The node that it asked for is not known here. Where that is reserved, Slurm names all nodes of
    # the partition that are down or drained instead (node_scheduler.c, select_nodes).
    down = job.reason.removeprefix(MAYBE_RESERVED).strip(" ()")
    if job.reason != MAINTENANCE and down:
        text = f"{down} down or drained; {text}"
    # On several nodes, it may wait for another job instead.
    sure = job.reason == MAINTENANCE or (len(blocked) == len(members) and not down)
    return replace(job, reason=text if sure else f"{MAYBE_RESERVED}: {text}")


def join_names(names: Sequence[str], joint: str = "") -> str:
    """At most six names; the last two joined by ``joint``, where given."""
    if len(names) > 6:
        return f"{', '.join(names[:6])} and {len(names) - 6} more"
    if joint and len(names) > 1:
        return f"{', '.join(names[:-1])} {joint} {names[-1]}"
    return ", ".join(names)
