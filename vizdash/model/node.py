"""Nodes and partitions as Slurm describes them (scontrol(1), "show node")."""

from __future__ import annotations

from dataclasses import dataclass

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
    """A partition's limits (scontrol(1), "show partition").

    Times in seconds, memory in MiB; None means without limit (or not set).
    """

    name: str
    state: str = "UP"
    default: bool = False
    nodes: tuple[str, ...] = ()
    max_time_s: int | None = None
    default_time_s: int | None = None
    max_memory_per_node_mib: int | None = None
    max_cores_per_node: int | None = None

    def has(self, node: Node) -> bool:
        """Whether ``node`` is one of its nodes."""
        return self.name in node.partitions
