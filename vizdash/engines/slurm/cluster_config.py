"""The controller's configuration, as far as vizdash needs it (scontrol(1), "show config")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from vizdash.engines.slurm import values

_UNIT = re.compile(r"\bCR_(CPU|CORE|SOCKET)(?:_MEMORY)?\b")

#: Limits that a partition may set, and the whole cluster for those that don't.
MEMORY_LIMITS = ("DefMemPerCPU", "DefMemPerNode", "MaxMemPerCPU", "MaxMemPerNode")


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """What vizdash needs of ``scontrol show config``; ``next_job_id`` is 0 where unknown.

    ``accounting`` is whether slurmdbd keeps ended jobs, ``job_retention_s`` how long slurmctld
    itself does (MinJobAge, seconds). ``unit`` and ``memory_tracked`` say what jobs are given
    (SelectType, SelectTypeParameters), ``preempts`` whether a job may preempt others,
    ``backfills`` whether one may start before others that wait, if it delays none (SchedulerType);
    ``limits`` are the memory limits of partitions that set none. ``private`` is what only its
    owner and operators may see (PrivateData): ``jobs``, ``nodes``, ... ``enforces_all`` is whether
    a job for several partitions has to keep the limits of each (EnforcePartLimits).
    """

    cluster: str = ""
    version: str = ""
    slurm_user: str = ""
    next_job_id: int = 0
    accounting: bool = False
    job_retention_s: int = 0
    unit: str = "core"
    memory_tracked: bool = True
    preempts: bool = False
    backfills: bool = True
    limits: Mapping[str, str] = field(default_factory=dict)
    private: tuple[str, ...] = ()
    enforces_all: bool = False


#: One of which nothing is known.
UNKNOWN_CONFIG = ClusterConfig()


def config(answer: str) -> ClusterConfig:
    """``scontrol show config``: lines of ``Key = value``."""
    settings: dict[str, str] = {}
    for line in answer.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            settings.setdefault(key.strip(), value.strip())
    return ClusterConfig(
        cluster=settings.get("ClusterName", ""),
        version=settings.get("SLURM_VERSION", ""),
        slurm_user=re.sub(r"\([0-9]+\)\Z", "", settings.get("SlurmUser", "")),
        next_job_id=values.number(settings.get("NEXT_JOB_ID", "")),
        accounting=settings.get("AccountingStorageType", "") == "accounting_storage/slurmdbd",
        job_retention_s=values.number(settings.get("MinJobAge", "").partition(" ")[0]),
        unit=unit_of(settings.get("SelectTypeParameters", ""), settings.get("SelectType", ""))
        or "core",
        # A cluster that does not say is taken for one of the most usual kind.
        memory_tracked="MEMORY" in settings.get("SelectTypeParameters", "MEMORY").upper(),
        backfills=settings.get("SchedulerType", "sched/backfill") == "sched/backfill",
        preempts=values.text(settings.get("PreemptType", "").rpartition("/")[2]) != "",
        limits={key: settings[key] for key in MEMORY_LIMITS if key in settings},
        enforces_all=settings.get("EnforcePartLimits") == "ALL",
        private=values.names(settings.get("PrivateData", "none")),
    )


def unit_of(parameters: str, select: str = "") -> str:
    """The unit in which CPUs are allocated; empty where the parameters don't say (slurm.conf(5),
    "SelectTypeParameters": CR_CPU, CR_Core, CR_Socket, each with and without _Memory; of
    select/linear, nodes).
    """
    if select == "select/linear":
        return "node"
    match = _UNIT.search(parameters.upper())
    return match[1].lower() if match else ""
