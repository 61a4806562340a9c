"""Where a build can run: on this machine, on a host by ssh(1), in a job by srun(1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vizdash.config import Cluster
from vizdash.engines.slurm.commands import memory_option
from vizdash.errors import UsageError
from vizdash.units import slurm_time

_HOST = re.compile(r"(?!-)[A-Za-z0-9_.@:\[\]-]{1,255}")
#: No prompt can be answered here; a line that went dead is noticed in fifteen seconds.
_SSH = (
    "ssh", "-T",
    "-o", "BatchMode=yes",
    "-o", "ConnectTimeout=10",
    "-o", "ServerAliveInterval=5",
    "-o", "ServerAliveCountMax=3",
    "-o", "ClearAllForwardings=yes",
    "-o", "ForwardX11=no",
    "-o", "RequestTTY=no",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """``argv`` runs bash there, reading a script from stdin; ``sees_store`` says that the image
    store is there too, else the image is fetched with ``reader`` before a path.
    """

    name: str
    argv: tuple[str, ...]
    sees_store: bool = True
    reader: tuple[str, ...] = ()


def place_of(where: str, cluster: Cluster, app: str, *, slurm: bool) -> Place:
    """The place called ``here``, ``job``, or by a host's name. Raises UsageError."""
    if where == "here":
        return Place("here", ("bash", "--norc", "-s"))
    if where == "job":
        if not slurm:
            raise UsageError("where: job", "there is no Slurm here", "where: here, or a host")
        return Place("job", (*_srun(cluster, app), "bash", "--norc", "-s"))
    if not _HOST.fullmatch(where):
        raise UsageError(f"where: {where!r}", "that is no host's name", "here, job, or a host")
    return Place(where, (*_SSH, where, "bash --norc -s"), sees_store=False, reader=(*_SSH, where))


def _srun(cluster: Cluster, app: str) -> tuple[str, ...]:
    """A job of one task, whose stdin and output are ours. The caller's environment stays out of
    it but for what a shell needs.
    """
    wanted = cluster.build.resources
    choices = {
        "--partition": cluster.partition,
        "--account": cluster.account,
        "--qos": cluster.qos,
        "--gpus": str(wanted.gpus or ""),
    }
    return (
        "srun",
        f"--job-name=vizdash-build-{app}",
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={wanted.cores}",
        *memory_option(cluster.memory_request, wanted),
        f"--time={slurm_time(wanted.time_s)}",
        *(f"{option}={value}" for option, value in choices.items() if value),
        "--export=HOME,USER,LOGNAME,SHELL,PATH,LANG",
        "--chdir=/",
        "--unbuffered",
    )
