"""GRES as Slurm writes it (gres.conf(5), scontrol(1), squeue(1))."""

from __future__ import annotations

import re

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
