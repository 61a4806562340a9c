"""What this machine has: cores, memory, GPUs, load."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """Cores that this process may use, memory in MiB in all and available now, GPUs, load."""

    cores: int
    memory_mib: int
    memory_available_mib: int
    gpus: int
    load: float


def look() -> Machine:
    """Read them. MemAvailable is the kernel's own estimate of what a new program may take
    (proc(5), /proc/meminfo).
    """
    memory = _meminfo()
    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        memory_mib=memory.get("MemTotal", 0) // 1024,
        memory_available_mib=memory.get("MemAvailable", 0) // 1024,
        gpus=len([p for p in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", p.name)]),
        load=os.getloadavg()[0],
    )


def _meminfo() -> dict[str, int]:
    found = {}
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0])
    return found


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
