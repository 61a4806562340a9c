"""What a person asks for (SessionRequest) and what an engine is given (JobRequest)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resources:
    """Resources of one session: whole cores, memory in MiB, GPUs, time limit in seconds."""

    cores: int = 2
    memory_mib: int = 2048
    gpus: int = 0
    time_s: int = 7200


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """A session as a person asks for it; empty text means the default of app, site or Slurm."""

    app: str
    resources: Resources = Resources()
    node: str = ""
    geometry: str = ""
    image: str = ""
    account: str = ""
    qos: str = ""
    partition: str = ""
    reservation: str = ""
    constraint: str = ""
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job as an engine takes it: the whole script, and what it needs.

    ``exclude`` are nodes to keep off (they lack the image). ``output`` is an absolute path on the
    node's file system; ``extra`` are raw sbatch(1) arguments, passed last so that they win.
    ``memory`` is how memory is asked for: ``mem`` (a node's), ``mem-per-cpu``, or ``none``.
    """

    name: str
    script: str
    session_id: str
    app: str
    comment: str
    output: str
    resources: Resources
    node: str = ""
    account: str = ""
    qos: str = ""
    partition: str = ""
    reservation: str = ""
    constraint: str = ""
    exclude: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    memory: str = "mem"
