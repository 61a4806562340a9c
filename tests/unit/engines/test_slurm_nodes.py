"""Nodes and partitions as three versions of Slurm print them."""

from __future__ import annotations

import pytest

from tests.unit.engines.slurm_replay import VERSIONS, Recording
from vizdash.engines.slurm import cluster_config, parse
from vizdash.model import Gres, Node, Partition


@pytest.fixture
async def nodes(recording: Recording) -> dict[str, Node]:
    return {node.name: node for node in await recording.engine().nodes()}


@pytest.fixture
async def partitions(recording: Recording) -> dict[str, Partition]:
    return {p.name: p for p in await recording.engine().partitions()}


def test_three_generations_were_recorded() -> None:
    assert VERSIONS[:2] == ["22.05", "24.11"]
    assert len(VERSIONS) == 3
    assert Recording(VERSIONS[2]).number > (25,)


async def test_every_node_is_listed_once(nodes: dict[str, Node]) -> None:
    expected = {f"viz-node{n:03}" for n in range(1, 12)} | {"viz-cloud001"}
    assert set(nodes) == expected


async def test_numbers_of_a_busy_node(nodes: dict[str, Node]) -> None:
    node = nodes["viz-node001"]
    assert (node.cores, node.cores_alloc, node.cores_free) == (4, 2, 2)
    assert (node.memory_mib, node.memory_alloc_mib, node.memory_free_mib) == (3584, 1024, 2560)
    assert (node.gpus, node.gpus_free) == (0, 0)
    assert node.os_load is not None
    assert node.os_load >= 0
    assert (node.state, node.state_text, node.usable) == ("MIXED", "mixed", True)
    assert node.reason == ""
    assert node.features == ()
    assert node.address == "login"
    assert {"viz", "long", "short", "closed"} <= set(node.partitions)


async def test_memory_that_slurm_keeps_for_itself_is_not_offered(nodes: dict[str, Node]) -> None:
    node = nodes["viz-node002"]
    assert node.memory_mib == 16384 - 1024
    assert node.cores_alloc == 7


async def test_typed_gpus_with_their_use(nodes: dict[str, Node]) -> None:
    node = nodes["viz-node002"]
    assert node.gres == (Gres("gpu", "a100", 2, 2),)
    assert (node.gpus, node.gpus_free) == (2, 0)
    assert node.features == ("gpu", "big")


async def test_gpus_without_a_type(nodes: dict[str, Node]) -> None:
    assert nodes["viz-node003"].gres == (Gres("gpu", "", 2, 0),)
    assert nodes["viz-node003"].gpus_free == 2


@pytest.mark.parametrize(
    ("name", "state", "words", "usable"),
    [
        ("viz-node001", "MIXED", "mixed", True),
        ("viz-node003", "IDLE", "drained", False),
        ("viz-node004", "DOWN", "down", False),
        ("viz-node005", "ALLOCATED", "allocated", True),
        ("viz-node006", "MIXED", "draining", False),
        ("viz-node007", "IDLE", "not responding", False),
        ("viz-node009", "DOWN", "down", False),
        ("viz-node010", "UNKNOWN", "not responding", False),
        ("viz-node011", "IDLE", "maintenance", False),
        ("viz-cloud001", "IDLE", "powered down", True),
    ],
)
async def test_states(
    nodes: dict[str, Node], name: str, state: str, words: str, usable: bool
) -> None:
    node = nodes[name]
    assert (node.state, node.state_text, node.usable) == (state, words, usable)


async def test_flags(nodes: dict[str, Node]) -> None:
    assert "COMPLETING" in nodes["viz-node008"].flags
    assert nodes["viz-node008"].state == "MIXED"
    assert nodes["viz-node003"].flags == ("DRAIN",)
    assert "MAINTENANCE" in nodes["viz-node011"].flags
    assert {"CLOUD", "POWERED_DOWN"} <= set(nodes["viz-cloud001"].flags)


def test_the_user_who_has_a_node_alone() -> None:
    """As Slurm 24.11 shows a node with a job of bob's that has --exclusive=user."""
    line = "NodeName=n1 CPUTot=4 State=MIXED Owner=bob(1002) MCS_label=N/A"
    assert parse.nodes(line)[0].owner == "bob"


@pytest.mark.parametrize(
    ("value", "cores"),
    [("1(0,4)", (1, 2)), ("2(0-7,8-15)", (2, 16)), ("1((null))", (0, 0)), ("", (0, 0))],
)
def test_cores_for_jobs_with_gpus_only(value: str, cores: tuple[int, int]) -> None:
    """Slurm 24.11; without a topology of the GPUs the node is drained."""
    line = f"NodeName=n1 CPUTot=16 Boards=1 RestrictedCoresPerGPU={value}  State=IDLE"
    (node,) = parse.nodes(line)
    assert (node.cores_per_gpu, node.gpu_cores, node.state) == (*cores, "IDLE")


async def test_a_node_that_never_spoke(nodes: dict[str, Node]) -> None:
    node = nodes["viz-node004"]
    assert node.os_load is None
    assert node.reason.startswith("no daemon here")
    assert (node.cores, node.memory_mib, node.owner) == (8, 16384, "")


async def test_reasons(nodes: dict[str, Node]) -> None:
    assert nodes["viz-node006"].reason.startswith("kernel update")
    assert nodes["viz-node009"].reason.startswith("fan failed")


async def test_a_reason_that_looks_like_keys_changes_nothing(nodes: dict[str, Node]) -> None:
    node = nodes["viz-node003"]
    assert 'disk sda=gone; see "t 12" | State=IDLE' in node.reason
    assert "NodeName=x\x1b[31m é" in node.reason
    assert node.name == "viz-node003"
    assert (node.state, node.cores, node.memory_mib) == ("IDLE", 8, 16384)
    assert node.partitions == ("viz", "long")


async def test_partitions_limits(partitions: dict[str, Partition]) -> None:
    viz, short = partitions["viz"], partitions["short"]
    assert viz.default
    assert not short.default
    assert (viz.max_time_s, viz.default_time_s) == (3 * 86400, 7200)
    assert partitions["long"].max_time_s is None
    assert (short.max_time_s, short.default_time_s) == (1800, None)
    assert (short.max_memory_per_node_mib, short.max_cores_per_node) == (2048, 2)
    assert (viz.max_memory_per_node_mib, viz.max_cores_per_node) == (None, None)
    assert (viz.max_cores_per_socket, viz.tier, viz.backfills) == (None, 1, True)


def test_a_partitions_tier_and_its_limit_of_each_socket() -> None:
    """As Slurm 24.11 shows them (scontrol(1), "show partition")."""
    line = "PartitionName=viz MaxCPUsPerNode=UNLIMITED MaxCPUsPerSocket=2 PriorityTier=10 State=UP"
    (viz,) = parse.partitions(line, about=cluster_config.config("SchedulerType = sched/builtin\n"))
    assert (viz.max_cores_per_socket, viz.tier, viz.backfills) == (2, 10, False)


@pytest.mark.parametrize(("enforced", "all_"), [("ALL", True), ("ANY", False), ("NO", False)])
def test_whether_the_limits_of_each_partition_are_enforced(enforced: str, all_: bool) -> None:
    about = cluster_config.config(f"EnforcePartLimits       = {enforced}\n")
    short, viz = parse.partitions(
        "PartitionName=short MaxTime=01:00:00\nPartitionName=viz MaxTime=UNLIMITED\n", about=about
    )
    both = Partition.combine("short,viz", (short, viz))
    assert both is not None
    assert (both.enforces_all, both.max_time_s) == (all_, 3600 if all_ else None)


async def test_partitions_states(partitions: dict[str, Partition]) -> None:
    states = {name: p.state for name, p in partitions.items()}
    assert states["viz"] == "UP"
    assert states["closed"] == "DOWN"
    assert states["resting"] == "INACTIVE"
    assert states["leaving"] == "DRAIN"
    assert {name for name, p in partitions.items() if not p.takes_jobs} == {"resting", "leaving"}
    line = "PartitionName=viz AllocNodes=ALL Alternate=batch Default=NO State=DRAIN"
    assert parse.partitions(line)[0].alternate == "batch"


async def test_a_partition_that_is_hidden_or_for_other_groups_is_known_as_such(
    partitions: dict[str, Partition],
) -> None:
    """sbatch takes jobs for a hidden one."""
    assert {name for name, p in partitions.items() if p.hidden} == {"staff", "unseen"}


async def test_partitions_nodes(partitions: dict[str, Partition]) -> None:
    assert partitions["viz"].nodes == tuple(f"viz-node{n:03}" for n in range(1, 11))
    assert partitions["short"].nodes == ("viz-node001",)
    assert partitions["spare"].nodes == ("viz-node011",)


async def test_info(recording: Recording) -> None:
    info = await recording.engine().info()
    assert info.name == "slurm"
    assert info.cluster == "recorded"
    assert info.version.startswith(recording.version)
    assert (info.user, info.admin) == ("alice", False)


async def test_the_next_job_id_is_beyond_all_jobs(recording: Recording) -> None:
    settings = cluster_config.config(recording.answer("config").stdout)
    assert settings.slurm_user == "root"
    ids = [int(number.split("+")[0]) for number in recording.jobs.values() if number]
    before = [n for key, n in zip(recording.jobs, ids, strict=False) if key != "dave-3"]
    assert settings.next_job_id > max(before)


@pytest.mark.parametrize(
    ("text", "state", "flags"),
    [
        ("MIXED+DRAIN+PLANNED", "MIXED", ("DRAIN", "PLANNED")),
        ("IDLE*", "IDLE", ("NOT_RESPONDING",)),
        ("DOWN*+DRAIN", "DOWN", ("DRAIN", "NOT_RESPONDING")),
        ("IDLE~", "IDLE", ("POWERED_DOWN",)),
        ("DRAINED", "IDLE", ("DRAIN",)),
        ("DRAINING@", "MIXED", ("DRAIN", "REBOOT_REQUESTED")),
        ("", "UNKNOWN", ()),
    ],
)
def test_every_spelling_of_a_state(text: str, state: str, flags: tuple[str, ...]) -> None:
    assert parse.node_state(text) == (state, flags)
