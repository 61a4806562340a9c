"""How many of a node's CPUs a partition's limits leave to a new job, beside those of its other jobs
(slurm.conf(5), "MaxCPUsPerNode" and "MaxCPUsPerSocket").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vizdash.model import Job, JobState, Node, Partition


@dataclass(frozen=True, slots=True)
class Share:
    """CPUs that are left, at least and at most: which partition's jobs have which CPUs is not
    always visible.
    """

    least: int
    most: int


def cores_left(partition: Partition, node: Node, jobs: Sequence[Job]) -> Share:
    """What the partition's limits leave of ``node``, where ``jobs`` are those that run, as far as
    they are visible.
    """
    if partition.max_cores_per_node is None and partition.max_cores_per_socket is None:
        return Share(node.cores, node.cores)
    # A suspended job has given its cores back.
    here = [j for j in jobs if node.name in j.nodes and not j.state.ended]
    holding = [j for j in here if j.state is not JobState.SUSPENDED]
    own = [j for j in holding if j.partition == partition.name]
    # squeue(1) shows a job's cores on all of its nodes together: it has one on each at least.
    own_least = sum(_least(j) for j in own)
    all_least = sum(_least(j) for j in holding)
    own_most = max(own_least, node.cores_alloc - (all_least - own_least))
    share = Share(node.cores, node.cores)
    if partition.max_cores_per_node is not None:
        share = _less(share, partition.max_cores_per_node, own_least, own_most)
    limit = partition.max_cores_per_socket
    if limit is not None:
        share = _less(share, limit * _sockets(node), own_least, own_most)
        # Which sockets other partitions' jobs have is not shown, nor which ones have fewer CPUs for
        # jobs, nor how Slurm rounds a limit that is no multiple of its unit.
        uneven = node.cores % node.cpus_per_socket or limit % node.cpus_per_core
        if node.cores_alloc > own_least or uneven or partition.unit == "socket":
            share = Share(0, share.most)
    return share


def socket_limit(partition: Partition | None, node: Node) -> int | None:
    """The CPUs that one job may have at most on ``node``; None without such a limit. One that is
    rounded is left to Slurm.
    """
    limit = partition.max_cores_per_socket if partition is not None else None
    if limit is None or limit % node.cpus_per_core:
        return None
    return limit * _sockets(node)


def _sockets(node: Node) -> int:
    return -(-node.cores // node.cpus_per_socket)


def _less(share: Share, limit: int, held_least: int, held_most: int) -> Share:
    least = max(0, min(share.least, limit - held_most))
    return Share(least, max(0, min(share.most, limit - held_least)))


def _least(job: Job) -> int:
    return job.cores if len(job.nodes) == 1 else 1
