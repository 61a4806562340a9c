"""Slurm's answers as model types.

Texts are kept as they came, control characters included: whoever shows them escapes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from vizdash.engines.slurm import values
from vizdash.engines.slurm.clusterconfig import MEMORY_LIMITS, UNTOLD, ClusterConfig, unit_of
from vizdash.engines.slurm.commands import HISTORY_FIELDS, JOB_FIELDS, field_mark, record_mark
from vizdash.engines.slurm.reasons import reason_words
from vizdash.errors import Unreachable
from vizdash.model import Job, JobState, Node, Partition

_STATES = {state.value: state for state in JobState} | {
    "CF": JobState.CONFIGURING,
    "STAGE_OUT": JobState.COMPLETING,
    "SIGNALING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "EXPEDITING": JobState.PENDING,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "REQUEUE_HOLD": JobState.PENDING,
    "RESV_DEL_HOLD": JobState.PENDING,
    "SPECIAL_EXIT": JobState.PENDING,
    "LAUNCH_FAILED": JobState.FAILED,
    "RECONFIG_FAIL": JobState.FAILED,
}

#: One-character ends of a node's state in Slurm's compact form (sinfo(1), "NODE STATE CODES").
_SUFFIXES = {
    "*": "NOT_RESPONDING",
    "~": "POWERED_DOWN",
    "#": "POWERING_UP",
    "!": "POWER_DOWN",
    "%": "POWERING_DOWN",
    "$": "MAINTENANCE",
    "@": "REBOOT_REQUESTED",
    "^": "REBOOT_ISSUED",
    "-": "PLANNED",
}

_STARTS = re.compile(r"\bto start at ([0-9]{1,18}) ")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_/:]*\Z")

#: Keys whose values may hold spaces, and keys that may follow one of them.
_FREE = frozenset({"OS", "Comment", "Extra", "Reason", "ResvComment"})
_AFTER_FREE = _FREE | frozenset(
    {
        "NodeName",
        "Arch",
        "RealMemory",
        "InstanceId",
        "InstanceType",
        "TopologyPath",
        "Topology",
        "ReservationName",
        "State",
        "CertFlags",
    }
)


def job_records(answer: str, nonce: str) -> Iterator[list[str]]:
    """Squeue's answer as lists of field values, in the order of JOB_FIELDS.

    Records that don't have every field (a cut answer's last one) are left out.
    """
    mark = field_mark(nonce)
    for record in answer.split(record_mark(nonce) + "\n"):
        fields = record.split(mark)
        if len(fields) == len(JOB_FIELDS):
            yield fields


def jobs(answer: str, nonce: str, *, partition: str = "") -> tuple[Job, ...]:
    """Squeue's answer as jobs; with ``partition``, those in it or waiting for it.

    Raises Unreachable when the answer was cut short: jobs that were left out must not look
    ended.
    """
    if answer and not answer.endswith(record_mark(nonce) + "\n"):
        raise Unreachable("squeue", "its answer was cut short")
    found = (job(fields) for fields in job_records(answer, nonce))
    return tuple(j for j in found if not partition or partition in j.partition.split(","))


def job(fields: list[str]) -> Job:
    """One job from its field values, in the order of JOB_FIELDS."""
    (
        job_id, user, name, told, partition, reason, node, cpus, memory, gres, limit, left, start,
        submit, account, qos, end, comment,
    ) = fields  # fmt: skip
    cores = values.number(cpus)
    state = _STATES.get(told, JobState.UNKNOWN)
    return Job(
        id=job_id,
        user=user,
        name=name,
        state=state,
        partition=partition,
        reason=reason_words(reason),
        node=values.text(node),
        cores=cores,
        memory_mib=values.mebibytes(memory, cores),
        gres=job_gres(gres),
        time_limit_s=values.seconds(limit),
        time_left_s=values.seconds(left),
        start_at=values.epoch(start),
        submit_at=values.epoch(submit),
        end_at=values.epoch(end) if state.ended else None,
        account=values.text(account),
        qos=values.text(qos),
        comment="" if comment == "(null)" else comment,
    )


def history(answer: str, nonce: str) -> tuple[Job, ...]:
    """Sacct's answer as jobs. Raises Unreachable when it was cut short.

    A record's last field and the next one's first share a line with nothing else, so their
    newline is the only one that separates.
    """
    if not answer:
        return ()
    parts = answer.removesuffix("\n").split(field_mark(nonce))
    width = len(HISTORY_FIELDS) - 1
    if not answer.endswith("\n") or (len(parts) - 1) % width:
        raise Unreachable("sacct", "its answer was cut short")
    found = []
    first = parts[0]
    for at in range(1, len(parts), width):
        last, _, following = parts[at + width - 1].partition("\n")
        found.append(past_job([first, *parts[at : at + width - 1], last]))
        first = following
    return tuple(found)


def past_job(fields: list[str]) -> Job:
    """One job of sacct's answer; its state may be ``CANCELLED by 1001``."""
    f = dict(zip(HISTORY_FIELDS, fields, strict=True))
    state = _STATES.get(f["State"].partition(" ")[0], JobState.UNKNOWN)
    cores = values.number(f["AllocCPUS"]) or values.number(f["ReqCPUS"])
    minutes = values.limit(f["TimelimitRaw"])
    return Job(
        id=f["JobID"],
        user=f["User"],
        name=f["JobName"],
        state=state,
        partition=f["Partition"],
        node="" if f["NodeList"] == "None assigned" else values.text(f["NodeList"]),
        cores=cores,
        memory_mib=values.mebibytes(f["ReqMem"], cores),
        gres=tres_gres(f["ReqTRES"]),
        time_limit_s=None if minutes is None else minutes * 60,
        start_at=values.epoch(f["Start"]),
        submit_at=values.epoch(f["Submit"]),
        end_at=values.epoch(f["End"]) if state.ended else None,
        account=values.text(f["Account"]),
        qos=values.text(f["QOS"]),
        comment=f["Comment"],
    )


def tres_gres(value: str) -> str:
    """The GRES among a job's TRES: ``gpu:2`` of ``cpu=2,gres/gpu=2,mem=1G,node=1``.

    Where the typed one is counted too (``gres/gpu:a100=2``), it is the same GPUs again.
    """
    found = [part for part in value.split(",") if part.startswith("gres/")]
    typed = [part for part in found if ":" in part]
    named = {part.partition(":")[0] for part in typed}
    bare = [part for part in found if ":" not in part and part.partition("=")[0] not in named]
    return job_gres(",".join([*typed, *bare]))


def would_start(stderr: str) -> int | None:
    """``sbatch: Job 7 to start at 1767225600 using ...``: seconds since the epoch."""
    match = _STARTS.search(stderr)
    return int(match[1]) if match else None


@lru_cache(maxsize=4096)
def job_gres(value: str) -> str:
    """A job's GRES in one form for all Slurm versions: ``gpu:a100:2``, commas between."""
    parts = []
    for name, kind, count in values.gres(value):
        parts.append(f"{name}:{kind}:{count}" if kind else f"{name}:{count}")
    return ",".join(parts)


def admin_level(answer: str, user: str) -> str:
    """``Administrator``, ``Operator`` or empty, from ``scontrol show assoc_mgr flags=users``."""
    for record in one_lines(answer, "UserName"):
        if re.sub(r"\([0-9]+\)\Z", "", record["UserName"]) == user:
            level = record.get("AdminLevel", "")
            return level if level in {"Administrator", "Operator"} else ""
    return ""


def one_lines(answer: str, first_key: str) -> Iterator[dict[str, str]]:
    """``scontrol show -o`` records as mappings; each starts with ``first_key`` at a line's start.

    The first of two equal keys counts, since an administrator's free text comes last. A
    newline in such a text (a Reason may hold one) doesn't end the record.
    """
    start = f"{first_key}="
    record: list[str] = []
    for line in answer.split("\n"):
        if line.startswith(start) and record:
            yield _pairs("\n".join(record))
            record = []
        if line.startswith(start) or record:
            record.append(line)
    if record:
        yield _pairs("\n".join(record))


def _pairs(record: str) -> dict[str, str]:
    """Split ``A=b C=d e F=g``: words without a key belong to the value before them."""
    found: dict[str, str] = {}
    key = ""
    for word in record.rstrip().split(" "):
        name, equals, value = word.partition("=")
        begins = bool(equals) and _KEY.match(name) is not None
        if begins and (key not in _FREE or name in _AFTER_FREE) and name not in found:
            key = name
            found[key] = value
        elif key:
            found[key] += f" {word}"
    return {name: value.strip() for name, value in found.items()}


def nodes(answer: str, about: ClusterConfig = UNTOLD) -> tuple[Node, ...]:
    """``scontrol show node -o -d`` as nodes."""
    return tuple(node(record, about) for record in one_lines(answer, "NodeName"))


def node(f: Mapping[str, str], about: ClusterConfig = UNTOLD) -> Node:
    """One node. Its cores are those that Slurm may give (CPUEfctv where it is told)."""
    total = values.number(f.get("CPUTot", ""))
    sockets = values.number(f.get("Sockets", "")) or total or 1
    cores = sockets * (values.number(f.get("CoresPerSocket", "")) or 1)
    state, flags = node_state(f.get("State", ""))
    memory = values.number(f.get("RealMemory", ""))
    return Node(
        name=f["NodeName"],
        state=state,
        flags=flags,
        cores=values.number(f.get("CPUEfctv", "")) or values.number(f.get("CPUTot", "")),
        cores_alloc=values.number(f.get("CPUAlloc", "")),
        memory_mib=max(0, memory - values.number(f.get("MemSpecLimit", ""))),
        memory_alloc_mib=values.number(f.get("AllocMem", "")),
        gres=values.node_gres(f.get("Gres", ""), f.get("GresUsed", "")),
        partitions=values.names(f.get("Partitions", "")),
        features=values.names(f.get("ActiveFeatures", "")),
        reason=values.text(f.get("Reason", "")),
        # A node that never spoke has N/A, or (23.11 and newer) 0.00.
        os_load=values.real(f.get("CPULoad", "")) if f.get("BootTime") != "None" else None,
        address=values.text(f.get("NodeAddr", "")) or f["NodeName"],
        memory_tracked=about.memory_tracked,
        # Where CPUs= counts cores, not threads, there are no more CPUs than cores.
        cpus_per_core=max(1, total // cores),
        cpus_per_socket=max(1, total // sockets),
        hostname=values.text(f.get("NodeHostName", "")) or f["NodeName"],
    )


def node_state(value: str) -> tuple[str, tuple[str, ...]]:
    """Base state and flags of ``MIXED+DRAIN+PLANNED``, ``IDLE*``, ``DOWN*+DRAIN``."""
    found: list[str] = []
    extra: list[str] = []
    for part in value.upper().split("+"):
        word = part.rstrip("".join(_SUFFIXES))
        extra += [_SUFFIXES[char] for char in part[len(word) :]]
        if word:
            found.append(word)
    base, *flags = found or ["UNKNOWN"]
    if base in {"DRAINED", "DRAINING"}:
        extra.insert(0, "DRAIN")
        base = "IDLE" if base == "DRAINED" else "MIXED"
    return base, tuple(dict.fromkeys([*flags, *extra]))


def partitions(
    answer: str,
    members: Callable[[str], tuple[str, ...]] = lambda _: (),
    about: ClusterConfig = UNTOLD,
) -> tuple[Partition, ...]:
    """``scontrol show partition -o``; ``members`` gives a partition's nodes by name."""
    return tuple(
        partition(record, members(record["PartitionName"]), about)
        for record in one_lines(answer, "PartitionName")
    )


def partition(
    f: Mapping[str, str],
    members: tuple[str, ...] = (),
    about: ClusterConfig = UNTOLD,
) -> Partition:
    """One partition."""
    memory = _memory_limits(f, about)
    sharing, _, jobs = f.get("OverSubscribe", "").partition(":")
    unit = unit_of(f.get("SelectTypeParameters", "")) or about.unit
    return Partition(
        name=f["PartitionName"],
        state=f.get("State", "UP"),
        default=f.get("Default", "NO") == "YES",
        nodes=members,
        max_time_s=values.seconds(f.get("MaxTime", "")),
        default_time_s=values.seconds(f.get("DefaultTime", "")),
        max_memory_per_node_mib=memory["MaxMemPerNode"],
        max_cores_per_node=values.limit(f.get("MaxCPUsPerNode", "")),
        max_cores_per_socket=values.limit(f.get("MaxCPUsPerSocket", "")),
        max_memory_per_cpu_mib=memory["MaxMemPerCPU"],
        default_memory_per_node_mib=memory["DefMemPerNode"],
        default_memory_per_cpu_mib=memory["DefMemPerCPU"],
        unit="node" if sharing == "EXCLUSIVE" else unit,
        shared=sharing == "FORCE" and values.number(jobs or "4") > 1,
        preempts=about.preempts,
        one_user=f.get("ExclusiveUser", "NO") == "YES",
        backfills=about.backfills,
        tier=values.number(f.get("PriorityTier", "1")),
        # scontrol(1) shows the one to nobody, and the other to its groups, unless told --all.
        hidden=f.get("Hidden", "NO") == "YES" or f.get("AllowGroups", "ALL") != "ALL",
    )


def _memory_limits(f: Mapping[str, str], about: ClusterConfig) -> dict[str, int | None]:
    """Default and limit, each per node or per CPU: the partition's if it has one, else the
    cluster's.
    """
    found: dict[str, int | None] = {}
    for kind in ("Def", "Max"):
        keys = [key for key in MEMORY_LIMITS if key.startswith(kind)]
        own = {key: values.limit(f.get(key, "UNLIMITED")) for key in keys}
        theirs = {key: values.limit(about.limits.get(key, "UNLIMITED")) for key in keys}
        found |= own if any(value is not None for value in own.values()) else theirs
    return found
