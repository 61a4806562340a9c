"""What fits now, and what never will: the numbers, and the fix."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sessions.cluster_nodes import (
    GPUS,
    LARGE,
    NODES,
    OTHER,
    SMALL,
    VIZ,
    G,
)
from vizdash.model import (
    Job,
    JobState,
    Node,
    Partition,
    Reservation,
    Resources,
    SessionRequest,
)
from vizdash.sessions.capacity import CapacityVerdict, check_capacity
from vizdash.sessions.sbatch_arguments import effective_option


def judged(
    wanted: Resources, *nodes: Node, partition: Partition | None = VIZ, node: str = ""
) -> CapacityVerdict:
    return check_capacity(wanted, nodes or NODES, partition, node=node)


def test_how_many_fit_now_and_where() -> None:
    found = judged(Resources(2, 2 * G))
    assert found.fits_now == (("viz-node001", 1), ("viz-node002", 4), ("viz-node003", 4))
    assert found.text == ("9 sessions of this size fit now: viz-node001, viz-node002, viz-node003")
    one = judged(Resources(8, 16 * G, 2))
    assert one.text == "1 session of this size fits now: viz-node003"


def test_four_gib_on_the_legacy_node_is_refused_with_the_numbers() -> None:
    found = judged(Resources(2, 4 * G), node="viz-node001")
    assert found.refusal == (
        "4.0 GiB requested, but viz-node001 has 3.5 GiB; viz-node002, viz-node003 would fit"
    )
    assert found.fix == "request less, or leave the node open"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Resources(9, G), "9 cores requested, but viz-node003 has 8, and no node"),
        (Resources(1, 17 * G), "17.0 GiB requested, but viz-node003 has 16.0 GiB, and no node"),
        (Resources(1, G, 3), "3 GPUs requested, but viz-node003 has 2, and no node"),
        (
            Resources(9, 17 * G),
            "17.0 GiB requested, but viz-node003 has 16.0 GiB; 9 cores requested",
        ),
    ],
)
def test_what_no_node_has(wanted: Resources, words: str) -> None:
    assert words in judged(wanted).refusal


def test_full_nodes_are_waited_for() -> None:
    full = replace(LARGE, state="ALLOCATED", cores_alloc=8)
    found = judged(Resources(2, 4 * G), SMALL, full)
    assert (found.fits_now, found.refusal) == ((), "")
    assert found.text == "nothing free now: it waits for viz-node002"


def test_a_drained_node_is_named_with_its_reason() -> None:
    drained = replace(LARGE, flags=("DRAIN",), reason="fan [root@2025-10-01T10:00:00]")
    found = judged(Resources(2, 4 * G), drained)
    assert found.text == (
        "nothing free now: it waits for viz-node002 (viz-node002 is drained: fan)"
    )


def test_a_node_that_another_user_has_alone_takes_no_session() -> None:
    """A job of bob's with --exclusive=user: Slurm 24.11 starts no other user's there."""
    bobs = replace(LARGE, state="MIXED", cores_alloc=1, owner="bob")
    found = check_capacity(Resources(1, G), [SMALL, bobs], VIZ, user="alice")
    assert found.fits_now == (("viz-node001", 3),)
    assert found.unavailable == "viz-node002 is bob's alone for now"
    alone = check_capacity(Resources(8, G), [SMALL, bobs], VIZ, user="alice")
    assert (alone.fits_now, alone.candidates) == ((), ("viz-node002",))
    assert "(viz-node002 is bob's alone for now)" in alone.text
    assert check_capacity(Resources(1, G), [bobs], VIZ, user="bob").fits_now == (
        ("viz-node002", 7),
    )
    course = in_course(bobs, "RESERVED")
    found = check_capacity(Resources(1, G), [course], VIZ, reservation="course", user="alice")
    assert found.undetermined


def test_a_partition_that_is_down_is_named() -> None:
    found = judged(Resources(1, G), partition=replace(VIZ, state="DOWN"))
    assert found.fits_now == ()
    assert "(partition viz is down)" in found.text


@pytest.mark.parametrize("state", ["DRAIN", "INACTIVE"])
def test_a_partition_that_takes_no_new_jobs_is_refused(state: str) -> None:
    """Slurm 24.11: "Required partition not available (inactive or drain)"."""
    closed = replace(VIZ, state=state)
    refusal = f"partition viz takes no new jobs ({state.lower()})"
    found = judged(Resources(1, G), partition=closed)
    assert (found.refusal, found.fix) == (refusal, "name another partition")
    assert check_capacity(Resources(1, G), (), closed).refusal == refusal
    elsewhere = judged(Resources(1, G), partition=replace(closed, alternate="batch"))
    assert elsewhere.text == "only the scheduler knows: jobs for partition viz go to batch now"


def test_of_several_partitions_those_that_take_no_new_jobs_do_not_count() -> None:
    closed, batch = replace(VIZ, state="DRAIN"), Partition("batch", max_time_s=3600)
    both = Partition.combine("viz,batch", [closed, batch])
    found = judged(Resources(1, G, 0, 3600), partition=both)
    assert found.candidates == ("cpu001",)
    assert found.fits_now
    assert "partition batch allows 1 h at most" in judged(Resources(1, G), partition=both).refusal
    down = Partition.combine("viz,batch", [closed, replace(batch, state="DOWN")])
    assert judged(Resources(1, G, 0, 60), partition=down).unavailable == "partition batch is down"
    none = Partition.combine("viz,batch", [closed, replace(batch, state="INACTIVE")])
    assert judged(Resources(1, G), partition=none).refusal == (
        "partition viz,batch takes no new jobs (drain, inactive)"
    )


@pytest.mark.parametrize(
    ("limits", "wanted", "words"),
    [
        (
            {"max_time_s": 3600},
            Resources(1, G, 0, 7200),
            "2 h requested, but partition viz allows 1 h",
        ),
        ({"max_memory_per_node_mib": 512}, Resources(1, G), "allows 0.5 GiB a node at most"),
        ({"max_cores_per_node": 1}, Resources(2, G), "allows 1 a node at most"),
    ],
)
def test_the_partitions_limits(limits: dict[str, int], wanted: Resources, words: str) -> None:
    found = judged(wanted, partition=replace(VIZ, **limits))  # type: ignore[arg-type]
    assert words in found.refusal
    assert found.fix


def test_a_node_that_is_not_of_this_partition() -> None:
    assert "node cpu001 is not in partition viz, which has viz-node001" in (
        judged(Resources(1, G), node="cpu001").refusal
    )


def test_nodes_without_the_image() -> None:
    without = frozenset({"viz-node002", "viz-node003"})
    found = check_capacity(Resources(2, 4 * G), NODES, VIZ, without=without)
    assert (found.fix, "has the image" in found.refusal) == ("image", True)
    one = check_capacity(Resources(1, G), NODES, VIZ, node="viz-node002", without=without)
    assert one.refusal == "node viz-node002 has no such image"
    assert check_capacity(Resources(1, G), NODES, VIZ, without=without).candidates == (
        "viz-node001",
    )


def test_a_partition_without_nodes_and_many_names() -> None:
    assert "has no nodes" in judged(Resources(), OTHER).refusal
    many = [replace(LARGE, name=f"n{i:02}") for i in range(9)]
    assert judged(Resources(8, G), *many).text.endswith("n05 and 3 more")


def in_course(node: Node, *flags: str, **values: Any) -> Node:
    """The node in a reservation that has begun."""
    course = Reservation("course", 0, 2**40, (node.name,), users=("alice",))
    return replace(node, flags=flags, reservations=(course,), **values)


def test_a_reservation_is_no_bar_to_its_own_jobs() -> None:
    nodes = (SMALL, in_course(LARGE, "RESERVED"), in_course(GPUS, "DRAIN", "RESERVED"))
    assert check_capacity(
        Resources(8, G), [replace(n, reservations=()) for n in nodes], VIZ
    ).text == (
        "nothing free now: it waits for viz-node002, viz-node003 "
        "(viz-node002 is reserved; viz-node003 is drained)"
    )
    found = check_capacity(Resources(1, G), nodes, VIZ, reservation="course", user="alice")
    assert found.fits_now == (("viz-node002", 8),)
    upkeep = in_course(LARGE, "MAINTENANCE", "RESERVED")
    assert check_capacity(Resources(8, G), [upkeep], VIZ, reservation="course").fits_now


def test_of_a_full_reservation_only_the_scheduler_knows() -> None:
    full = in_course(LARGE, "RESERVED", state="ALLOCATED", cores_alloc=8)
    found = check_capacity(Resources(1, G), [SMALL, full], VIZ, reservation="course")
    assert (found.fits_now, found.refusal, found.waits) == ((), "", True)
    assert found.text == "only the scheduler knows when reservation 'course' has room"
    assert found.text_with_start(None, 0) == found.text
    assert found.text_with_start(60, 0).startswith("starts about")
    down = check_capacity(Resources(1, G), [full], replace(VIZ, state="DOWN"), reservation="course")
    assert "(partition viz is down)" in down.text


def test_a_constraint_that_is_a_name_is_held_against_the_nodes() -> None:
    big = replace(LARGE, features=("big", "ib"))
    found = check_capacity(Resources(1, G), [SMALL, big, GPUS], VIZ, constraint="ib")
    assert (found.fits_now, found.candidates) == ((("viz-node002", 8),), ("viz-node002",))


@pytest.mark.parametrize("constraint", ["big|ib", "big&ib", "[a*2&b]", "!big", "big,ib", "nosuch"])
def test_of_any_other_constraint_only_the_scheduler_knows(constraint: str) -> None:
    big = replace(LARGE, features=("big", "ib"))
    found = check_capacity(Resources(1, G), [SMALL, big], VIZ, constraint=constraint)
    assert (found.fits_now, found.refusal, found.waits) == ((), "", True)
    assert found.text == (
        f"only the scheduler knows which nodes meet the constraint {constraint!r}"
    )
    assert check_capacity(Resources(99, G), [SMALL, big], VIZ, constraint=constraint).refusal


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ((), "ib"),
        (("--exclusive",), "ib"),
        (("--constraint=big",), "big"),
        (("--constraint", "big"), "big"),
        (("-C", "big"), "big"),
        (("-Cbig", "--constraint=gpu"), "gpu"),
        (("-C",), "ib"),
    ],
)
def test_raw_arguments_win_over_the_field(extra: tuple[str, ...], expected: str) -> None:
    request = SessionRequest("desktop", constraint="ib", reservation="r", extra=extra)
    assert effective_option(request, "constraint") == expected
    assert effective_option(request, "reservation") == "r"


def job(
    cores: int, node: str = "viz-node002", state: str = "RUNNING", partition: str = "viz"
) -> Job:
    return Job("7", "bob", "solve", JobState(state), partition=partition, node=node, cores=cores)


@pytest.mark.parametrize(
    ("jobs", "count"),
    [
        ([], 4),
        ([job(3)], 1),
        ([job(2), job(2, state="CONFIGURING")], 0),
        ([job(3, node="viz-node003"), job(3, partition="batch")], 4),
        ([job(3, state="COMPLETED"), job(3, state="SUSPENDED")], 4),
        ([job(6, node="viz-node[002-003]")], 3),
    ],
)
def test_a_partitions_cores_of_a_node_are_for_all_its_jobs(jobs: list[Job], count: int) -> None:
    capped = replace(VIZ, max_cores_per_node=4)
    found = check_capacity(Resources(1, G), [LARGE], capped, jobs=jobs)
    assert dict(found.fits_now).get("viz-node002", 0) == count


@pytest.mark.parametrize(
    ("held", "jobs", "count"),
    [
        (2, [], 2),  # whose they are is not visible: of the partition at worst
        (6, [], None),
        (6, [job(6, partition="batch")], 2),  # beside another partition's
        (8, [job(8, partition="batch")], 0),
        (6, [job(8, node="viz-node[002-003]")], None),
    ],
)
def test_of_cores_that_invisible_jobs_have_only_the_scheduler_knows(
    held: int, jobs: list[Job], count: int | None
) -> None:
    capped = replace(VIZ, max_cores_per_node=4)
    found = check_capacity(Resources(1, G), [replace(LARGE, cores_alloc=held)], capped, jobs=jobs)
    assert dict(found.fits_now).get("viz-node002", 0) == (count or 0)
    message = "only the scheduler knows what partition viz has left of its limit on"
    assert found.undetermined == (f"{message} viz-node002" if count is None else "")


@pytest.mark.parametrize(
    ("limit", "held", "jobs", "count"),
    [
        (2, 0, [], 4),
        (2, 3, [job(3)], 1),
        (2, 3, [job(3, partition="batch")], None),  # on one socket, or on both
        (2, 4, [job(4)], 0),
        (2, 4, [], None),
    ],
)
def test_a_limit_of_each_socket(limit: int, held: int, jobs: list[Job], count: int | None) -> None:
    """As Slurm 24.11 started jobs on two sockets of four cores."""
    capped = replace(VIZ, max_cores_per_socket=limit)
    node = replace(LARGE, cpus_per_socket=4, cores_alloc=held)
    found = check_capacity(Resources(1, G), [node], capped, jobs=jobs)
    assert dict(found.fits_now).get("viz-node002", 0) == (count or 0)
    assert bool(found.undetermined) == (count is None)


def test_a_limit_of_each_socket_is_for_one_job_too() -> None:
    capped = replace(VIZ, max_cores_per_socket=2)
    node = replace(LARGE, cpus_per_socket=4)
    refusal = "5 cores requested, but partition viz allows 2 a socket at most, and no node of the"
    assert check_capacity(Resources(5, G), [node], capped).refusal.startswith(refusal)
    assert check_capacity(Resources(3, G), [node], capped).fits_now == (("viz-node002", 1),)
    # With two threads a core Slurm 24.11 gave jobs more than a limit of 3, and refused others.
    odd = replace(VIZ, max_cores_per_socket=3)
    assert check_capacity(Resources(5, G), [replace(node, cpus_per_core=2)], odd).undetermined


def test_several_partitions_are_judged_together() -> None:
    batch = Partition("batch", max_time_s=3600, max_cores_per_node=2, state="DOWN")
    both = Partition.combine("viz,batch", [VIZ, batch])
    assert both is not None
    assert (both.state, both.max_time_s, both.max_cores_per_node) == ("UP", None, None)
    found = check_capacity(Resources(2, G, 0, 7200), NODES, both)
    assert [name for name, _ in found.fits_now] == ["viz-node001", "viz-node002", "viz-node003"]
    assert found.candidates[-1] == "viz-node003"  # cpu001 takes an hour at most
    assert check_capacity(Resources(2, G, 0, 3600), NODES, both).candidates[-1] == "cpu001"
    for name in ("viz,nosuch", "viz,", "", ",viz"):
        assert Partition.combine(name, [VIZ, batch]) is None


@pytest.mark.parametrize(
    ("wanted", "node", "refusal"),
    [
        (Resources(1, G, 0, 3600), "", ""),
        (Resources(1, G, 0, 7200), "", "2 h requested, but partition low allows 1 h at most"),
        (
            Resources(1, 4 * G, 0, 60),
            "",
            "4.0 GiB requested, but partition low allows 2.0 GiB a node at most",
        ),
        (Resources(3, G, 0, 60), "", ""),  # two nodes: Slurm leaves out this partition
        (Resources(5, G, 0, 60), "", "5 cores requested, but partition low allows 2 a node"),
        (
            Resources(1, G, 0, 60),
            "viz-node003",
            "node viz-node003 is not in partition low: it has to be in each",
        ),
        (Resources(1, G, 0, 60), "viz-node002", ""),
    ],
)
@pytest.mark.parametrize("enforces_all", [True, False])
def test_where_the_limits_of_each_partition_are_enforced(
    enforces_all: bool, wanted: Resources, node: str, refusal: str
) -> None:
    """As Slurm 24.11 refused jobs with EnforcePartLimits=ALL."""
    low = Partition(
        "low",
        max_time_s=3600,
        max_memory_per_node_mib=2 * G,
        max_cores_per_node=2,
        nodes=("viz-node001", "viz-node002"),
    )
    parts = [replace(part, enforces_all=enforces_all) for part in (VIZ, low)]
    both = Partition.combine("viz,low", parts)
    nodes = [replace(n, partitions=("viz", "low")) for n in (SMALL, LARGE)]
    found = check_capacity(wanted, [*nodes, GPUS], both, node=node)
    assert found.refusal.startswith(refusal) if enforces_all else not found.refusal
    assert bool(found.refusal) == (enforces_all and bool(refusal))
    # One that takes no jobs is left out first.
    closed = Partition.combine("viz,low", [parts[0], replace(parts[1], state="DRAIN")])
    assert check_capacity(wanted, [*nodes, GPUS], closed, node=node).refusal == ""


def test_of_several_partitions_each_gives_what_it_has() -> None:
    short = Partition("short", max_time_s=3600, max_cores_per_node=6)
    capped = replace(VIZ, max_time_s=7200, max_cores_per_node=2)
    both = Partition.combine("viz,short", [capped, short])
    node = replace(LARGE, partitions=("viz", "short"))
    assert check_capacity(Resources(1, G, 0, 3600), [node], both).fits_now[0][1] == 6
    assert check_capacity(Resources(1, G, 0, 7200), [node], both).fits_now[0][1] == 2
    assert "partition viz,short allows 2 h at most" in (
        check_capacity(Resources(1, G, 0, 9000), [node], both).refusal
    )


NODE = st.builds(
    Node,
    name=st.sampled_from(["a", "b", "c"]),
    state=st.sampled_from(["IDLE", "MIXED", "DOWN"]),
    cores=st.integers(0, 64),
    cores_alloc=st.integers(0, 64),
    memory_mib=st.integers(0, 10**6),
    memory_alloc_mib=st.integers(0, 10**6),
    partitions=st.just(("viz",)),
)
WANTED = st.builds(
    Resources, cores=st.integers(1, 64), memory_mib=st.integers(1, 10**6), gpus=st.integers(0, 2)
)


@given(WANTED, st.lists(NODE, max_size=4, unique_by=lambda n: n.name))
def test_what_is_reported_to_fit_fits(wanted: Resources, nodes: list[Node]) -> None:
    found = check_capacity(wanted, nodes, VIZ)
    by_name = {n.name: n for n in nodes}
    for name, count in found.fits_now:
        node = by_name[name]
        assert node.usable
        assert count >= 1
        assert count * wanted.cores <= node.cores_free
        assert count * wanted.memory_mib <= node.memory_free_mib
    assert bool(found.refusal or found.undetermined) == (not found.candidates)
    assert bool(found.undetermined) == (not nodes)
    assert set(dict(found.fits_now)) <= set(found.candidates)
    assert found.text
    assert "\n" not in found.text
