"""What reservations keep a session from starting, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from vizdash.engines.slurm.reasons import MAINTENANCE, MAYBE_RESERVED
from vizdash.model import Job, JobState, Node, Reservation
from vizdash.units import duration_words


@dataclass(frozen=True, slots=True)
class Blocked:
    """A node, the reservations that a session would run into there if it started now, and whether
    it has room for the session besides.
    """

    node: str
    reservations: tuple[Reservation, ...]
    room: bool = True


def in_the_way(
    node: Node, time_s: int, now: float, *, reservation: str = ""
) -> tuple[Reservation, ...]:
    """The node's reservations that a job of ``time_s`` seconds would run into if it started
    ``now``; but for the one that it names.
    """
    others = (r for r in node.reservations if r.name != reservation)
    return tuple(r for r in others if r.blocks(now, time_s))


def words(blocked: Sequence[Blocked], now: float, *, others: bool = False) -> str:
    """``maintenance from 16:26 to 18:26; up to 58 min starts now``; which nodes it is of where it
    is for somebody, or not the same on all, or there are ``others``.
    """
    nodes: dict[tuple[bool, str], list[str]] = {}
    for one in blocked:
        first = one.reservations[0]
        nodes.setdefault((first.maintenance, first.words(now)), []).append(one.node)
    plain = len(nodes) == 1 and not others
    parts = []
    for (maintenance, what), names in nodes.items():
        verb = "has" if maintenance else "is"
        if len(names) > 1:
            verb = "have" if maintenance else "are"
        parts.append(what if plain and maintenance else f"{listed(names)} {verb} {what}")
    free = [min(r.longest_s(now) for r in one.reservations) for one in blocked if one.room]
    if longest := max(free, default=0):
        parts.append(f"up to {duration_words(longest)} starts now")
    return "; ".join(parts)


def why_pending(jobs: Iterable[Job], nodes: Sequence[Node], now: float) -> tuple[Job, ...]:
    """``jobs``; the reason of one that waits for a reservation says for which and until when."""
    found = tuple(jobs)
    if not any(node.reservations for node in nodes):
        return found
    return tuple(_explained(job, nodes, now) for job in found)


def _explained(job: Job, nodes: Sequence[Node], now: float) -> Job:
    if job.state is not JobState.PENDING or job.reason not in {MAINTENANCE, MAYBE_RESERVED}:
        return job
    parts = job.partition.split(",")
    members = [node for node in nodes if any(part in node.partitions for part in parts)]
    # A job without a limit runs into every reservation.
    time_s = 366 * 86400 if job.time_limit_s is None else job.time_limit_s
    blocked = []
    for node in members:
        blocking = in_the_way(node, time_s, now)
        if job.reason == MAINTENANCE:
            blocking = tuple(r for r in blocking if r.maintenance)
        if blocking:
            blocked.append(Blocked(node.name, blocking, room=node.usable and node.cores_free > 0))
    if not blocked:
        return job
    told = words(blocked, now, others=len(blocked) < len(members))
    # On several nodes, it may be another job that it waits for.
    sure = job.reason == MAINTENANCE or len(blocked) == len(members)
    return replace(job, reason=told if sure else f"{job.reason}: {told}")


def listed(names: Sequence[str], joint: str = "") -> str:
    """Six names at most; the last two joined by ``joint``, where that is given."""
    if len(names) > 6:
        return f"{', '.join(names[:6])} and {len(names) - 6} more"
    if joint and len(names) > 1:
        return f"{', '.join(names[:-1])} {joint} {names[-1]}"
    return ", ".join(names)
