"""What fits now, and what never will: told before the engine is asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vizdash.model import Job, JobState, Node, Partition, Resources, SessionRequest
from vizdash.units import clock_words, duration_words

#: A constraint that is one feature's name, without any of sbatch(1)'s operators.
_FEATURE = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True)
class Fit:
    """``now``: nodes with room, and for how many sessions of this size at most; ``ever``: nodes
    that are large enough when empty; ``away``: what keeps some of those from taking jobs, in words;
    ``untold``: what only the scheduler knows, in words, where that decides; ``refusal``: one line
    when it can never run, else empty, and ``mend`` what to do about it (``image`` when a node lacks
    the image).
    """

    now: tuple[tuple[str, int], ...] = ()
    ever: tuple[str, ...] = ()
    away: str = ""
    untold: str = ""
    refusal: str = ""
    mend: str = ""

    @property
    def words(self) -> str:
        """One line for people."""
        if self.refusal or self.untold:
            return self.refusal or self.untold
        count = sum(n for _, n in self.now)
        if not count:
            away = f" ({self.away})" if self.away else ""
            return f"nothing free now: it waits for {_names(self.ever)}{away}"
        noun = "session" if count == 1 else "sessions"
        fits = "fits" if count == 1 else "fit"
        return f"{count} {noun} of this size {fits} now: {_names([n for n, _ in self.now])}"

    @property
    def waits(self) -> bool:
        """Whether it only has to wait for others to end, or what it waits for is not told: the
        scheduler may know for how long.
        """
        return not (self.now or self.refusal or self.away)

    def with_start(self, at: int | None, now: float) -> str:
        """``words`` with when the engine expects it to start (both in epoch seconds)."""
        if at is None or self.refusal or self.now:
            return self.words
        if self.untold:
            return starts(at, now)
        return f"nothing is free now: {starts(at, now)}, on {_names(self.ever, 'or')}"


def starts(at: int, now: float) -> str:
    """``starts about 14:20 (in 35 min)``; the day is told when it isn't today."""
    left = max(0, round((at - now) / 60) * 60)
    when = f"in {duration_words(left)}" if left else "any moment now"
    return f"starts about {clock_words(at, now)} ({when})"


def fit(
    resources: Resources,
    nodes: Sequence[Node],
    partition: Partition | None,
    *,
    node: str = "",
    without: frozenset[str] = frozenset(),
    reservation: str = "",
    constraint: str = "",
    jobs: Sequence[Job] = (),
) -> Fit:
    """Hold ``resources`` against the partition's limits and its nodes.

    ``node`` is the one asked for (empty: any); ``without`` are nodes that lack the image; ``jobs``
    are those that run, as far as they are known. Accounts are left to the engine: AllowAccounts
    (slurm.conf(5)) means accounts below the named ones too.
    """
    if partition is not None and (over := _over_limits(resources, partition)):
        return Fit(refusal=over, mend="ask for less, or name another partition")
    members = [n for n in nodes if partition is None or partition.has(n)]
    if node and node not in {n.name for n in members}:
        where = f"partition {partition.name}" if partition else "the cluster"
        has = _names(_by_name(members)) or "no nodes"
        return Fit(refusal=f"node {node} is not in {where}, which has {has}", mend="name another")
    large = [n for n in members if _holds(resources, n.cores, n.memory_mib, n.gpus)]
    ever = [n for n in large if n.name not in without and (not node or n.name == node)]
    if not ever:
        return _never(resources, members, large, node)
    having = [n for n in ever if _meets(n, constraint)]
    if not having:
        untold = f"only the scheduler knows which nodes meet the constraint {constraint!r}"
        return Fit(ever=_by_name(ever), untold=untold)
    return _now(resources, having, partition, reservation, jobs)


def _meets(node: Node, constraint: str) -> bool:
    """Whether the node is known to have the features: of more than one name it is not, and a
    feature that it has not now may be one that a reboot brings.
    """
    return not constraint or bool(_FEATURE.fullmatch(constraint) and constraint in node.features)


def _now(
    resources: Resources,
    ever: Sequence[Node],
    partition: Partition | None,
    reservation: str,
    jobs: Sequence[Job],
) -> Fit:
    """What of ``ever`` has room. Nodes of a reservation that has begun are marked; of which
    reservation, they don't tell.
    """
    down = partition is not None and partition.state != "UP"
    free = [n for n in ever if (n.usable_reserved if reservation else n.usable)]
    rooms = [] if down else [(n.name, _times(resources, n, partition, jobs)) for n in free]
    now = tuple((name, count) for name, count in rooms if count)
    if partition is not None and down:
        away = f"partition {partition.name} is {partition.state.lower()}"
    elif reservation and not now:
        untold = f"only the scheduler knows when reservation {reservation!r} has room"
        return Fit(ever=_by_name(ever), untold=untold)
    else:
        away = "; ".join(_away(n) for n in ever if not n.usable and n not in free)
    return Fit(now=now, ever=_by_name(ever), away=away)


def asked(request: SessionRequest, name: str, letter: str = "") -> str:
    """What ``request`` says of sbatch's option ``name`` (and ``letter``): in its raw arguments,
    where the last one wins, else in its own field.
    """
    said: str = getattr(request, name)
    words = iter(request.extra)
    for word in words:
        if word == f"--{name}" or (letter and word == f"-{letter}"):
            said = next(words, said)
        elif word.startswith(f"--{name}="):
            said = word.removeprefix(f"--{name}=")
        elif letter and word.startswith(f"-{letter}"):
            said = word.removeprefix(f"-{letter}")
    return said


def _away(node: Node) -> str:
    reason = node.reason.partition(" [")[0].strip()
    return f"{node.name} is {node.state_words}" + (f": {reason}" if reason else "")


def _by_name(nodes: Sequence[Node]) -> tuple[str, ...]:
    return tuple(n.name for n in nodes)


def _holds(wanted: Resources, cores: int, memory_mib: int, gpus: int) -> bool:
    return wanted.cores <= cores and wanted.memory_mib <= memory_mib and wanted.gpus <= gpus


def _times(wanted: Resources, node: Node, partition: Partition | None, jobs: Sequence[Job]) -> int:
    """How many sessions of this size the node's free resources, and what a partition gives its
    jobs there, hold. It is an upper bound: jobs that one may not see count nowhere, and one on
    several nodes counts as a core on each, since squeue(1) tells no more.
    """
    cores = node.cores_free
    if partition is not None:
        open_ = [p for p in partition.each if p.state == "UP" and p.has(node)]
        lefts = [_cores_left(p, node, jobs) for p in open_ if not _over_limits(wanted, p)]
        cores = min(cores, max(lefts, default=0))
    rooms = [cores // wanted.cores, node.memory_free_mib // wanted.memory_mib]
    if wanted.gpus:
        rooms.append(node.gpus_free // wanted.gpus)
    return min(rooms)


def _cores_left(partition: Partition, node: Node, jobs: Sequence[Job]) -> int:
    """How many of the node's cores the partition's jobs may have beside those that they have."""
    if partition.max_cores_per_node is None:
        return node.cores
    here = [j for j in jobs if j.partition == partition.name and node.name in j.nodes]
    # A suspended job has given its cores back.
    holding = [j for j in here if not j.state.ended and j.state is not JobState.SUSPENDED]
    held = sum(j.cores if len(j.nodes) == 1 else 1 for j in holding)
    return max(0, partition.max_cores_per_node - held)


def _over_limits(wanted: Resources, partition: Partition) -> str:
    limit = partition.max_time_s
    if limit is not None and wanted.time_s > limit:
        return (
            f"{duration_words(wanted.time_s)} asked, but partition {partition.name} "
            f"allows {duration_words(limit)} at most"
        )
    cap = partition.max_memory_per_node_mib
    if cap is not None and wanted.memory_mib > cap:
        return (
            f"{wanted.memory_mib} MiB asked, but partition {partition.name} "
            f"allows {cap} MiB a node at most"
        )
    cores = partition.max_cores_per_node
    if cores is not None and wanted.cores > cores:
        return (
            f"{wanted.cores} cores asked, but partition {partition.name} "
            f"allows {cores} a node at most"
        )
    return ""


def _never(wanted: Resources, members: Sequence[Node], large: Sequence[Node], node: str) -> Fit:
    """Name the numbers, and what would fit."""
    if not members:
        return Fit(refusal="the partition has no nodes", mend="name another partition")
    one = next((n for n in members if n.name == node), None)
    if one is not None:
        lacks = _lacks(wanted, one)
        if not lacks:
            return Fit(refusal=f"node {node} has no such image", mend="image")
        others = [n.name for n in large if n.name != node]
        hint = f"; {_names(others)} would fit" if others else ""
        return Fit(refusal=f"{lacks}{hint}", mend="ask for less, or leave the node open")
    if large:
        why = f"no node that is large enough ({_names(_by_name(large))}) has the image"
        return Fit(refusal=why, mend="image")
    # The node that comes nearest, to name what is the most that could be asked for.
    nearest = max(members, key=lambda n: (-len(_shorts(wanted, n)), n.gpus, n.memory_mib, n.cores))
    why = f"{_lacks(wanted, nearest)}, and no node of the partition has more"
    return Fit(refusal=why, mend="ask for less")


def _lacks(wanted: Resources, node: Node) -> str:
    return "; ".join(_shorts(wanted, node))


def _shorts(wanted: Resources, node: Node) -> list[str]:
    """What ``node`` has too little of, even when empty."""
    short = []
    if wanted.memory_mib > node.memory_mib:
        short.append(f"{wanted.memory_mib} MiB asked, but {node.name} has {node.memory_mib} MiB")
    if wanted.cores > node.cores:
        short.append(f"{wanted.cores} cores asked, but {node.name} has {node.cores}")
    if wanted.gpus > node.gpus:
        short.append(f"{wanted.gpus} GPUs asked, but {node.name} has {node.gpus}")
    return short


def _names(names: Sequence[str], joint: str = "") -> str:
    if len(names) > 6:
        return f"{', '.join(names[:6])} and {len(names) - 6} more"
    if joint and len(names) > 1:
        return f"{', '.join(names[:-1])} {joint} {names[-1]}"
    return ", ".join(names)
