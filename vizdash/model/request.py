"""A session as the user requests it, and a job as an engine takes it."""

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
    """A session as the user requests it. An empty text means the default of app, site or Slurm.
    ``keep`` is whether it keeps running while it is idle. ``scale`` is how many times larger its
    desktop is drawn (0: the app's default); ``geometry`` is its size before that.
    """

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
    keep: bool = False
    scale: int = 0


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job as an engine takes it: the whole script, and what it needs.

    ``exclude`` are nodes not to use (they lack the image). ``output`` is an absolute path on the
    node's file system; ``extra`` are raw sbatch(1) arguments, passed last so that they win.
    ``memory`` is how memory is asked for: ``mem`` (a node's), ``mem-per-cpu``, or ``none``.
    ``time_min_s`` is the least time limit that the job can use (0: only the one requested).
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
    time_min_s: int = 0
