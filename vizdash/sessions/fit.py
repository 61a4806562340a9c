"""What fits now, and what never will: told before the engine is asked."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from vizdash.model import Job, Node, Partition, Reservation, Resources
from vizdash.sessions.ahead import Planned, kept_for_others, planned_words
from vizdash.sessions.need import Need, need, over_limits, shorts
from vizdash.sessions.partition_share import cores_left
from vizdash.sessions.reserved import Blocked, in_the_way, listed, words
from vizdash.units import clock_words, duration_words

#: A constraint that is one feature's name, without any of sbatch(1)'s operators.
_FEATURE = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True)
class Fit:
    """``now``: nodes with room, and for how many sessions of this size at most; ``ever``: nodes
    that are large enough when empty; ``away``: what keeps some of those from taking jobs, in words;
    ``reserved``: the reservations that keep it off every node with room, in words; ``planned``: the
    same of jobs that wait already; ``untold``: what only the scheduler knows, in words, where that
    decides; ``refusal``: one line when it can never
    run, else empty, and ``mend`` what to do about it (``image`` when a node lacks the image);
    ``unknown``: it names a node or partition that is not there.
    """

    now: tuple[tuple[str, int], ...] = ()
    ever: tuple[str, ...] = ()
    away: str = ""
    reserved: str = ""
    planned: str = ""
    untold: str = ""
    refusal: str = ""
    mend: str = ""
    unknown: bool = False

    @property
    def words(self) -> str:
        """One line for people."""
        if self.refusal or self.untold:
            return self.refusal or self.untold
        count = sum(n for _, n in self.now)
        if not count and (self.reserved or self.planned):
            parts = (self.reserved, self.planned, self.away)
            return "; ".join(part for part in parts if part)
        if not count:
            away = f" ({self.away})" if self.away else ""
            return f"nothing free now: it waits for {listed(self.ever)}{away}"
        noun = "session" if count == 1 else "sessions"
        fits = "fits" if count == 1 else "fit"
        return f"{count} {noun} of this size {fits} now: {listed([n for n, _ in self.now])}"

    @property
    def waits(self) -> bool:
        """Whether it only has to wait for others to end, or what it waits for is not told: the
        scheduler may know for how long.
        """
        return not (self.now or self.refusal or self.away or self.reserved or self.planned)

    def with_start(self, at: int | None, now: float) -> str:
        """``words`` with when the engine expects it to start (both in epoch seconds)."""
        if at is None or self.refusal or self.now:
            return self.words
        if self.reserved or self.planned:
            return f"{self.words}; {starts(at, now)}"
        if self.untold:
            return starts(at, now)
        return f"nothing is free now: {starts(at, now)}, on {listed(self.ever, 'or')}"


def only_scheduler(option: str) -> Fit:
    """The verdict on a request with a raw sbatch argument that vizdash does not judge."""
    return Fit(untold=f"only the scheduler knows what fits with {option}")


def starts(at: int, now: float) -> str:
    """``starts about 14:20 (in 35 min)``; the day is told when it isn't today."""
    left = max(0, round((at - now) / 60) * 60)
    when = f"in {duration_words(left)}" if left else "any moment now"
    return f"starts about {clock_words(at, now)} ({when})"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the parts of a verdict are asked for, and the rules that hold."""

    wanted: Resources
    partition: Partition | None
    reservation: str
    memory: str
    jobs: Sequence[Job]
    ahead: Sequence[Job]
    now: float

    def parts(self, node: Node, *, up: bool = False) -> list[Partition | None]:
        """The partitions in which it may run on ``node``."""
        if self.partition is None:
            return [None]
        each = [p for p in self.partition.each if p.has(node) and (p.state == "UP" or not up)]
        memory = self.memory != "none" and node.memory_tracked
        return [p for p in each if not over_limits(self.wanted, p, memory=memory)]

    def holds(self, node: Node) -> bool:
        """Whether the node is large enough when empty."""
        return any(not shorts(self.wanted, node, p, self.memory) for p in self.parts(node))

    def in_the_way(self, node: Node) -> tuple[Reservation, ...]:
        """The node's reservations that it would run into if it started now."""
        return in_the_way(node, self.wanted.time_s, self.now, reservation=self.reservation)

    def kept_for_others(self, node: Node) -> Planned | None:
        """What waiting jobs keep it from, though the node is free."""
        backfills = self.partition is None or all(p.backfills for p in self.partition.each)
        time_s = self.wanted.time_s
        return kept_for_others(node, self.ahead, time_s, self.now, backfills=backfills)


def fit(
    resources: Resources,
    nodes: Sequence[Node],
    partition: Partition | None,
    *,
    node: str = "",
    without: frozenset[str] = frozenset(),
    reservation: str = "",
    constraint: str = "",
    memory_request: str = "mem",
    jobs: Sequence[Job] = (),
    ahead: Sequence[Job] = (),
    now: float | None = None,
) -> Fit:
    """Hold ``resources`` against the partition's limits and its nodes, ``now`` (epoch seconds).

    ``node`` is the one asked for (empty: any); ``without`` are nodes that lack the image; ``jobs``
    are those that run, ``ahead`` those that wait and may come first, as far as they are known;
    ``memory_request`` as in JobRequest.memory.
    Accounts are left to the engine: AllowAccounts (slurm.conf(5)) means accounts below the named
    ones too.
    """
    at = time.time() if now is None else now
    asked_ = _Asked(resources, partition, reservation, memory_request, jobs, ahead, at)
    members = [n for n in nodes if partition is None or partition.has(n)]
    tracked = memory_request != "none" and any(n.memory_tracked for n in members)
    if partition is not None and (over := over_limits(resources, partition, memory=tracked)):
        return Fit(refusal=over, mend="ask for less, or name another partition")
    if not nodes:
        return Fit(untold="only the scheduler knows: this cluster keeps its nodes private")
    if node and node not in {n.name for n in members}:
        where = f"partition {partition.name}" if partition else "the cluster"
        has = listed(_by_name(members)) or "no nodes"
        words = f"node {node} is not in {where}, which has {has}"
        return Fit(refusal=words, mend="name another", unknown=True)
    large = [n for n in members if asked_.holds(n)]
    ever = [n for n in large if n.name not in without and (not node or n.name == node)]
    if not ever:
        return _never(asked_, members, large, node)
    having = [n for n in ever if _meets(n, constraint)]
    if not having:
        untold = f"only the scheduler knows which nodes meet the constraint {constraint!r}"
        return Fit(ever=_by_name(ever), untold=untold)
    return _now(asked_, having)


def _meets(node: Node, constraint: str) -> bool:
    """Whether the node is known to have the features: of more than one name it is not, and a
    feature that it has not now may be one that a reboot brings.
    """
    return not constraint or bool(_FEATURE.fullmatch(constraint) and constraint in node.features)


def _now(asked_: _Asked, ever: Sequence[Node]) -> Fit:
    """What of ``ever`` has room."""
    partition, names = asked_.partition, _by_name(ever)
    if partition is not None and partition.state != "UP":
        return Fit(ever=names, away=f"partition {partition.name} is {partition.state.lower()}")
    if shared := next((p for p in partition.each if p.shared), None) if partition else None:
        untold = f"only the scheduler knows: jobs share cores in partition {shared.name}"
        return Fit(ever=names, untold=untold)
    if asked_.reservation:
        return _in_reservation(asked_, ever)
    seen = _Seen()
    for node in ever:
        if count := _count(asked_, node, seen):
            seen.rooms.append((node.name, count))
    shut = {one.node for one in seen.blocked}
    away = "; ".join(_away(n) for n in ever if not n.usable and n.name not in shut)
    if seen.rooms:
        return Fit(now=tuple(seen.rooms), ever=names, away=away)
    if untold := _untold(asked_, seen):
        return Fit(ever=names, untold=untold)
    others = len(seen.blocked) < len(ever)
    reserved = words(seen.blocked, asked_.now, others=others)
    planned = planned_words(seen.planned, asked_.now)
    return Fit(ever=names, away=away, reserved=reserved, planned=planned)


@dataclass(frozen=True, slots=True)
class _Seen:
    """``rooms``: nodes with room for how many; ``blocked`` by reservations; ``planned`` for jobs
    that wait; ``unsure``: nodes of which a partition's limit may leave something.
    """

    rooms: list[tuple[str, int]] = field(default_factory=list)
    blocked: list[Blocked] = field(default_factory=list)
    planned: list[Planned] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)


def _count(asked_: _Asked, node: Node, seen: _Seen) -> int:
    """How many may start on ``node`` now; where none, into ``seen`` what keeps them off."""
    blocking = asked_.in_the_way(node)
    if not (node.usable or (node.usable_reserved and blocking)):
        return 0
    count = _times(asked_, node)
    if blocking:
        whole = any(r.cores_on(node.name) is None for r in blocking)
        beside = 0 if whole else _beside(asked_, node, blocking)
        if not beside:
            seen.blocked.append(Blocked(node.name, blocking, room=count > 0))
        count = beside
    elif not count and _times(asked_, node, most=True):
        seen.unsure.append(node.name)
    if count and (planned := asked_.kept_for_others(node)):
        seen.planned.append(planned)
        return 0
    return count


def _untold(asked_: _Asked, seen: _Seen) -> str:
    """What may let it start now all the same, where nothing is free by count."""
    blocking = [r for one in seen.blocked for r in one.reservations]
    each = asked_.partition.each if asked_.partition else ()
    for partition in each:
        if partition.preempts:
            return "only the scheduler knows: it may push other jobs aside"
        if partition.one_user:
            return f"only the scheduler knows: partition {partition.name} is a node a user"
    attracting = next((r for r in blocking if r.attracts), None)
    if attracting is not None:
        return f"only the scheduler knows whether reservation {attracting.name!r} takes it"
    if partly := next((r for r in blocking if r.cores and r.start_at <= asked_.now), None):
        return f"only the scheduler knows which cores reservation {partly.name!r} leaves"
    if seen.unsure and asked_.partition is not None:
        limit = f"its limit on {listed(seen.unsure)}"
        return (
            f"only the scheduler knows what partition {asked_.partition.name} has left of {limit}"
        )
    if any(one.until is None for one in seen.planned):
        names = listed([one.node for one in seen.planned])
        return f"only the scheduler knows: other jobs wait for {names} already"
    return ""


def _in_reservation(asked_: _Asked, ever: Sequence[Node]) -> Fit:
    """What fits in the reservation that it names."""
    name, names = asked_.reservation, _by_name(ever)
    known = [(n, r) for n in ever for r in n.reservations if r.name == name]
    if known and (start := known[0][1].start_at) > asked_.now:
        when = clock_words(start, asked_.now)
        return Fit(ever=names, away=f"reservation {name!r} begins at {when}")
    if known:
        free = [n for n, r in known if n.usable or n.usable_reserved]
        free = [n for n in free if not asked_.in_the_way(n)]
        partial = any(r.cores for _, r in known)
    else:
        free, partial = [n for n in ever if n.usable_reserved], False
    rooms = [(n.name, _times(asked_, n)) for n in free]
    found = tuple((node, count) for node, count in rooms if count)
    if not found or partial:
        untold = f"only the scheduler knows when reservation {name!r} has room"
        return Fit(ever=names, untold=untold)
    return Fit(now=found, ever=names)


def _away(node: Node) -> str:
    reason = node.reason.partition(" [")[0].strip()
    return f"{node.name} is {node.state_words}" + (f": {reason}" if reason else "")


def _by_name(nodes: Sequence[Node]) -> tuple[str, ...]:
    return tuple(n.name for n in nodes)


def _times(asked_: _Asked, node: Node, *, less: int = 0, most: bool = False) -> int:
    """How many sessions of this size the node's free resources, and what a partition gives its
    jobs there, hold; ``less`` are cores that are not for it. ``most`` counts on cores of a
    partition's limit that other jobs may have.
    """
    counts = []
    for partition in asked_.parts(node, up=True):
        if shorts(asked_.wanted, node, partition, asked_.memory):
            continue
        takes = need(asked_.wanted, node, partition, asked_.memory)
        alone = takes.alone or (partition is not None and partition.one_user)
        if alone and (node.cores_alloc or less):
            continue
        cores = node.cores_free // node.cpus_per_core * node.cpus_per_core - less
        if partition is not None:
            left = cores_left(partition, node, asked_.jobs)
            cores = min(cores, left.most if most else left.least)
        counts.append(_hold(takes, node, cores))
    return max(counts, default=0)


def _hold(takes: Need, node: Node, cores: int) -> int:
    rooms = [max(0, cores) // takes.cores]
    if node.memory_tracked and takes.memory_mib:
        rooms.append(node.memory_free_mib // takes.memory_mib)
    if takes.gpus:
        rooms.append(node.gpus_free // takes.gpus)
    return min(rooms)


def _beside(asked_: _Asked, node: Node, blocking: Sequence[Reservation]) -> int:
    """How many fit beside reservations of some of the node's cores, at least: which cores those
    are that jobs have, nobody tells.
    """
    held = sum(r.cores_on(node.name) or 0 for r in blocking) * node.cpus_per_core
    return _times(asked_, node, less=held)


def _never(asked_: _Asked, members: Sequence[Node], large: Sequence[Node], node: str) -> Fit:
    """Name the numbers, and what would fit."""
    if not members:
        return Fit(refusal="the partition has no nodes", mend="name another partition")
    one = next((n for n in members if n.name == node), None)
    if one is not None:
        lacks = "; ".join(_shorts(asked_, one))
        if not lacks:
            return Fit(refusal=f"node {node} has no such image", mend="image")
        others = [n.name for n in large if n.name != node]
        hint = f"; {listed(others)} would fit" if others else ""
        return Fit(refusal=f"{lacks}{hint}", mend="ask for less, or leave the node open")
    if large:
        why = f"no node that is large enough ({listed(_by_name(large))}) has the image"
        return Fit(refusal=why, mend="image")
    # The node that comes nearest, to name what is the most that could be asked for.
    nearest = max(members, key=lambda n: (-len(_shorts(asked_, n)), n.gpus, n.memory_mib, n.cores))
    why = f"{'; '.join(_shorts(asked_, nearest))}, and no node of the partition has more"
    return Fit(refusal=why, mend="ask for less")


def _shorts(asked_: _Asked, node: Node) -> list[str]:
    """What ``node`` has too little of, in the partition where that is least."""
    each = [shorts(asked_.wanted, node, p, asked_.memory) for p in asked_.parts(node)]
    return min(each, key=len, default=[])
