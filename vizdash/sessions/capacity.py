"""What fits on the nodes, now and ever, checked before the engine is asked."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from vizdash.model import Job, Node, Partition, Reservation, Resources
from vizdash.sessions.capacity_limits import (
    NodeDemand,
    PlannedNode,
    cores_left,
    demand_on,
    describe_planned,
    exceeded_limit,
    hold_beside_gpu_cores,
    planned_for_others,
    shortages,
)
from vizdash.sessions.capacity_reservations import check_reservations
from vizdash.sessions.pending_reasons import (
    ReservedNode,
    blocking_reservations,
    describe_reservations,
    join_names,
)
from vizdash.util.units import format_clock, format_duration

#: A constraint that is one feature's name, without any of sbatch(1)'s operators.
_FEATURE = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True)
class CapacityVerdict:
    """Whether and where a session of one size can run.

    ``fits_now`` are nodes with free capacity, and for how many sessions each; ``candidates`` nodes
    that are large enough when empty. Why none fits now, in words: ``unavailable`` (nodes that take
    no jobs, or not yet), ``reserved`` (reservations), ``planned`` (jobs that wait already),
    ``undetermined`` (only the scheduler knows). ``refusal`` is one line where it can never run, and
    ``fix`` what to do about it (``image``: deploy the image); ``unknown_name`` says that it names a
    node or partition that does not exist. ``gpu_note`` is what to know of the GPUs there
    (``mig_note``).
    """

    fits_now: tuple[tuple[str, int], ...] = ()
    candidates: tuple[str, ...] = ()
    unavailable: str = ""
    reserved: str = ""
    planned: str = ""
    undetermined: str = ""
    refusal: str = ""
    fix: str = ""
    unknown_name: bool = False
    gpu_note: str = ""

    @property
    def text(self) -> str:
        """The verdict in one line."""
        if self.refusal or self.undetermined:
            return self.refusal or self.undetermined
        count = sum(n for _, n in self.fits_now)
        if not count and (self.reserved or self.planned):
            parts = (self.reserved, self.planned, self.unavailable)
            return "; ".join(part for part in parts if part)
        if not count:
            unavailable = f" ({self.unavailable})" if self.unavailable else ""
            return f"nothing free now: it waits for {join_names(self.candidates)}{unavailable}"
        noun = "session" if count == 1 else "sessions"
        fits = "fits" if count == 1 else "fit"
        return (
            f"{count} {noun} of this size {fits} now: {join_names([n for n, _ in self.fits_now])}"
        )

    @property
    def waits(self) -> bool:
        """Whether it waits for other jobs to end, or for something unknown here: the scheduler may
        know for how long.
        """
        return not (
            self.fits_now or self.refusal or self.unavailable or self.reserved or self.planned
        )

    def text_with_start(self, at: int | None, now: float) -> str:
        """``text`` with the start ``at`` which the engine expects (both in epoch seconds)."""
        if at is None or self.refusal or self.fits_now:
            return self.text
        if self.reserved or self.planned:
            return f"{self.text}; {format_start(at, now)}"
        if self.undetermined:
            return format_start(at, now)
        return (
            f"nothing is free now: {format_start(at, now)}, on {join_names(self.candidates, 'or')}"
        )


def undetermined_by(option: str) -> CapacityVerdict:
    """The verdict on a request with an sbatch argument that vizdash can't judge."""
    return CapacityVerdict(undetermined=f"only the scheduler knows what fits with {option}")


def undetermined_in_private_partitions() -> CapacityVerdict:
    """The verdict where the partitions, and so their nodes and limits, are not shown."""
    return CapacityVerdict(
        undetermined="only the scheduler knows: this cluster keeps its partitions private"
    )


def format_start(at: int, now: float) -> str:
    """``starts about 14:20 (in 35 min)``, with the day where it is not today."""
    left = max(0, round((at - now) / 60) * 60)
    when = f"in {format_duration(left)}" if left else "any moment now"
    return f"starts about {format_clock(at, now)} ({when})"


@dataclass(frozen=True, slots=True)
class _Query:
    """A request and everything that it is checked against."""

    wanted: Resources
    partition: Partition | None
    node: str
    reservations: Sequence[str]
    memory: str
    user: str
    jobs: Sequence[Job]
    ahead: Sequence[Job]
    now: float

    def parts(self, node: Node, *, up: bool = False) -> list[Partition | None]:
        """The partitions in which the session may run on ``node``."""
        if self.partition is None:
            return [None]
        each = [p for p in self.partition.each if p.has(node) and (p.state == "UP" or not up)]
        memory = self.memory != "none" and node.memory_tracked
        return [p for p in each if not exceeded_limit(self.wanted, p, memory=memory)]

    def is_others(self, node: Node) -> bool:
        """Whether the node takes jobs of another user only, for now."""
        return node.owner not in {"", self.user}

    def holds(self, node: Node) -> bool:
        """Whether the node is large enough when empty."""
        return any(not shortages(self.wanted, node, p, self.memory) for p in self.parts(node))

    def blocking_reservations(self, node: Node, own: str = "") -> tuple[Reservation, ...]:
        """The node's reservations that the session would overlap if it started now, except the one
        named ``own``.
        """
        return blocking_reservations(node, self.wanted.time_s, self.now, reservation=own)

    def planned_for_others(self, node: Node) -> PlannedNode | None:
        """The node as planned for waiting jobs, where that keeps the session off it."""
        backfills = self.partition is None or all(p.backfills for p in self.partition.each)
        time_s = self.wanted.time_s
        return planned_for_others(node, self.ahead, time_s, self.now, backfills=backfills)


def check_capacity(
    resources: Resources,
    nodes: Sequence[Node],
    partition: Partition | None,
    *,
    node: str = "",
    without: frozenset[str] = frozenset(),
    reservation: str = "",
    reservations: Sequence[Reservation] | None = None,
    constraint: str = "",
    memory_request: str = "mem",
    user: str = "",
    jobs: Sequence[Job] = (),
    ahead: Sequence[Job] = (),
    now: float | None = None,
) -> CapacityVerdict:
    """Check ``resources`` against the partition's limits and its nodes, ``now`` (epoch seconds).

    ``node`` is the requested one (empty: any); ``without`` are nodes that lack the image; ``jobs``
    are the running ones, ``ahead`` the waiting ones that may start first, as far as they are known;
    ``memory_request`` as in JobRequest.memory; ``reservation`` names those of ``user``'s request
    (with commas between), ``reservations`` are all (None: only the nodes' are known). Accounts are
    left to the engine: AllowAccounts (slurm.conf(5)) includes the accounts below the named ones.
    """
    at = time.time() if now is None else now
    if partition is not None and (closed := _closed(partition)):
        return closed
    partition = partition and partition.without_closed()
    names = [name for name in reservation.split(",") if name]
    known = [r for n in nodes for r in n.reservations] if reservations is None else reservations
    if over := check_reservations(names, known, user, at, complete=reservations is not None):
        return CapacityVerdict(refusal=over.why, fix=over.fix, unknown_name=over.unknown_name)
    query = _Query(resources, partition, node, names, memory_request, user, jobs, ahead, at)
    members = [n for n in nodes if partition is None or partition.has(n)]
    tracked = memory_request != "none" and any(n.memory_tracked for n in members)
    if partition is not None and (limit := exceeded_limit(resources, partition, memory=tracked)):
        return CapacityVerdict(refusal=limit, fix="request less, or name another partition")
    if not nodes:
        return CapacityVerdict(
            undetermined="only the scheduler knows: this cluster keeps its nodes private"
        )
    if node and node not in {n.name for n in members}:
        where = f"partition {partition.name}" if partition else "the cluster"
        has = join_names(_by_name(members)) or "no nodes"
        words = f"node {node} is not in {where}, which has {has}"
        return CapacityVerdict(refusal=words, fix="name another", unknown_name=True)
    if node and partition is not None and partition.enforces_all:
        (one,) = (n for n in members if n.name == node)
        if other := next((p for p in partition.parts if not p.has(one)), None):
            words = f"node {node} is not in partition {other.name}: it has to be in each"
            return CapacityVerdict(refusal=words, fix="name one partition")
    large = [n for n in members if query.holds(n)]
    ever = [n for n in large if n.name not in without and (not node or n.name == node)]
    if not ever:
        return _never(query, members, large, node)
    having = [n for n in ever if _meets(n, constraint)]
    if not having:
        undetermined = f"only the scheduler knows which nodes meet the constraint {constraint!r}"
        return CapacityVerdict(candidates=_by_name(ever), undetermined=undetermined)
    return _now(query, having)


def _closed(partition: Partition) -> CapacityVerdict | None:
    """The verdict on a partition that takes no new jobs; None for any other."""
    other = next((p for p in partition.each if p.alternate and not p.takes_jobs), None)
    if other is not None:
        what = f"jobs for partition {other.name} go to {other.alternate} now"
        return CapacityVerdict(undetermined=f"only the scheduler knows: {what}")
    if partition.takes_jobs:
        return None
    states = ", ".join(dict.fromkeys(p.state.lower() for p in partition.each))
    words = f"partition {partition.name} takes no new jobs ({states})"
    return CapacityVerdict(refusal=words, fix="name another partition")


def _meets(node: Node, constraint: str) -> bool:
    """Whether the node is known to meet the constraint. Operators are not evaluated, and a feature
    that the node lacks now may be active after a reboot.
    """
    return not constraint or bool(_FEATURE.fullmatch(constraint) and constraint in node.features)


def _now(query: _Query, ever: Sequence[Node]) -> CapacityVerdict:
    """The verdict on nodes that are large enough: which of them have free capacity."""
    partition, names = query.partition, _by_name(ever)
    if partition is not None and partition.state != "UP":
        return CapacityVerdict(
            candidates=names, unavailable=f"partition {partition.name} is {partition.state.lower()}"
        )
    if shared := next((p for p in partition.each if p.shared), None) if partition else None:
        undetermined = f"only the scheduler knows: jobs share cores in partition {shared.name}"
        return CapacityVerdict(candidates=names, undetermined=undetermined)
    if segment := next((p for p in partition.each if p.one_segment), None) if partition else None:
        what = f"partition {segment.name} gives each job a whole segment of the network"
        return CapacityVerdict(candidates=names, undetermined=f"only the scheduler knows: {what}")
    if query.reservations:
        return _in_reservation(query, ever)
    seen = _Findings()
    for node in ever:
        if count := _count(query, node, seen):
            seen.free.append((node.name, count))
    shut = {one.node for one in seen.blocked}
    causes = [
        _unavailability(n)
        for n in ever
        if n.name not in shut and (not n.usable or query.is_others(n))
    ]
    if seen.ending:
        causes.append(f"a job is still ending on {join_names(seen.ending)}")
    unavailable = "; ".join(causes)
    if seen.free:
        return CapacityVerdict(fits_now=tuple(seen.free), candidates=names, unavailable=unavailable)
    if undetermined := _undetermined(query, seen):
        return CapacityVerdict(candidates=names, undetermined=undetermined)
    others = len(seen.blocked) < len(ever)
    reserved = describe_reservations(seen.blocked, query.now, others=others)
    planned = describe_planned(seen.planned, query.now)
    return CapacityVerdict(
        candidates=names, unavailable=unavailable, reserved=reserved, planned=planned
    )


@dataclass(frozen=True, slots=True)
class _Findings:
    """What the nodes have: ``free`` for how many sessions; ``blocked`` by reservations; ``planned``
    for jobs that wait; ``ending``: where a job has not quite ended; ``unsure``: nodes of which a
    partition's limit may leave something; ``in_parts``: nodes of which jobs have parts of GPUs;
    ``restricted``: nodes of which it is not known which cores jobs have, some being for GPU jobs.
    """

    free: list[tuple[str, int]] = field(default_factory=list)
    blocked: list[ReservedNode] = field(default_factory=list)
    planned: list[PlannedNode] = field(default_factory=list)
    ending: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    in_parts: list[str] = field(default_factory=list)
    restricted: list[str] = field(default_factory=list)


def _count(query: _Query, node: Node, seen: _Findings) -> int:
    """How many sessions may start on ``node`` now; where none, ``seen`` gets the cause."""
    blocking = query.blocking_reservations(node)
    if query.is_others(node) or not (node.usable or (node.usable_reserved and blocking)):
        return 0
    count = _times(query, node)
    if blocking:
        whole = any(r.cores_on(node.name) is None for r in blocking)
        beside = 0 if whole else _beside(query, node, blocking)
        if not beside:
            seen.blocked.append(ReservedNode(node.name, blocking, has_capacity=count > 0))
        count = beside
    elif not count and _times(query, node, most=True):
        parts = query.wanted.gpus and node.gpus_free != node.gpus_surely_free
        others = seen.restricted if node.gpu_cores else seen.unsure
        (seen.in_parts if parts else others).append(node.name)
    if count and node.completing:
        seen.ending.append(node.name)
        return 0
    if count and (planned := query.planned_for_others(node)):
        seen.planned.append(planned)
        return 0
    return count


def _undetermined(query: _Query, seen: _Findings) -> str:
    """Why it may start now although nothing is free by count, in words; else empty."""
    blocking = [r for one in seen.blocked for r in one.reservations]
    each = query.partition.each if query.partition else ()
    for partition in each:
        if partition.preempts:
            return "only the scheduler knows: it may preempt other jobs"
        if partition.one_user:
            name = partition.name
            return f"only the scheduler knows: partition {name} gives each user whole nodes"
    if seen.ending and query.node:
        return f"only the scheduler knows: a job is still ending on {query.node}"
    attracting = next((r for r in blocking if r.attracts), None)
    if attracting is not None:
        return f"only the scheduler knows whether reservation {attracting.name!r} takes it"
    if partly := next((r for r in blocking if r.cores and r.start_at <= query.now), None):
        return f"only the scheduler knows which cores reservation {partly.name!r} leaves"
    if seen.in_parts:
        return f"only the scheduler knows: jobs have parts of GPUs of {join_names(seen.in_parts)}"
    if seen.restricted:
        where = join_names(seen.restricted)
        return f"only the scheduler knows: some cores of {where} are for jobs with GPUs"
    if seen.unsure and query.partition is not None:
        limit = f"its limit on {join_names(seen.unsure)}"
        return f"only the scheduler knows what partition {query.partition.name} has left of {limit}"
    if any(one.until is None for one in seen.planned):
        names = join_names([one.node for one in seen.planned])
        return f"only the scheduler knows: other jobs wait for {names} already"
    return ""


def _in_reservation(query: _Query, ever: Sequence[Node]) -> CapacityVerdict:
    """The verdict on a request that names reservations: each is tried."""
    names = _by_name(ever)
    known = [(n, r) for n in ever for r in n.reservations if r.name in query.reservations]
    begun = [(n, r) for n, r in known if r.start_at <= query.now]
    if known and not begun:
        first = min((r for _, r in known), key=lambda r: r.start_at)
        when = format_clock(first.start_at, query.now)
        return CapacityVerdict(
            candidates=names, unavailable=f"reservation {first.name!r} begins at {when}"
        )
    counts: dict[str, int] = {}
    for node, one in begun:
        usable = (node.usable or node.usable_reserved) and not node.completing
        if usable and not query.is_others(node) and not query.blocking_reservations(node, one.name):
            counts[node.name] = _times(query, node)
    fits = tuple((name, count) for name, count in counts.items() if count)
    if not fits or any(r.cores for _, r in begun):
        named = ",".join(query.reservations)
        undetermined = f"only the scheduler knows when reservation {named!r} has room"
        return CapacityVerdict(candidates=names, undetermined=undetermined)
    return CapacityVerdict(fits_now=fits, candidates=names)


def _unavailability(node: Node) -> str:
    if node.usable:
        return f"{node.name} is {node.owner}'s alone for now"
    reason = node.reason.partition(" [")[0].strip()
    return f"{node.name} is {node.state_text}" + (f": {reason}" if reason else "")


def _by_name(nodes: Sequence[Node]) -> tuple[str, ...]:
    return tuple(n.name for n in nodes)


def _times(query: _Query, node: Node, *, less: int = 0, most: bool = False) -> int:
    """How many sessions of this size fit into the node's free resources and the partition's limits
    there; ``less`` are cores that are not available to it. ``most`` includes what other jobs may
    have: cores of a partition's limit, and GPUs.
    """
    counts = []
    for partition in query.parts(node, up=True):
        if shortages(query.wanted, node, partition, query.memory):
            continue
        takes = demand_on(query.wanted, node, partition, query.memory)
        alone = takes.alone or (partition is not None and partition.one_user)
        if alone and (node.cores_alloc or less):
            continue
        cores = node.cores_free // node.cpus_per_core * node.cpus_per_core - less
        if partition is not None:
            left = cores_left(partition, node, query.jobs)
            cores = min(cores, left.most if most else left.least)
        gpus = node.gpus_free if most else node.gpus_surely_free
        count = _hold(takes, node, cores, gpus)
        beside = hold_beside_gpu_cores(node, takes, less, most=most)
        counts.append(count if beside is None else min(count, beside))
    return max(counts, default=0)


def _hold(takes: NodeDemand, node: Node, cores: int, gpus: int) -> int:
    free = [max(0, cores) // takes.cores]
    if node.memory_tracked and takes.memory_mib:
        free.append(node.memory_free_mib // takes.memory_mib)
    if takes.gpus:
        free.append(gpus // takes.gpus)
    return min(free)


def _beside(query: _Query, node: Node, blocking: Sequence[Reservation]) -> int:
    """How many fit beside reservations of some of the node's cores, at least: which cores running
    jobs have is not shown.
    """
    held = sum(r.cores_on(node.name) or 0 for r in blocking) * node.cpus_per_core
    return _times(query, node, less=held)


def _never(
    query: _Query, members: Sequence[Node], large: Sequence[Node], node: str
) -> CapacityVerdict:
    """The refusal of what fits on no node, with the numbers and what would fit."""
    if not members:
        return CapacityVerdict(refusal="the partition has no nodes", fix="name another partition")
    one = next((n for n in members if n.name == node), None)
    if one is not None:
        lacks = "; ".join(_shortages(query, one))
        if not lacks:
            return CapacityVerdict(refusal=f"node {node} has no such image", fix="image")
        others = [n.name for n in large if n.name != node]
        hint = f"; {join_names(others)} would fit" if others else ""
        return CapacityVerdict(refusal=f"{lacks}{hint}", fix="request less, or leave the node open")
    if large:
        why = f"no node that is large enough ({join_names(_by_name(large))}) has the image"
        return CapacityVerdict(refusal=why, fix="image")
    # The node that comes nearest shows the most that can be requested.
    nearest = max(
        members, key=lambda n: (-len(_shortages(query, n)), n.gpus, n.memory_mib, n.cores)
    )
    why = f"{'; '.join(_shortages(query, nearest))}, and no node of the partition has more"
    return CapacityVerdict(refusal=why, fix="request less")


def _shortages(query: _Query, node: Node) -> list[str]:
    """What ``node`` has too little of, in the partition where it lacks least."""
    each = [shortages(query.wanted, node, p, query.memory) for p in query.parts(node)]
    return min(each, key=len, default=[])
