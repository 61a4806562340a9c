"""Nodes, partitions and GRES as Slurm describes them (scontrol(1), "show node"; gres.conf(5))."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from vizdash.model.reservation import Reservation

#: Base states on which Slurm may start a job now (slurm.conf(5), "NodeName ... State").
_UP = frozenset({"IDLE", "MIXED", "ALLOCATED"})

#: State flags that keep new jobs away whatever the base state is. A reboot that is only requested
#: keeps none away: that is what ``scontrol reboot ASAP`` adds DRAIN for (scontrol(1), "reboot").
_BARRED = frozenset(
    {
        "DRAIN",
        "FAIL",
        "MAINTENANCE",
        "NOT_RESPONDING",
        "POWERING_DOWN",
        "REBOOT_ISSUED",
        "RESERVED",
    }
)

#: States of a partition that takes no new jobs (slurm.conf(5), "PartitionName ... State").
_CLOSED = frozenset({"DRAIN", "INACTIVE"})

#: Flags that a reservation sets: they do not keep away the reservation's own jobs.
_RESERVED = frozenset({"MAINTENANCE", "RESERVED"})


@dataclass(frozen=True, slots=True)
class Gres:
    """A generic resource of a node: ``name`` (``gpu``), ``type`` (``a100`` or empty), counts."""

    name: str
    type: str
    total: int
    used: int = 0

    @property
    def free(self) -> int:
        """Units not allocated."""
        return max(0, self.total - self.used)


@dataclass(frozen=True, slots=True)
class Node:
    """One compute node.

    ``state`` is Slurm's base state (``IDLE``, ``MIXED``, ``ALLOCATED``, ``DOWN``, ...),
    ``flags`` what Slurm adds to it (``DRAIN``, ``PLANNED``, ...). ``memory_mib`` is what Slurm
    may give to jobs (RealMemory less MemSpecLimit), ``memory_alloc_mib`` what it has given;
    ``os_load`` is the one-minute load average that the node itself reports, or None.

    ``cores`` counts what Slurm calls CPUs: hardware threads, where it knows of them. It gives them
    out by ``cpus_per_core`` or ``cpus_per_socket`` at least (see ``Partition.unit``). Where
    ``memory_tracked`` is false, Slurm hands out no memory, and its figures mean nothing.
    ``reservations`` are those that have the node, now or later, the next one first.
    ``address`` and ``hostname`` are what Slurm calls NodeAddr and NodeHostName: ``name`` need not
    resolve. ``owner`` is the user whose jobs alone may start there while some run (sbatch(1),
    "--exclusive=user"; empty: none). ``gpu_cores`` are cores (each of ``cpus_per_core``) for jobs
    with GPUs only, of which a job gets ``cores_per_gpu`` at most for each of its GPUs
    (slurm.conf(5), "RestrictedCoresPerGPU").
    """

    name: str
    state: str
    flags: tuple[str, ...] = ()
    cores: int = 0
    cores_alloc: int = 0
    memory_mib: int = 0
    memory_alloc_mib: int = 0
    gres: tuple[Gres, ...] = ()
    partitions: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    reason: str = ""
    os_load: float | None = None
    address: str = ""
    memory_tracked: bool = True
    cpus_per_core: int = 1
    cpus_per_socket: int = 1
    reservations: tuple[Reservation, ...] = ()
    hostname: str = ""
    owner: str = ""
    gpu_cores: int = 0
    cores_per_gpu: int = 0

    def cores_with(self, gpus: int) -> int:
        """The most cores that a job with that many GPUs may have of it."""
        withheld = max(0, self.gpu_cores - gpus * self.cores_per_gpu)
        return self.cores - withheld * self.cpus_per_core

    @property
    def cores_free(self) -> int:
        """Cores not allocated."""
        return max(0, self.cores - self.cores_alloc)

    @property
    def memory_free_mib(self) -> int:
        """Memory not allocated, in MiB (by Slurm's account, not the system's)."""
        return max(0, self.memory_mib - self.memory_alloc_mib)

    @property
    def gpus(self) -> int:
        """GPUs of every type."""
        return sum(g.total for g in self.gres if g.name == "gpu")

    @property
    def gpus_free(self) -> int:
        """GPUs not allocated."""
        return sum(g.free for g in self.gres if g.name == "gpu")

    @property
    def gpus_surely_free(self) -> int:
        """GPUs not allocated, at least: those that jobs have in parts do not count as allocated,
        nor are they given whole (gres.conf(5), "MPS" and "shard").
        """
        in_parts = sum(g.used for g in self.gres if g.name in {"mps", "shard"})
        return max(0, self.gpus_free - in_parts)

    @property
    def usable(self) -> bool:
        """Whether Slurm would start a new job here if the resources were free."""
        return self.state in _UP and not _BARRED.intersection(self.flags)

    @property
    def completing(self) -> bool:
        """Whether a job is still ending here. Until it has, Slurm starts no job that leaves the
        choice of the node open, though the cores count as free (node_scheduler.c,
        _pick_best_nodes).
        """
        return "COMPLETING" in self.flags

    @property
    def usable_reserved(self) -> bool:
        """Whether it is in a reservation now, and Slurm would start the reservation's jobs here."""
        barred = _BARRED.intersection(self.flags)
        return self.state in _UP and bool(barred) and barred <= _RESERVED

    def notice(self, now: float) -> str:
        """Why no job may start on it, or how long one may be (``now`` in epoch seconds)."""
        reserved = [r.describe_with_time_left(now) for r in self.reservations if now < r.end_at]
        return "; ".join(part for part in (self.reason, *reserved[:1]) if part)

    @property
    def state_text(self) -> str:
        """The state for display: ``idle``, ``mixed``, ``drained``, ``draining``, ``down``."""
        busy = self.cores_alloc > 0 or self.state in {"MIXED", "ALLOCATED"}
        if self.state == "DOWN":
            return "down"
        if "NOT_RESPONDING" in self.flags:
            return "not responding"
        if "DRAIN" in self.flags:
            return "draining" if busy else "drained"
        for flag, text in _FLAG_TEXTS.items():
            if flag in self.flags:
                return text
        return self.state.lower()


_FLAG_TEXTS = {
    "MAINTENANCE": "maintenance",
    "RESERVED": "reserved",
    "POWERING_DOWN": "powering down",
    "POWERED_DOWN": "powered down",
    "POWERING_UP": "powering up",
    "REBOOT_ISSUED": "rebooting",
    "REBOOT_REQUESTED": "reboot requested",
    "FAIL": "failing",
}


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition's limits (scontrol(1), "show partition"), or those of several (``parts``).

    Times in seconds, memory in MiB; None means without limit (or not set). ``max_cores_per_node``
    and ``max_cores_per_socket`` are of all jobs of the partition together (slurm.conf(5),
    "MaxCPUsPerNode", "MaxCPUsPerSocket"). ``tier`` orders partitions: jobs of a higher one come
    first ("PriorityTier").

    ``unit`` is what a job is given whole: ``cpu`` (a core, but memory per CPU only for the CPUs
    that it asked for), ``core``, ``socket`` or ``node`` (slurm.conf(5), "SelectTypeParameters" and
    "OverSubscribe=EXCLUSIVE"). ``shared`` is whether jobs may share cores, ``preempts`` whether a
    job may push others aside, ``one_user`` whether a node is one user's at a time, ``one_segment``
    whether a segment of the network is one job's ("ExclusiveTopo"): then only the scheduler knows
    what has room. ``backfills`` is whether a job may start before others that wait, if it delays
    none of them ("SchedulerType"). ``hidden`` ones (hidden, or for some groups only) are not
    offered, but sbatch may accept jobs for them. ``qos`` is its own QOS, whose limits hold for all
    its jobs (empty: none). ``alternate`` is the partition that gets its jobs when it takes none
    ("Alternate"; empty: none). ``enforces_all`` is whether a job that names several has to keep the
    limits of each ("EnforcePartLimits=ALL").
    """

    name: str
    state: str = "UP"
    default: bool = False
    nodes: tuple[str, ...] = ()
    max_time_s: int | None = None
    default_time_s: int | None = None
    max_memory_per_node_mib: int | None = None
    max_cores_per_node: int | None = None
    max_cores_per_socket: int | None = None
    max_memory_per_cpu_mib: int | None = None
    default_memory_per_node_mib: int | None = None
    default_memory_per_cpu_mib: int | None = None
    unit: str = "core"
    shared: bool = False
    preempts: bool = False
    one_user: bool = False
    one_segment: bool = False
    backfills: bool = True
    tier: int = 1
    hidden: bool = False
    qos: str = ""
    alternate: str = ""
    enforces_all: bool = False
    parts: tuple[Partition, ...] = ()

    @classmethod
    def combine(cls, name: str, among: Iterable[Partition]) -> Partition | None:
        """The one of that name; of several (``viz,gpu``; sbatch(1), "--partition") one with the
        nodes of all and the most generous of their limits, or the strictest where the cluster
        enforces all. None when one is not there.
        """
        known = {partition.name: partition for partition in among}
        if find_unknown_partition(name, known) is not None:
            return None
        return cls._of(tuple(known[word] for word in name.split(",")))

    @classmethod
    def _of(cls, parts: tuple[Partition, ...]) -> Partition:
        if len(parts) == 1:
            return parts[0]
        enforces_all = any(p.enforces_all for p in parts)
        limit = _least if enforces_all else _most
        return cls(
            ",".join(p.name for p in parts),
            state="UP" if any(p.state == "UP" for p in parts) else parts[0].state,
            nodes=tuple(dict.fromkeys(node for p in parts for node in p.nodes)),
            max_time_s=limit(p.max_time_s for p in parts),
            max_memory_per_node_mib=limit(p.max_memory_per_node_mib for p in parts),
            # Slurm leaves out the partitions where each node would give too few.
            max_cores_per_node=_most(p.max_cores_per_node for p in parts),
            enforces_all=enforces_all,
            parts=parts,
        )

    @property
    def each(self) -> tuple[Partition, ...]:
        """The single partitions that it stands for."""
        return self.parts or (self,)

    @property
    def takes_jobs(self) -> bool:
        """Whether sbatch accepts jobs for it; while it is DOWN they wait."""
        return any(p.state not in _CLOSED for p in self.each)

    def without_closed(self) -> Partition:
        """The same without those of its parts that take no jobs: sbatch leaves them out."""
        parts = tuple(p for p in self.parts if p.takes_jobs)
        return self._of(parts) if parts else self

    @property
    def limits_cores(self) -> bool:
        """Whether its jobs may not have all cores of a node."""
        limits = ((p.max_cores_per_node, p.max_cores_per_socket) for p in self.each)
        return any(limit != (None, None) for limit in limits)

    def without_time_limit(self) -> Partition:
        """The same for a job that may be longer than its time limit."""
        parts = tuple(replace(part, max_time_s=None) for part in self.parts)
        return replace(self, max_time_s=None, parts=parts)

    def has(self, node: Node) -> bool:
        """Whether ``node`` is one of its nodes."""
        return any(p.name in node.partitions for p in self.each)


def visible_nodes(nodes: Iterable[Node], partitions: Iterable[Partition]) -> tuple[Node, ...]:
    """The nodes except those that are only in hidden partitions; all, if that leaves none."""
    hidden = {p.name for p in partitions if p.hidden}
    visible = tuple(n for n in nodes if not n.partitions or not hidden.issuperset(n.partitions))
    return visible or tuple(nodes)


def find_unknown_partition(name: str, known: Collection[str]) -> str | None:
    """The first partition in ``name`` that does not exist; None if all do."""
    return next((word for word in name.split(",") if word not in known), None)


def _most(limits: Iterable[int | None]) -> int | None:
    values = [*limits]
    return None if None in values else max(limit for limit in values if limit is not None)


def _least(limits: Iterable[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


# name[:type]:count, where name may carry "gres/" (TRES form: gres/gpu:a100=2 or gres:gpu:2).
# The name ends there: gpu_mem or gpu-nic are other resources.
_GPU = re.compile(r"(?:gres[/:])?gpu(?![^:=(])(?::(\(null\)|[^:=,(]+))?(?:[:=]([0-9]+))?")


def gpu_count(gres: str) -> int:
    """How many GPUs a job's GRES text asks for: ``gpu:1``, ``gres/gpu:a100:2``, ``gres/gpu=1``;
    ``gpu`` alone is one; ``N/A`` and ``(null)`` are none.
    """
    total = 0
    for word in gres.split(","):
        match = _GPU.match(word.strip())
        if match is None:
            continue
        kind, count = match.groups()
        if count is None and kind is not None and kind.isdecimal():
            count = kind
        total += int(count) if count else 1
    return total
