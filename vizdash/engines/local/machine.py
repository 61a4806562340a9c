"""What this machine has: cores, memory, GPUs, load."""

from __future__ import annotations

import math
import os
import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class MachineSize:
    """Cores that this process may use, memory in MiB in all and available now, load, and the
    numbers of the GPUs (NVIDIA's: /dev/nvidia0 is 0).
    """

    cores: int
    memory_mib: int
    memory_available_mib: int
    gpu_ids: tuple[int, ...]
    load: float

    @property
    def gpus(self) -> int:
        """How many GPUs there are."""
        return len(self.gpu_ids)


def read_machine() -> MachineSize:
    """Read cores, memory, GPUs and load. MemAvailable is the kernel's own estimate of what a new
    program may take (proc(5), /proc/meminfo).
    """
    memory = _meminfo()
    return MachineSize(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        memory_mib=memory.get("MemTotal", 0) // 1024,
        memory_available_mib=memory.get("MemAvailable", 0) // 1024,
        gpu_ids=_gpu_ids(),
        load=os.getloadavg()[0],
    )


def _meminfo() -> dict[str, int]:
    sizes_kib = {}
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        sizes_kib[name] = int(rest.split()[0])
    return sizes_kib


def _gpu_ids() -> tuple[int, ...]:
    matches = (re.fullmatch(r"nvidia(\d+)", path.name) for path in Path("/dev").glob("nvidia*"))
    return tuple(sorted(int(match[1]) for match in matches if match))


#: Seconds within which a living supervisor touches its file (supervise.sh: every 30 s) and other
#: hosts see that on a network file system.
_SIGN_S = 180.0


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """Where a job of the local engine runs, among those that share a home folder.

    ``machine`` is that of machine-id(5), which clones of one disk have in common (empty: none),
    ``host`` the host's name, ``pid_space`` the PID namespace (namespaces(7)), since a PID means
    something within one alone: each host's first one has the same number. ``boot`` differs at
    every boot (proc(5), /proc/sys/kernel/random/boot_id), so never between two hosts that run.
    """

    machine: str
    host: str
    pid_space: str
    boot: str

    def holds(
        self, other: HostIdentity, seen_at: float, booted_at: float, now: float = math.inf
    ) -> bool:
        """Whether a job at ``other`` is this host's to show, or to mark as ended if it is dead. Its
        last sign of life is of ``seen_at``; where it gives one regularly, ``now`` counts.
        Times are in seconds since the epoch, ``booted_at`` is this host's.
        """
        if self.pid_space != other.pid_space:
            return False
        if self.boot == other.boot:
            return True  # a host may be renamed while it runs
        if (self.machine, self.host) != (other.machine, other.host):
            return False
        # It died when this host went down. Otherwise it runs on a clone of this host, which shows
        # a sign of life soon.
        return seen_at < booted_at < now - _SIGN_S


def this_host() -> HostIdentity:
    """This machine, and this container on it."""
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        machine = ""
    return HostIdentity(
        machine, platform.node(), str(Path("/proc/self/ns/pid").readlink()), boot_id()
    )


def booted_at() -> float:
    """When this machine was booted, in seconds since the epoch."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Differs at every boot (proc(5), /proc/sys/kernel/random/boot_id)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since boot (proc(5), stat field 22); None when
    there's no such process, or only its zombie.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])
