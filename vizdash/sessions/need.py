"""What a session takes of a node: more than it asks for, where Slurm hands out whole cores, sockets
or nodes, or raises a request (slurm.conf(5), "SelectTypeParameters", "OverSubscribe",
"MaxMemPerCPU").
"""

from __future__ import annotations

from dataclasses import dataclass

from vizdash.model import Node, Partition, Resources
from vizdash.sessions.partition_share import socket_limit
from vizdash.units import duration_words


@dataclass(frozen=True, slots=True)
class Need:
    """``cores`` and ``memory_mib`` (0 where Slurm does not track it) that one session takes of an
    empty node; ``asked`` are the cores that the node must have for it, ``alone`` is whether it
    takes the node whole.
    """

    cores: int
    memory_mib: int
    gpus: int
    asked: int
    alone: bool = False


def need(wanted: Resources, node: Node, partition: Partition | None, how: str) -> Need:
    """What ``wanted`` takes of ``node``; ``how`` memory is asked for as in JobRequest.memory."""
    rules = partition or Partition("")
    asked, memory = _raised(wanted, node, rules, how)
    if rules.unit == "node":
        return Need(node.cores, memory, wanted.gpus, asked, alone=True)
    step = node.cpus_per_socket if rules.unit == "socket" else node.cpus_per_core
    cores = -(-asked // step) * step
    if node.memory_tracked and (per := _per_cpu(wanted, rules, how)):
        memory = per * (asked if rules.unit == "cpu" else cores)
    return Need(cores, memory, wanted.gpus, asked)


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
    """MiB for each CPU that a job is given; None where it is asked for by node."""
    if how == "mem-per-cpu":
        per = -(-wanted.memory_mib // wanted.cores)
        return -(-per // _times_raised(wanted, rules))
    return rules.default_memory_per_cpu_mib if how == "none" else None


def _times_raised(wanted: Resources, rules: Partition) -> int:
    most = rules.max_memory_per_cpu_mib
    per = -(-wanted.memory_mib // wanted.cores)
    return -(-per // most) if most and per > most else 1


def shorts(wanted: Resources, node: Node, partition: Partition | None, how: str) -> list[str]:
    """What ``node`` has too little of for it, even when empty: a phrase each."""
    takes = need(wanted, node, partition, how)
    short = []
    if node.memory_tracked and takes.memory_mib > node.memory_mib:
        memory = max(wanted.memory_mib, takes.memory_mib) if how != "none" else takes.memory_mib
        short.append(f"{memory} MiB asked, but {node.name} has {node.memory_mib} MiB")
    if wanted.cores > node.cores:
        short.append(f"{wanted.cores} cores asked, but {node.name} has {node.cores}")
    elif max(takes.asked, 0 if takes.alone else takes.cores) > node.cores:
        most = partition.max_memory_per_cpu_mib if partition else None
        why = f" at {most} MiB a core at most" if most and how != "none" else ""
        short.append(f"it takes {takes.cores} cores{why}, but {node.name} has {node.cores}")
    elif (limit := socket_limit(partition, node)) is not None and wanted.cores > limit:
        each = partition.max_cores_per_socket if partition else None
        why = f"partition {partition.name if partition else ''} allows {each} a socket at most"
        short.append(f"{wanted.cores} cores asked, but {why}")
    if wanted.gpus > node.gpus:
        short.append(f"{wanted.gpus} GPUs asked, but {node.name} has {node.gpus}")
    return short


def over_limits(wanted: Resources, partition: Partition, *, memory: bool) -> str:
    """The partition's limit that it is over, in words; else empty. ``memory`` is whether memory
    is asked for.
    """
    limit = partition.max_time_s
    if limit is not None and wanted.time_s > limit:
        return (
            f"{duration_words(wanted.time_s)} asked, but partition {partition.name} "
            f"allows {duration_words(limit)} at most"
        )
    cap = partition.max_memory_per_node_mib
    if memory and cap is not None and wanted.memory_mib > cap:
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
