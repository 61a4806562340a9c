"""Nodes and partitions as Slurm describes them (scontrol(1), "show node")."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from vizdash.model.reservation import Reservation

#: Base states on which Slurm may start a job now (slurm.conf(5), "NodeName ... State").
_UP = frozenset({"IDLE", "MIXED", "ALLOCATED"})

#: State flags that keep new jobs away although the base state looks well.
_BARRED = frozenset(
    {
        "DRAIN",
        "FAIL",
        "MAINTENANCE",
        "NOT_RESPONDING",
        "POWERING_DOWN",
        "REBOOT_ISSUED",
        "REBOOT_REQUESTED",
        "RESERVED",
    }
)

#: Those of them that a reservation sets: they don't bar the reservation's own jobs.
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
        """Units not given to any job."""
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
    resolve.
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

    @property
    def cores_free(self) -> int:
        """Cores not given to any job."""
        return max(0, self.cores - self.cores_alloc)

    @property
    def memory_free_mib(self) -> int:
        """Memory not given to any job, in MiB (Slurm's account, not the system's)."""
        return max(0, self.memory_mib - self.memory_alloc_mib)

    @property
    def gpus(self) -> int:
        """GPUs of every type."""
        return sum(g.total for g in self.gres if g.name == "gpu")

    @property
    def gpus_free(self) -> int:
        """GPUs not given to any job."""
        return sum(g.free for g in self.gres if g.name == "gpu")

    @property
    def usable(self) -> bool:
        """Whether Slurm would start a new job here if the resources were free."""
        return self.state in _UP and not _BARRED.intersection(self.flags)

    @property
    def usable_reserved(self) -> bool:
        """Whether it is in a reservation now, and Slurm would start that one's jobs here."""
        barred = _BARRED.intersection(self.flags)
        return self.state in _UP and bool(barred) and barred <= _RESERVED

    def notice(self, now: float) -> str:
        """Why nothing may start on it, or for how long it may (``now`` in epoch seconds)."""
        reserved = [r.words_with_rest(now) for r in self.reservations if now < r.end_at]
        return "; ".join(part for part in (self.reason, *reserved[:1]) if part)

    @property
    def state_words(self) -> str:
        """The state as people say it: ``idle``, ``mixed``, ``drained``, ``draining``, ``down``."""
        busy = self.cores_alloc > 0 or self.state in {"MIXED", "ALLOCATED"}
        if self.state == "DOWN":
            return "down"
        if "NOT_RESPONDING" in self.flags:
            return "not responding"
        if "DRAIN" in self.flags:
            return "draining" if busy else "drained"
        for flag, words in _FLAG_WORDS.items():
            if flag in self.flags:
                return words
        return self.state.lower()


_FLAG_WORDS = {
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
    job may push others aside, ``one_user`` whether a node is one user's at a time: then only the
    scheduler knows what has room. ``backfills`` is whether a job may start before others that wait,
    if it delays none of them ("SchedulerType"). ``hidden`` ones (for nobody to see, or for some
    groups alone) are not proposed, but sbatch may take jobs for them.
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
    backfills: bool = True
    tier: int = 1
    hidden: bool = False
    parts: tuple[Partition, ...] = ()

    @classmethod
    def called(cls, name: str, among: Iterable[Partition]) -> Partition | None:
        """The one of that name; of several (``viz,gpu``; sbatch(1), "--partition") one with the
        nodes of all and the most generous of their limits. None when one is not there.
        """
        known = {partition.name: partition for partition in among}
        if unknown(name, known) is not None:
            return None
        parts = tuple(known[word] for word in name.split(","))
        if len(parts) == 1:
            return parts[0]
        return cls(
            name,
            state="UP" if any(p.state == "UP" for p in parts) else parts[0].state,
            nodes=tuple(dict.fromkeys(node for p in parts for node in p.nodes)),
            max_time_s=_most(p.max_time_s for p in parts),
            max_memory_per_node_mib=_most(p.max_memory_per_node_mib for p in parts),
            max_cores_per_node=_most(p.max_cores_per_node for p in parts),
            parts=parts,
        )

    @property
    def each(self) -> tuple[Partition, ...]:
        """The partitions that it is."""
        return self.parts or (self,)

    def has(self, node: Node) -> bool:
        """Whether ``node`` is one of its nodes."""
        return any(p.name in node.partitions for p in self.each)


def shown(nodes: Iterable[Node], partitions: Iterable[Partition]) -> tuple[Node, ...]:
    """The nodes without those of hidden partitions alone, where that leaves any."""
    hidden = {p.name for p in partitions if p.hidden}
    found = tuple(n for n in nodes if not n.partitions or not hidden.issuperset(n.partitions))
    return found or tuple(nodes)


def unknown(name: str, known: Collection[str]) -> str | None:
    """The first of the partitions in ``name`` that is not there; None when all are."""
    return next((word for word in name.split(",") if word not in known), None)


def _most(limits: Iterable[int | None]) -> int | None:
    found = [*limits]
    return None if None in found else max(limit for limit in found if limit is not None)
