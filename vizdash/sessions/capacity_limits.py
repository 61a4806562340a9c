"""What capacity.py decides by: demands of a session, limits of partitions, jobs that wait."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from vizdash.engines.job_selection import MOST_WAITING
from vizdash.model import Job, JobState, Node, Partition, Resources
from vizdash.model.job import may_start_soon
from vizdash.model.node import gpu_count
from vizdash.sessions.pending_reasons import join_names
from vizdash.util.text import plural
from vizdash.util.units import format_clock, format_comparison, format_duration, format_memory


@dataclass(frozen=True, slots=True)
class NodeDemand:
    """What one session takes of an empty node: ``cores`` and ``memory_mib`` (0 where Slurm does not
    track it). ``asked`` are the cores that the node must have, ``alone`` is whether the session
    takes the whole node.
    """

    cores: int
    memory_mib: int
    gpus: int
    asked: int
    alone: bool = False


def demand_on(wanted: Resources, node: Node, partition: Partition | None, how: str) -> NodeDemand:
    """What ``wanted`` takes of ``node``; ``how`` memory is requested, as in JobRequest.memory."""
    rules = partition or Partition("")
    asked, memory = _raised(wanted, node, rules, how)
    if rules.unit == "node":
        return NodeDemand(node.cores, memory, wanted.gpus, asked, alone=True)
    step = node.cpus_per_socket if rules.unit == "socket" else node.cpus_per_core
    cores = -(-asked // step) * step
    if node.memory_tracked and (per := _per_cpu(wanted, rules, how)):
        memory = per * (asked if rules.unit == "cpu" else cores)
    return NodeDemand(cores, memory, wanted.gpus, asked)


def _raised(wanted: Resources, node: Node, rules: Partition, how: str) -> tuple[int, int]:
    """Cores and memory after Slurm has raised the cores for MaxMemPerCPU."""
    if not node.memory_tracked:
        return wanted.cores, 0
    most = rules.max_memory_per_cpu_mib
    if how == "mem":
        least = -(-wanted.memory_mib // most) if most else 0
        return max(wanted.cores, least), wanted.memory_mib
    if how == "mem-per-cpu":
        times = _times_raised(wanted, rules)
        per = _per_cpu(wanted, rules, how) or 0
        return wanted.cores * times, per * wanted.cores * times
    if rules.default_memory_per_cpu_mib is not None:
        return wanted.cores, rules.default_memory_per_cpu_mib * wanted.cores
    default = rules.default_memory_per_node_mib
    return wanted.cores, node.memory_mib if default is None else default


def _per_cpu(wanted: Resources, rules: Partition, how: str) -> int | None:
    """MiB for each allocated CPU; None where memory is requested by node."""
    if how == "mem-per-cpu":
        per = -(-wanted.memory_mib // wanted.cores)
        return -(-per // _times_raised(wanted, rules))
    return rules.default_memory_per_cpu_mib if how == "none" else None


def _times_raised(wanted: Resources, rules: Partition) -> int:
    most = rules.max_memory_per_cpu_mib
    per = -(-wanted.memory_mib // wanted.cores)
    return -(-per // most) if most and per > most else 1


def shortages(wanted: Resources, node: Node, partition: Partition | None, how: str) -> list[str]:
    """What even the empty ``node`` has too little of for ``wanted``: a phrase each."""
    takes = demand_on(wanted, node, partition, how)
    short = []
    if node.memory_tracked and takes.memory_mib > node.memory_mib:
        memory = max(wanted.memory_mib, takes.memory_mib) if how != "none" else takes.memory_mib
        asked, has = format_comparison(memory, node.memory_mib)
        short.append(f"{asked} requested, but {node.name} has {has}")
    if wanted.cores > node.cores:
        short.append(f"{wanted.cores} cores requested, but {node.name} has {node.cores}")
    elif wanted.cores > (most_cores := node.cores_with(wanted.gpus)):
        gpus = plural(wanted.gpus, "GPU") if wanted.gpus else "no GPU"
        why = f"{node.name} has {most_cores} for a job with {gpus}"
        short.append(f"{wanted.cores} cores requested, but {why}")
    elif max(takes.asked, 0 if takes.alone else takes.cores) > most_cores:
        most = partition.max_memory_per_cpu_mib if partition else None
        why = f" at {format_memory(most)} a core at most" if most and how != "none" else ""
        short.append(f"it takes {takes.cores} cores{why}, but {node.name} has {most_cores}")
    elif (limit := socket_limit(partition, node)) is not None and wanted.cores > limit:
        each = partition.max_cores_per_socket if partition else None
        why = f"partition {partition.name if partition else ''} allows {each} a socket at most"
        short.append(f"{wanted.cores} cores requested, but {why}")
    if wanted.gpus > node.gpus:
        short.append(f"{wanted.gpus} GPUs requested, but {node.name} has {node.gpus}")
    return short


def exceeded_limit(wanted: Resources, partition: Partition, *, memory: bool) -> str:
    """The limit of the partition that ``wanted`` exceeds, in words; else empty. ``memory`` is
    whether memory is requested. Where several have to be kept, it is that of the first partition.
    """
    if partition.enforces_all and partition.parts:
        each = (_exceeded_part(wanted, part, memory=memory) for part in partition.parts)
        if exceeded := next(filter(None, each), ""):
            return exceeded
    limit = partition.max_time_s
    if limit is not None and wanted.time_s > limit:
        return (
            f"{format_duration(wanted.time_s)} requested, but partition {partition.name} "
            f"allows {format_duration(limit)} at most"
        )
    cap = partition.max_memory_per_node_mib
    if memory and cap is not None and wanted.memory_mib > cap:
        asked, allowed = format_comparison(wanted.memory_mib, cap)
        return f"{asked} requested, but partition {partition.name} allows {allowed} a node at most"
    cores = partition.max_cores_per_node
    if cores is not None and wanted.cores > cores:
        return (
            f"{wanted.cores} cores requested, but partition {partition.name} "
            f"allows {cores} a node at most"
        )
    return ""


def _exceeded_part(wanted: Resources, part: Partition, *, memory: bool) -> str:
    """``exceeded_limit`` of one of several partitions that all have to be kept. That of a node's
    cores is held against the sum of its nodes (_part_access_check in job_mgr.c).
    """
    cores = part.max_cores_per_node
    if cores is not None and wanted.cores <= cores * len(part.nodes):
        part = replace(part, max_cores_per_node=None)
    return exceeded_limit(wanted, part, memory=memory)


@dataclass(frozen=True, slots=True)
class CoresLeft:
    """CPUs that a partition's limits leave of a node, at least and at most: which jobs have which
    CPUs is not always visible.
    """

    least: int
    most: int


def cores_left(partition: Partition, node: Node, jobs: Sequence[Job]) -> CoresLeft:
    """What the partition's limits leave of ``node``; ``jobs`` are the running ones, as far as they
    are visible.
    """
    if partition.max_cores_per_node is None and partition.max_cores_per_socket is None:
        return CoresLeft(node.cores, node.cores)
    # A suspended job has given its cores back.
    here = [j for j in jobs if node.name in j.nodes and not j.state.ended]
    holding = [j for j in here if j.state is not JobState.SUSPENDED]
    own = [j for j in holding if j.partition == partition.name]
    # squeue(1) shows the sum of a job's cores on all of its nodes: it has at least one on each.
    own_least = sum(_least(j) for j in own)
    all_least = sum(_least(j) for j in holding)
    own_most = max(own_least, node.cores_alloc - (all_least - own_least))
    share = CoresLeft(node.cores, node.cores)
    if partition.max_cores_per_node is not None:
        share = _less(share, partition.max_cores_per_node, own_least, own_most)
    limit = partition.max_cores_per_socket
    if limit is not None:
        share = _less(share, limit * _sockets(node), own_least, own_most)
        # Which sockets other partitions' jobs have is not shown, nor which ones have fewer CPUs for
        # jobs, nor how Slurm rounds a limit that is no multiple of its unit.
        uneven = node.cores % node.cpus_per_socket or limit % node.cpus_per_core
        if node.cores_alloc > own_least or uneven or partition.unit == "socket":
            share = CoresLeft(0, share.most)
    return share


def hold_beside_gpu_cores(node: Node, takes: NodeDemand, less: int, *, most: bool) -> int | None:
    """How many sessions have their cores on ``node``, some of whose cores are for GPU jobs only;
    None where none are. ``less`` are cores that are not available; ``most`` assumes that jobs have
    as many of those cores as they may, else as few: which they have is not shown.
    """
    if not node.gpu_cores:
        return None
    per_gpu, held = (n * node.cpus_per_core for n in (node.cores_per_gpu, node.gpu_cores))
    unit = node.cpus_per_core
    alloc = -(-node.cores_alloc // unit) * unit
    in_parts = node.gpus_free != node.gpus_surely_free
    used = held if in_parts else (node.gpus - node.gpus_free) * per_gpu
    busy = min(held, used, alloc) if most else max(0, alloc - (node.cores - held))
    unrestricted = max(0, node.cores - held - (alloc - busy) - less)
    restricted = max(0, min(held - busy, node.gpus_free * per_gpu))
    cores, own = (takes.asked if takes.alone else takes.cores), takes.gpus * per_gpu
    count = (unrestricted + (restricted if own else 0)) // cores
    return min(count, unrestricted // (cores - own)) if cores > own else count


def socket_limit(partition: Partition | None, node: Node) -> int | None:
    """The most CPUs that one job may have on ``node``; None without such a limit. A limit that
    Slurm rounds is left to Slurm.
    """
    limit = partition.max_cores_per_socket if partition is not None else None
    if limit is None or limit % node.cpus_per_core:
        return None
    return limit * _sockets(node)


def _sockets(node: Node) -> int:
    return -(-node.cores // node.cpus_per_socket)


def _less(share: CoresLeft, limit: int, held_least: int, held_most: int) -> CoresLeft:
    least = max(0, min(share.least, limit - held_most))
    return CoresLeft(least, max(0, min(share.most, limit - held_least)))


def _least(job: Job) -> int:
    return job.cores if len(job.nodes) == 1 else 1


#: Backfill plans in steps of this many seconds (slurm.conf(5), "bf_resolution").
_STEP_S = 60

#: More waiting jobs than the scheduler is sure to plan for (slurm.conf(5), "bf_max_job_test").
_MANY = MOST_WAITING - 1


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """A free node that is planned for a waiting job. Other jobs may run there until ``until``
    (seconds since the epoch), where that is known.
    """

    node: str
    until: int | None

    def longest_s(self, now: float) -> int:
        """The longest job that may start there ``now``, in seconds (whole minutes)."""
        return max(0, int((self.until or 0) - now - _STEP_S) // 60 * 60)


def waiting_ahead(
    jobs: Iterable[Job], partition: Partition | None, partitions: Iterable[Partition]
) -> tuple[Job, ...]:
    """The waiting jobs that may start before a new one in ``partition``; jobs of partitions of a
    lower tier do not (slurm.conf(5), "PriorityTier"). The priority of a new job is not known.
    """
    tiers = {p.name: p.tier for p in partitions}
    least = min((p.tier for p in partition.each), default=1) if partition is not None else 0
    return tuple(
        job
        for job in jobs
        if may_start_soon(job.state, job.reason, job.start_at)
        and any(tiers.get(part, least) >= least for part in job.partition.split(","))
    )


def planned_for_others(
    node: Node, ahead: Sequence[Job], time_s: int, now: float, *, backfills: bool
) -> PlannedNode | None:
    """The plan that keeps a job of ``time_s`` seconds off the free ``node``; None without one."""
    here = [job for job in ahead if _may_wait_for(job, node)]
    mine = [job for job in here if gpu_count(job.gres) <= node.gpus]
    unplanned = [job for job in mine if job.start_at is None or not backfills]
    # Of so many jobs of a partition, only some are known.
    if unplanned or len(here) > _MANY:
        return PlannedNode(node.name, None)
    if "PLANNED" not in node.flags:
        return None
    # Jobs that this user may not see are planned, too (slurm.conf(5), "PrivateData").
    until = min((job.start_at for job in mine if job.start_at is not None), default=None)
    planned = PlannedNode(node.name, until)
    return None if -(-time_s // 60) * 60 <= planned.longest_s(now) else planned


def describe_planned(planned: Sequence[PlannedNode], now: float) -> str:
    """``waiting jobs take viz-node003 from 16:26 on; up to 58 min starts now``."""
    starts = [one.until for one in planned if one.until is not None]
    if not starts:
        return ""
    names, first = join_names([one.node for one in planned]), max(min(starts), int(now))
    text = f"waiting jobs take {names} from {format_clock(first, now)} on"
    longest = max(one.longest_s(now) for one in planned)
    return f"{text}; up to {format_duration(longest)} starts now" if longest else text


def _may_wait_for(job: Job, node: Node) -> bool:
    """Whether the job waits for a partition of the node. Its cores and memory may be spread over
    several nodes.
    """
    return any(part in node.partitions for part in job.partition.split(","))
