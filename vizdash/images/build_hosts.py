"""The hosts that can run a build: this machine, a host by ssh(1), or a job by srun(1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vizdash.config import Cluster
from vizdash.engines.slurm.commands import memory_option
from vizdash.engines.slurm.environment import SRUN, env
from vizdash.errors import UsageError
from vizdash.util.units import format_slurm_time

_HOST = re.compile(r"(?!-)[A-Za-z0-9_.@:\[\]-]{1,255}")
#: Prompts cannot be answered here. A dead connection is noticed after 15 seconds. No other ssh of
#: the user's may share this one: it would end with the build.
_SSH = (
    "ssh", "-T",
    "-o", "BatchMode=yes",
    "-o", "ConnectTimeout=10",
    "-o", "ServerAliveInterval=5",
    "-o", "ServerAliveCountMax=3",
    "-o", "ClearAllForwardings=yes",
    "-o", "ControlMaster=no",
    "-o", "ForwardX11=no",
    "-o", "RequestTTY=no",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BuildHost:
    """A host that runs builds.

    ``argv`` runs bash there, which reads a script from stdin. Where the host does not mount the
    image store (``sees_store`` is false), ``reader`` followed by a path fetches the image.
    """

    name: str
    argv: tuple[str, ...]
    sees_store: bool = True
    reader: tuple[str, ...] = ()


def find_build_host(where: str, cluster: Cluster, app: str, *, slurm: bool) -> BuildHost:
    """Return the build host named ``here``, ``job``, or by its host name. Raises UsageError."""
    if where == "here":
        return BuildHost("here", ("bash", "--norc", "-p", "-s"))
    if where == "job":
        if not slurm:
            raise UsageError("where: job", "Slurm is not available", "where: here, or a host")
        return BuildHost("job", (*_srun(cluster, app), "bash", "--norc", "-p", "-s"))
    if not _HOST.fullmatch(where):
        raise UsageError(f"where: {where!r}", "not a host name", "here, job, or a host")
    return BuildHost(
        where, (*_SSH, where, "bash --norc -p -s"), sees_store=False, reader=(*_SSH, where)
    )


def _srun(cluster: Cluster, app: str) -> tuple[str, ...]:
    """Return the srun(1) command of a one-task job that uses our stdin and stdout.

    Of the caller's environment it gets only what a shell needs.
    """
    resources = cluster.build.resources
    choices = {
        "--partition": cluster.partition,
        "--account": cluster.account,
        "--qos": cluster.qos,
        "--gpus": str(resources.gpus or ""),
    }
    return (
        *env(SRUN),
        "srun",
        f"--job-name=vizdash-build-{app}",
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={resources.cores}",
        *memory_option(cluster.memory_request, resources),
        f"--time={format_slurm_time(resources.time_s)}",
        *(f"{option}={value}" for option, value in choices.items() if value),
        "--export=HOME,USER,LOGNAME,SHELL,PATH,LANG",
        "--chdir=/",
        "--unbuffered",
    )
