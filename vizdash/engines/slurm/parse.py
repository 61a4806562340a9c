"""Slurm's answers as model types: squeue, scontrol show node, partition, job, reservation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from vizdash.engines.slurm import values
from vizdash.engines.slurm.cluster_config import (
    MEMORY_LIMITS,
    UNKNOWN_CONFIG,
    ClusterConfig,
    unit_of,
)
from vizdash.engines.slurm.commands import HISTORY_FIELDS, JOB_FIELDS, field_mark, record_mark
from vizdash.engines.slurm.reasons import describe_reason
from vizdash.errors import Unreachable
from vizdash.model import Job, JobState, Node, Partition, Reservation
from vizdash.util.nodesets import expand_nodes

STATES = {state.value: state for state in JobState} | {
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

    Raises Unreachable where the answer is incomplete: missing jobs must not look
    ended.
    """
    if answer and not answer.endswith(record_mark(nonce) + "\n"):
        raise Unreachable("squeue", "its answer was cut short")
    parsed = (job(fields) for fields in job_records(answer, nonce))
    return tuple(j for j in parsed if not partition or partition in j.partition.split(","))


def job(fields: list[str]) -> Job:
    """One job from its field values, in the order of JOB_FIELDS."""
    (
        job_id, user, name, code, partition, reason, node, cpus, memory, gres, limit, left, start,
        submit, account, qos, end, comment,
    ) = fields  # fmt: skip
    cores = values.number(cpus)
    state = STATES.get(code, JobState.UNKNOWN)
    return Job(
        id=job_id,
        user=user,
        name=name,
        state=state,
        partition=partition,
        reason=describe_reason(reason),
        node=values.text(node),
        cores=cores,
        memory_mib=values.mebibytes(memory, cores),
        gres=job_gres(gres),
        time_limit_s=values.seconds(limit),
        time_left_s=values.seconds(left),
        start_at=values.epoch(start),
        submit_at=values.epoch(submit),
        end_at=values.epoch(end) if state.ended else None,
        limit_at=None if state.ended or state.waiting else values.epoch(end),
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
    past_jobs = []
    first = parts[0]
    for at in range(1, len(parts), width):
        last, _, following = parts[at + width - 1].partition("\n")
        past_jobs.append(past_job([first, *parts[at : at + width - 1], last]))
        first = following
    return tuple(past_jobs)


def past_job(fields: list[str]) -> Job:
    """One job of sacct's answer; its state may be ``CANCELLED by 1001``."""
    f = dict(zip(HISTORY_FIELDS, fields, strict=True))
    state = STATES.get(f["State"].partition(" ")[0], JobState.UNKNOWN)
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
    parts = [part for part in value.split(",") if part.startswith("gres/")]
    typed = [part for part in parts if ":" in part]
    named = {part.partition(":")[0] for part in typed}
    bare = [part for part in parts if ":" not in part and part.partition("=")[0] not in named]
    return job_gres(",".join([*typed, *bare]))


def parse_test_only(stderr: str) -> int | None:
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
    return map(RecordReader().read, _records(answer, first_key))


def _records(answer: str, first_key: str) -> Iterator[str]:
    start = f"{first_key}="
    record: list[str] = []
    for line in answer.split("\n"):
        if line.startswith(start) and record:
            yield "\n".join(record)
            record = []
        if line.startswith(start) or record:
            record.append(line)
    if record:
        yield "\n".join(record)


@lru_cache(maxsize=1024)
def _is_key(name: str) -> bool:
    return _KEY.match(name) is not None


def read_pairs(record: str) -> dict[str, str]:
    """Split ``A=b C=d e F=g``: words without a key belong to the value before them."""
    pairs: dict[str, str] = {}
    key = ""
    words = record.rstrip().split(" ")
    free = False
    loose = {key}
    for word in words:
        name, equals, value = word.partition("=")
        begins = equals and name not in pairs and (not free or name in _AFTER_FREE)
        if begins and _is_key(name):
            key = name
            free = key in _FREE
            pairs[key] = value
        elif key:
            pairs[key] += f" {word}"
            loose.add(key)
    if len(record.split()) != len(words) - words.count(""):  # other white space
        return {name: value.strip() for name, value in pairs.items()}
    loose.discard("")
    for name in loose:
        pairs[name] = pairs[name].strip()
    return pairs


_WORD = r"\S*"
#: Records with the same keys after which the next ones are read by a regular expression.
ALIKE = 64


class RecordReader:
    """Reads ``scontrol show -o`` records. Most of a large cluster's have the same keys in the same
    order: after some of them, one regular expression reads the rest.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._forms: list[tuple[re.Pattern[str], tuple[str, ...]]] = []

    def read(self, record: str) -> dict[str, str]:
        """The record's values by their keys, as ``read_pairs`` finds them."""
        for form, keys in self._forms:
            if match := form.fullmatch(record):
                pairs = dict(zip(keys, match.groups(), strict=True))
                for key in _FREE & pairs.keys():
                    pairs[key] = pairs[key].strip()
                return pairs
        pairs = read_pairs(record)
        keys = tuple(pairs)
        self._counts[keys] += 1
        if self._counts[keys] == ALIKE and keys:
            # A word of a free text that has no "=" begins no key.
            texts = dict.fromkeys(_FREE, "[^=]*")
            words = (rf"{re.escape(key)}=({texts.get(key, _WORD)})" for key in keys)
            self._forms.append((re.compile(" +".join(words) + r"\s*"), keys))
        return pairs


def nodes(
    answer: str,
    about: ClusterConfig = UNKNOWN_CONFIG,
    known: dict[str, Node] | None = None,
) -> tuple[Node, ...]:
    """``scontrol show node -o -d`` as nodes. ``known`` holds the nodes of an earlier answer by
    their records, which are not parsed again, and then those of this one.
    """
    before = known or {}
    records = list(_records(answer, "NodeName"))
    reader = RecordReader()
    parsed = [before.get(record) or node(reader.read(record), about) for record in records]
    if known is not None:
        known.clear()
        known.update(zip(records, parsed, strict=True))
    return tuple(parsed)


def node(f: Mapping[str, str], about: ClusterConfig = UNKNOWN_CONFIG) -> Node:
    """One node. Its cores are those that Slurm may give (CPUEfctv where it is shown)."""
    total = values.number(f.get("CPUTot", ""))
    sockets = values.number(f.get("Sockets", "")) or total or 1
    cores = sockets * (values.number(f.get("CoresPerSocket", "")) or 1)
    state, flags = node_state(f.get("State", ""))
    per_gpu, for_gpus = values.restricted_cores(f.get("RestrictedCoresPerGPU", ""))
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
        gpu_cores=for_gpus,
        cores_per_gpu=per_gpu,
        owner=values.text(f.get("Owner", "")).partition("(")[0],
    )


@lru_cache(maxsize=1024)
def node_state(value: str) -> tuple[str, tuple[str, ...]]:
    """Base state and flags of ``MIXED+DRAIN+PLANNED``, ``IDLE*``, ``DOWN*+DRAIN``."""
    words: list[str] = []
    extra: list[str] = []
    for part in value.upper().split("+"):
        word = part.rstrip("".join(_SUFFIXES))
        extra += [_SUFFIXES[char] for char in part[len(word) :]]
        if word:
            words.append(word)
    base, *flags = words or ["UNKNOWN"]
    if base in {"DRAINED", "DRAINING"}:
        extra.insert(0, "DRAIN")
        base = "IDLE" if base == "DRAINED" else "MIXED"
    return base, tuple(dict.fromkeys([*flags, *extra]))


def partitions(
    answer: str,
    members: Callable[[str], tuple[str, ...]] = lambda _: (),
    about: ClusterConfig = UNKNOWN_CONFIG,
) -> tuple[Partition, ...]:
    """``scontrol show partition -o``; ``members`` gives a partition's nodes by name."""
    return tuple(
        partition(record, members(record["PartitionName"]), about)
        for record in one_lines(answer, "PartitionName")
    )


def partition(
    f: Mapping[str, str],
    members: tuple[str, ...] = (),
    about: ClusterConfig = UNKNOWN_CONFIG,
) -> Partition:
    """One partition."""
    memory = _memory_limits(f, about)
    sharing, _, jobs = f.get("OverSubscribe", "").partition(":")
    exclusive = _exclusive(f)
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
        unit="node" if exclusive in {"NODE", "TOPO"} else unit,
        shared=sharing == "FORCE" and values.number(jobs or "4") > 1,
        preempts=about.preempts,
        one_user=exclusive == "USER",
        one_segment=exclusive == "TOPO",
        backfills=about.backfills,
        tier=values.number(f.get("PriorityTier", "1")),
        # scontrol(1) shows neither without --all, except the second to its groups.
        hidden=f.get("Hidden", "NO") == "YES" or f.get("AllowGroups", "ALL") != "ALL",
        qos=values.text(f.get("QoS", "")),
        enforces_all=about.enforces_all,
        alternate=values.text(f.get("Alternate", "")),
    )


def _exclusive(f: Mapping[str, str]) -> str:
    """What the partition gives to one at a time: ``NODE``, ``USER``, ``TOPO``, or ``NO``. Slurm
    26.05 prints it so (slurm.conf(5), "Exclusive"); others have a key for each.
    """
    older = (
        ("ExclusiveTopo", "YES", "TOPO"),
        ("OverSubscribe", "EXCLUSIVE", "NODE"),
        ("ExclusiveUser", "YES", "USER"),
    )
    by_key = (what for key, value, what in older if f.get(key) == value)
    return f.get("Exclusive") or next(by_key, "NO")


def _memory_limits(f: Mapping[str, str], about: ClusterConfig) -> dict[str, int | None]:
    """Default and limit, each per node or per CPU: the partition's if it has one, else the
    cluster's.
    """
    limits: dict[str, int | None] = {}
    for kind in ("Def", "Max"):
        keys = [key for key in MEMORY_LIMITS if key.startswith(kind)]
        own = {key: values.limit(f.get(key, "UNLIMITED")) for key in keys}
        theirs = {key: values.limit(about.limits.get(key, "UNLIMITED")) for key in keys}
        limits |= own if any(value is not None for value in own.values()) else theirs
    return limits


def job_commands(answer: str, nonce: str) -> Iterator[tuple[str, str, str]]:
    """The answer to ``commands.job_commands``: jobs' ids, their own ids and what they run."""
    for record in answer.split(record_mark(nonce) + "\n"):
        job_id, _, rest = record.partition(field_mark(nonce))
        own_id, mark, command = rest.partition(field_mark(nonce))
        if mark:
            yield job_id, own_id, command


def job_log(answer: str) -> str:
    """The file that a job's output goes to (StdOut), from ``scontrol show job``; empty for none.

    It comes after the texts that a user chose.
    """
    paths = re.findall(r"^\s+StdOut=(.*)$", answer, re.MULTILINE)
    return paths[-1] if paths else ""


#: With CoreCnt, the cores of each node stand between Flags and TRES, as records of their own.
_CORES = re.compile(r"\bNodeName=(\S+) CoreIDs=(\S+)")


def reservations(answer: str) -> tuple[Reservation, ...]:
    """``scontrol show reservation -o`` (times in epoch seconds) as reservations; those of licences
    alone have no nodes.
    """
    parsed = []
    for line in answer.split("\n"):
        cores = tuple((node, values.count_ids(ids)) for node, ids in _CORES.findall(line))
        for record in one_lines(_CORES.sub("", line), "ReservationName"):
            start = values.epoch(record.get("StartTime", ""))
            end = values.epoch(record.get("EndTime", ""))
            nodes = expand_nodes(values.text(record.get("Nodes", "")))
            if start is None or end is None:
                continue
            parsed.append(
                Reservation(
                    name=record["ReservationName"],
                    start_at=start,
                    end_at=end,
                    nodes=nodes,
                    cores=cores,
                    flags=values.names(record.get("Flags", "").strip()),
                    users=values.names(record.get("Users", "")),
                    accounts=values.names(record.get("Accounts", "")),
                    groups=values.names(record.get("Groups", "")),
                )
            )
    return tuple(parsed)
