"""Reservations, partitions and nodes of sites unlike the recorded ones."""

from __future__ import annotations

import pytest

from tests.unit.engines.slurm_replay import VERSIONS, Recording
from vizdash.engines.slurm import cluster_config, parse
from vizdash.engines.slurm.client import SlurmEngine
from vizdash.engines.slurm.parse import reservations
from vizdash.model import JobRequest, Partition, Resources
from vizdash.transport import Command, Result

#: Slurm 24.11, ``SLURM_TIME_FORMAT=%s scontrol -o show reservation``.
LINES = """\
ReservationName=maint StartTime=1795884499 EndTime=1795891699 Duration=02:00:00 Nodes=n[1-3] \
NodeCnt=3 CoreCnt=20 Features=(null) PartitionName=(null) Flags=MAINT,IGNORE_JOBS,SPEC_NODES,\
ALL_NODES TRES=cpu=24 Users=root Groups=(null) Accounts=(null) Licenses=(null) State=INACTIVE \
BurstBuffer=(null) MaxStartDelay=(null)
ReservationName=part StartTime=1795880802 EndTime=1795888002 Duration=02:00:00 Nodes=n[2-3] \
NodeCnt=2 CoreCnt=4 Features=(null) PartitionName=viz Flags=   NodeName=n2 CoreIDs=3   \
NodeName=n3 CoreIDs=0-1,5 TRES=cpu=6 Users=bob,-eve Groups=(null) Accounts=(null) \
Licenses=(null) State=ACTIVE BurstBuffer=(null) MaxStartDelay=(null)
ReservationName=licences StartTime=1795880802 EndTime=1795888002 Duration=02:00:00 Nodes=(null) \
NodeCnt=0 CoreCnt=0 Features=(null) PartitionName=(null) Flags=ANY_NODES TRES=(null) \
Users=(null) Groups=(null) Accounts=science Licenses=abaqus:5 State=ACTIVE BurstBuffer=(null)
"""


def test_what_reservations_hold_and_for_which_users() -> None:
    maint, part, licences = reservations(LINES)
    assert (licences.name, licences.nodes) == ("licences", ())
    assert (maint.start_at, maint.end_at) == (1795884499, 1795891699)
    assert (maint.nodes, maint.maintenance) == (("n1", "n2", "n3"), True)
    assert (part.nodes, part.maintenance) == (("n2", "n3"), False)
    assert (part.cores_on("n2"), part.cores_on("n3"), maint.cores_on("n1")) == (1, 3, None)
    assert (part.users, part.owners) == (("bob", "-eve"), "bob")


def test_none() -> None:
    assert reservations("No reservations in the system\n") == ()
    assert reservations("") == ()


@pytest.mark.parametrize("version", VERSIONS)
async def test_recorded_ones(version: str) -> None:
    found = {r.name: r for r in await Recording(version).engine().reservations()}
    assert set(found) == {"later", "maint", "some"}
    assert found["maint"].maintenance
    assert found["maint"].nodes == ("viz-node011",)
    assert found["later"].users == ("bob",)
    assert found["later"].end_at - found["later"].start_at == 3600
    assert (found["some"].owners, found["some"].cores_on("viz-node011")) == ("account science", 2)


@pytest.mark.parametrize(
    ("lines", "unit", "tracked"),
    [
        ("SelectTypeParameters    = CR_CORE_MEMORY", "core", True),
        ("SelectTypeParameters    = CR_CORE", "core", False),
        ("SelectTypeParameters    = CR_CPU", "cpu", False),
        ("SelectTypeParameters    = CR_SOCKET_MEMORY,CR_CORE_DEFAULT_DIST_BLOCK", "socket", True),
        ("SelectTypeParameters    = CR_Core_Memory,CR_LLN", "core", True),
        ("SelectType = select/linear\nSelectTypeParameters = CR_MEMORY", "node", True),
        ("SelectType = select/linear\nSelectTypeParameters = NONE", "node", False),
        ("", "core", True),
    ],
)
def test_what_a_job_is_given(lines: str, unit: str, tracked: bool) -> None:
    found = cluster_config.config(lines)
    assert (found.unit, found.memory_tracked) == (unit, tracked)


def test_a_partitions_rules() -> None:
    cluster = cluster_config.config(
        "SelectTypeParameters = CR_CORE_MEMORY\nMaxMemPerCPU = 1000\nDefMemPerNode = UNLIMITED\n"
        "PreemptType = preempt/qos"
    )

    def one(words: str) -> Partition:
        return parse.partitions(f"PartitionName=viz {words}\n", about=cluster)[0]

    plain = one("MaxMemPerNode=UNLIMITED OverSubscribe=NO Hidden=NO")
    assert (plain.unit, plain.shared, plain.hidden, plain.preempts) == ("core", False, False, True)
    assert plain.max_memory_per_cpu_mib == 1000
    own = one("MaxMemPerNode=2048 DefMemPerCPU=256 Hidden=YES ExclusiveUser=YES")
    assert (own.max_memory_per_cpu_mib, own.max_memory_per_node_mib) == (None, 2048)
    assert (own.default_memory_per_cpu_mib, own.hidden, own.one_user) == (256, True, True)
    assert one("OverSubscribe=EXCLUSIVE").unit == "node"
    assert one("SelectTypeParameters=CR_SOCKET").unit == "socket"
    assert one("ExclusiveTopo=YES").one_segment
    assert [one(f"OverSubscribe={w}").shared for w in ("FORCE:1", "FORCE:2", "YES:4")] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("value", "unit", "one_user", "one_segment"),
    [
        ("NO", "core", False, False),
        ("NODE", "node", False, False),  # what OverSubscribe=EXCLUSIVE was before
        ("USER", "core", True, False),
        ("TOPO", "node", False, True),
    ],
)
def test_exclusive_partitions_as_slurm_26_05_prints_them(
    value: str, unit: str, one_user: bool, one_segment: bool
) -> None:
    """It has one key for three, and OverSubscribe never says EXCLUSIVE."""
    answer = f"PartitionName=viz OverSubscribe=NO Exclusive={value} Hidden=NO\n"
    (found,) = parse.partitions(answer)
    assert (found.unit, found.one_user, found.one_segment) == (unit, one_user, one_segment)


@pytest.mark.parametrize(
    ("shape", "core", "socket"),
    [
        ("CPUTot=8 CoresPerSocket=2 Sockets=2 ThreadsPerCore=2", 2, 4),
        ("CPUTot=4 CoresPerSocket=2 Sockets=2 ThreadsPerCore=2", 1, 2),  # CPUs= counts cores
        ("CPUTot=4 CoresPerSocket=1 Sockets=4 ThreadsPerCore=1", 1, 1),
        ("CPUTot=8", 1, 1),
    ],
)
def test_a_nodes_cores(shape: str, core: int, socket: int) -> None:
    (node,) = parse.nodes(f"NodeName=n1 {shape}\n")
    assert (node.cpus_per_core, node.cpus_per_socket) == (core, socket)


class Untracked:
    """A site that tracks no memory."""

    def __init__(self) -> None:
        self.handed_in: list[Command] = []

    async def run(self, command: Command) -> Result:
        if "config" in command.argv:
            return Result(0, "SelectTypeParameters = CR_CORE\n", "")
        self.handed_in.append(command)
        return Result(0, "7\n", "sbatch: Job 7 to start at 1795884499 using 2 processors")

    def has(self, program: str) -> bool:
        return True


async def test_where_memory_is_not_tracked_none_is_requested() -> None:
    site = Untracked()
    engine = SlurmEngine(site, user="alice")
    request = JobRequest("x", "#!/bin/bash\n", "1", "", "", "/dev/null", Resources(2, 2048))
    assert await engine.submit(request) == "7"
    await engine.expected_start(request)
    assert len(site.handed_in) == 2
    for command in site.handed_in:
        assert not any(word.startswith("--mem") for word in command.argv)
