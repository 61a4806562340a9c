"""What fits now, and what never will: the numbers, and what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizdash.engines.slurm.reasons import PRIORITY, RESOURCES, reason_words
from vizdash.model import (
    Gres,
    Job,
    JobState,
    Node,
    Partition,
    Reservation,
    Resources,
    SessionRequest,
)
from vizdash.sessions.ahead import waiting_ahead
from vizdash.sessions.fit import Fit, fit, starts
from vizdash.sessions.rawargs import asked, undecided

G = 1024
#: The lab's cluster: the legacy node, and two larger ones, one of them with GPUs.
SMALL = Node("viz-node001", "IDLE", cores=4, memory_mib=3584, partitions=("viz",))
LARGE = Node("viz-node002", "IDLE", cores=8, memory_mib=16 * G, partitions=("viz",))
GPUS = replace(LARGE, name="viz-node003", gres=(Gres("gpu", "a100", 2),))
OTHER = replace(LARGE, name="cpu001", cores=64, partitions=("batch",))
NODES = (SMALL, LARGE, GPUS, OTHER)
VIZ = Partition("viz", default=True)


def judged(wanted: Resources, *nodes: Node, partition: Partition = VIZ, node: str = "") -> Fit:
    return fit(wanted, nodes or NODES, partition, node=node)


def test_how_many_fit_now_and_where() -> None:
    found = judged(Resources(2, 2 * G))
    assert found.now == (("viz-node001", 1), ("viz-node002", 4), ("viz-node003", 4))
    assert found.words == ("9 sessions of this size fit now: viz-node001, viz-node002, viz-node003")
    one = judged(Resources(8, 16 * G, 2))
    assert one.words == "1 session of this size fits now: viz-node003"


def test_four_gib_on_the_legacy_node_is_refused_with_the_numbers() -> None:
    found = judged(Resources(2, 4 * G), node="viz-node001")
    assert found.refusal == (
        "4096 MiB asked, but viz-node001 has 3584 MiB; viz-node002, viz-node003 would fit"
    )
    assert found.mend == "ask for less, or leave the node open"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Resources(9, G), "9 cores asked, but viz-node003 has 8, and no node"),
        (Resources(1, 17 * G), "17408 MiB asked, but viz-node003 has 16384 MiB, and no node"),
        (Resources(1, G, 3), "3 GPUs asked, but viz-node003 has 2, and no node"),
        (Resources(9, 17 * G), "17408 MiB asked, but viz-node003 has 16384 MiB; 9 cores asked"),
    ],
)
def test_what_no_node_has(wanted: Resources, words: str) -> None:
    assert words in judged(wanted).refusal


def test_full_nodes_are_waited_for() -> None:
    full = replace(LARGE, state="ALLOCATED", cores_alloc=8)
    found = judged(Resources(2, 4 * G), SMALL, full)
    assert (found.now, found.refusal) == ((), "")
    assert found.words == "nothing free now: it waits for viz-node002"


def test_a_drained_node_is_named_with_its_reason() -> None:
    drained = replace(LARGE, flags=("DRAIN",), reason="fan [root@2025-10-01T10:00:00]")
    found = judged(Resources(2, 4 * G), drained)
    assert found.words == (
        "nothing free now: it waits for viz-node002 (viz-node002 is drained: fan)"
    )


def test_a_partition_that_is_down_is_named() -> None:
    found = judged(Resources(1, G), partition=replace(VIZ, state="DOWN"))
    assert found.now == ()
    assert "(partition viz is down)" in found.words


@pytest.mark.parametrize(
    ("limits", "wanted", "words"),
    [
        ({"max_time_s": 3600}, Resources(1, G, 0, 7200), "2 h asked, but partition viz allows 1 h"),
        ({"max_memory_per_node_mib": 512}, Resources(1, G), "allows 512 MiB a node at most"),
        ({"max_cores_per_node": 1}, Resources(2, G), "allows 1 a node at most"),
    ],
)
def test_the_partitions_limits(limits: dict[str, int], wanted: Resources, words: str) -> None:
    found = judged(wanted, partition=replace(VIZ, **limits))  # type: ignore[arg-type]
    assert words in found.refusal
    assert found.mend


def test_a_node_that_is_not_of_this_partition() -> None:
    assert "node cpu001 is not in partition viz, which has viz-node001" in (
        judged(Resources(1, G), node="cpu001").refusal
    )


def test_nodes_without_the_image() -> None:
    without = frozenset({"viz-node002", "viz-node003"})
    found = fit(Resources(2, 4 * G), NODES, VIZ, without=without)
    assert (found.mend, "has the image" in found.refusal) == ("image", True)
    one = fit(Resources(1, G), NODES, VIZ, node="viz-node002", without=without)
    assert one.refusal == "node viz-node002 has no such image"
    assert fit(Resources(1, G), NODES, VIZ, without=without).ever == ("viz-node001",)


def test_a_partition_without_nodes_and_many_names() -> None:
    assert "has no nodes" in judged(Resources(), OTHER).refusal
    many = [replace(LARGE, name=f"n{i:02}") for i in range(9)]
    assert judged(Resources(8, G), *many).words.endswith("n05 and 3 more")


def test_a_reservation_is_no_bar_to_its_own_jobs() -> None:
    mine = replace(LARGE, flags=("RESERVED",))
    drained = replace(GPUS, flags=("DRAIN", "RESERVED"))
    nodes = (SMALL, mine, drained)
    assert fit(Resources(8, G), nodes, VIZ).words == (
        "nothing free now: it waits for viz-node002, viz-node003 "
        "(viz-node002 is reserved; viz-node003 is drained)"
    )
    found = fit(Resources(1, G), nodes, VIZ, reservation="course")
    assert found.now == (("viz-node002", 8),)  # the others are in no reservation that has begun
    upkeep = replace(LARGE, flags=("MAINTENANCE", "RESERVED"))
    assert fit(Resources(8, G), [upkeep], VIZ, reservation="upkeep").now


def test_of_a_reservation_without_room_only_the_scheduler_knows() -> None:
    full = replace(LARGE, state="ALLOCATED", flags=("RESERVED",), cores_alloc=8)
    found = fit(Resources(1, G), [SMALL, full], VIZ, reservation="course")
    assert (found.now, found.refusal, found.waits) == ((), "", True)
    assert found.words == "only the scheduler knows when reservation 'course' has room"
    assert found.with_start(None, 0) == found.words
    assert found.with_start(60, 0).startswith("starts about")
    down = fit(Resources(1, G), [full], replace(VIZ, state="DOWN"), reservation="course")
    assert "(partition viz is down)" in down.words


def test_a_constraint_that_is_a_name_is_held_against_the_nodes() -> None:
    big = replace(LARGE, features=("big", "ib"))
    found = fit(Resources(1, G), [SMALL, big, GPUS], VIZ, constraint="ib")
    assert (found.now, found.ever) == ((("viz-node002", 8),), ("viz-node002",))


@pytest.mark.parametrize("constraint", ["big|ib", "big&ib", "[a*2&b]", "!big", "big,ib", "nosuch"])
def test_of_any_other_constraint_only_the_scheduler_knows(constraint: str) -> None:
    big = replace(LARGE, features=("big", "ib"))
    found = fit(Resources(1, G), [SMALL, big], VIZ, constraint=constraint)
    assert (found.now, found.refusal, found.waits) == ((), "", True)
    assert found.words == (
        f"only the scheduler knows which nodes meet the constraint {constraint!r}"
    )
    assert fit(Resources(99, G), [SMALL, big], VIZ, constraint=constraint).refusal


@pytest.mark.parametrize(
    ("extra", "told"),
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
def test_raw_arguments_win_over_the_field(extra: tuple[str, ...], told: str) -> None:
    request = SessionRequest("desktop", constraint="ib", reservation="r", extra=extra)
    assert asked(request, "constraint") == told
    assert asked(request, "reservation") == "r"


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
    found = fit(Resources(1, G), [LARGE], capped, jobs=jobs)
    assert dict(found.now).get("viz-node002", 0) == count


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
    found = fit(Resources(1, G), [replace(LARGE, cores_alloc=held)], capped, jobs=jobs)
    assert dict(found.now).get("viz-node002", 0) == (count or 0)
    told = "only the scheduler knows what partition viz has left of its limit on"
    assert found.untold == (f"{told} viz-node002" if count is None else "")


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
    found = fit(Resources(1, G), [node], capped, jobs=jobs)
    assert dict(found.now).get("viz-node002", 0) == (count or 0)
    assert bool(found.untold) == (count is None)


def test_a_limit_of_each_socket_is_for_one_job_too() -> None:
    capped = replace(VIZ, max_cores_per_socket=2)
    node = replace(LARGE, cpus_per_socket=4)
    refusal = "5 cores asked, but partition viz allows 2 a socket at most, and no node of the"
    assert fit(Resources(5, G), [node], capped).refusal.startswith(refusal)
    assert fit(Resources(3, G), [node], capped).now == (("viz-node002", 1),)
    # With two threads a core Slurm 24.11 gave jobs more than a limit of 3, and refused others.
    odd = replace(VIZ, max_cores_per_socket=3)
    assert fit(Resources(5, G), [replace(node, cpus_per_core=2)], odd).untold


def test_several_partitions_are_judged_together() -> None:
    batch = Partition("batch", max_time_s=3600, max_cores_per_node=2, state="DOWN")
    both = Partition.called("viz,batch", [VIZ, batch])
    assert both is not None
    assert (both.state, both.max_time_s, both.max_cores_per_node) == ("UP", None, None)
    found = fit(Resources(2, G, 0, 7200), NODES, both)
    assert [name for name, _ in found.now] == ["viz-node001", "viz-node002", "viz-node003"]
    assert found.ever[-1] == "viz-node003"  # cpu001 takes an hour at most
    assert fit(Resources(2, G, 0, 3600), NODES, both).ever[-1] == "cpu001"
    for name in ("viz,nosuch", "viz,", "", ",viz"):
        assert Partition.called(name, [VIZ, batch]) is None


def test_of_several_partitions_each_gives_what_it_has() -> None:
    short = Partition("short", max_time_s=3600, max_cores_per_node=6)
    capped = replace(VIZ, max_time_s=7200, max_cores_per_node=2)
    both = Partition.called("viz,short", [capped, short])
    node = replace(LARGE, partitions=("viz", "short"))
    assert fit(Resources(1, G, 0, 3600), [node], both).now[0][1] == 6
    assert fit(Resources(1, G, 0, 7200), [node], both).now[0][1] == 2
    assert "partition viz,short allows 2 h at most" in (
        fit(Resources(1, G, 0, 9000), [node], both).refusal
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
def test_what_is_said_to_fit_does(wanted: Resources, nodes: list[Node]) -> None:
    found = fit(wanted, nodes, VIZ)
    by_name = {n.name: n for n in nodes}
    for name, count in found.now:
        node = by_name[name]
        assert node.usable
        assert count >= 1
        assert count * wanted.cores <= node.cores_free
        assert count * wanted.memory_mib <= node.memory_free_mib
    assert bool(found.refusal or found.untold) == (not found.ever)
    assert bool(found.untold) == (not nodes)
    assert set(dict(found.now)) <= set(found.ever)
    assert found.words
    assert "\n" not in found.words


@pytest.fixture
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_utc")
@pytest.mark.parametrize(
    ("later_s", "words"),
    [
        (35 * 60 + 5, "starts about 08:35 (in 35 min)"),
        (16 * 3600 - 1, "starts about 23:59 (in 16 h)"),
        (16 * 3600, "starts about Sat 16 Jan, 00:00 (in 16 h)"),
        (20, "starts about 08:00 (any moment now)"),
        (-90, "starts about 07:58 (any moment now)"),
    ],
)
def test_when_it_starts_in_words(later_s: int, words: str) -> None:
    now = 1_800_000_000  # Friday 15 January 2027, 08:00 UTC
    assert starts(now + later_s, now) == words


EIGHT = 1_800_000_000.0  # Friday 15 January 2027, 08:00 UTC
PLANNED = replace(LARGE, flags=("PLANNED",), state="MIXED", cores_alloc=4)


def waits(reason: str = RESOURCES, in_min: int | None = 60, **values: Any) -> Job:
    """A job that waits, with a start that is planned ``in_min`` minutes from EIGHT."""
    at = None if in_min is None else int(EIGHT) + in_min * 60
    made = Job("8", "bob", "solve", JobState.PENDING, "viz", reason, start_at=at, cores=8)
    return replace(made, **values)


def ahead(*jobs: Job, nodes: Sequence[Node] = (PLANNED,), minutes: int = 30, **rules: Any) -> Fit:
    partition = replace(VIZ, **rules)
    batch = Partition("batch", tier=2)
    low = Partition("low", tier=0)
    first = waiting_ahead(jobs, partition, (partition, batch, low))
    wanted = Resources(1, G, 0, minutes * 60)
    return fit(wanted, nodes, partition, ahead=first, now=EIGHT)


@pytest.mark.usefixtures("_utc")
def test_a_node_that_is_planned_for_a_waiting_job_takes_what_ends_before() -> None:
    assert ahead(waits()).now == (("viz-node002", 4),)
    assert ahead(waits(), minutes=58).now == (("viz-node002", 4),)
    found = ahead(waits(), minutes=61)
    assert (found.now, found.untold, found.waits) == ((), "", False)
    assert found.words == "waiting jobs take viz-node002 from 09:00 on; up to 59 min starts now"
    assert found.with_start(int(EIGHT) + 7200, EIGHT).endswith("; starts about 10:00 (in 2 h)")
    # One that is due already leaves nothing.
    assert ahead(waits(in_min=0)).words == "waiting jobs take viz-node002 from 08:00 on"


def test_other_nodes_than_the_planned_one_are_free() -> None:
    other = replace(LARGE, name="viz-node003")
    assert ahead(waits(), nodes=(PLANNED, other), minutes=90).now == (("viz-node003", 8),)


@pytest.mark.parametrize(
    "job",
    [
        waits(PRIORITY, None),
        waits("", None),
        waits(in_min=None, partition="batch"),
        waits(in_min=None, partition="unknown,viz"),
    ],
)
def test_of_what_is_not_planned_yet_only_the_scheduler_knows(job: Job) -> None:
    node = replace(LARGE, partitions=("viz", "batch", "low"))
    found = ahead(job, nodes=(node,))
    assert found.untold == "only the scheduler knows: other jobs wait for viz-node002 already"
    assert found.waits


@pytest.mark.parametrize(
    "job",
    [
        waits(in_min=None, gres="gpu:1"),  # the node has no GPU
        waits(in_min=None, partition="low"),  # of a lower tier
        waits(in_min=None, partition="batch"),  # on other nodes
        waits(reason_words("JobHeldUser"), None),
        waits(reason_words("Dependency"), None),
        waits(reason_words("QOSMaxJobsPerUserLimit"), None),
        waits(reason_words("ReqNodeNotAvail, UnavailableNodes:viz-node009"), None),
        waits(in_min=None, state=JobState.RUNNING, node="viz-node002"),
    ],
)
def test_what_waits_for_something_else_keeps_no_node(job: Job) -> None:
    node = replace(LARGE, partitions=("viz", "low"))
    assert ahead(job, nodes=(node,)).now == (("viz-node002", 8),)


def test_a_plan_of_a_job_that_is_not_visible_and_a_queue_without_backfill() -> None:
    told = "only the scheduler knows: other jobs wait for viz-node002 already"
    assert ahead().untold == told
    assert ahead(waits(), nodes=(LARGE,), backfills=False).untold == told
    assert ahead(*[waits()] * 101, nodes=(LARGE,)).untold == told


def test_a_start_is_told_of_what_waits() -> None:
    waits = Fit(ever=("viz-node001", "viz-node002"))
    assert waits.waits
    assert waits.with_start(None, 0) == waits.words
    assert waits.with_start(60, 0).endswith("(in 1 min), on viz-node001 or viz-node002")
    for other in (Fit(now=(("a", 1),)), Fit(refusal="no"), Fit(ever=("a",), away="a is drained")):
        assert not other.waits
    assert Fit(now=(("a", 1),)).with_start(60, 0) == Fit(now=(("a", 1),)).words


# ---- what Slurm gives besides what is asked for

#: Four cores of two threads each, in two sockets.
SMT = replace(LARGE, cpus_per_core=2, cpus_per_socket=4)


@pytest.mark.parametrize(
    ("unit", "cores", "count"),
    [
        ("core", 1, 4),  # not 8: a core is given whole
        ("core", 3, 2),
        ("cpu", 1, 4),
        ("socket", 1, 2),
        ("node", 1, 1),
    ],
)
def test_whole_cores_sockets_and_nodes_are_given(unit: str, cores: int, count: int) -> None:
    found = fit(Resources(cores, G), [SMT], replace(VIZ, unit=unit))
    assert found.now == (("viz-node002", count),)
    assert found.refusal == ""


def test_a_node_that_is_given_whole_must_be_empty() -> None:
    busy = replace(LARGE, state="MIXED", cores_alloc=1)
    whole = replace(VIZ, unit="node")
    assert fit(Resources(1, G), [busy], whole).words == (
        "nothing free now: it waits for viz-node002"
    )
    assert fit(Resources(1, G), [busy, GPUS], whole).now == (("viz-node003", 1),)


def test_a_limit_of_memory_per_cpu_raises_the_cores() -> None:
    capped = replace(VIZ, max_memory_per_cpu_mib=G)
    assert fit(Resources(1, 3 * G), [LARGE], capped).now == (("viz-node002", 2),)
    assert fit(Resources(1, 3 * G), [SMT], capped).now == (("viz-node002", 2),)
    assert fit(Resources(1, 9 * G), [LARGE], capped).refusal == (
        "it takes 9 cores at 1024 MiB a core at most, but viz-node002 has 8, "
        "and no node of the partition has more"
    )


def test_memory_by_core_is_rounded_up_and_counts_for_every_core_that_is_given() -> None:
    per_core = fit(Resources(3, 8 * G), [SMT], VIZ, memory_request="mem-per-cpu")
    assert per_core.now == (("viz-node002", 1),)  # 4 CPUs of 2731 MiB
    by_cpu = replace(VIZ, unit="cpu")
    found = fit(Resources(3, 8 * G), [SMT], by_cpu, memory_request="mem-per-cpu")
    assert found.now == (("viz-node002", 1),)  # 3 of 2731 MiB: 8193 of 16384 MiB


def test_where_no_memory_is_asked_for_the_sites_default_counts() -> None:
    def count(**rules: int) -> int:
        partition = replace(VIZ, **rules)  # type: ignore[arg-type]
        found = fit(Resources(2, 99 * G), [LARGE], partition, memory_request="none")
        return sum(n for _, n in found.now)

    assert count() == 1  # the node's whole memory
    assert count(default_memory_per_cpu_mib=4 * G) == 2
    assert count(default_memory_per_node_mib=8 * G) == 2
    assert count(default_memory_per_cpu_mib=G) == 4


def test_memory_that_is_not_tracked_limits_nothing() -> None:
    """RealMemory is 1 MiB by default: "2048 MiB asked, but viz-node003 has 1 MiB"."""
    untracked = replace(LARGE, memory_mib=1, memory_tracked=False)
    small = replace(VIZ, max_memory_per_node_mib=1, max_memory_per_cpu_mib=1)
    found = fit(Resources(2, 2 * G), [untracked], small)
    assert found.now == (("viz-node002", 4),)


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"shared": True}, "jobs share cores in partition viz"),
        ({"preempts": True}, "it may push other jobs aside"),
        ({"one_user": True}, "partition viz is a node a user"),
    ],
)
def test_what_only_the_scheduler_knows_is_not_promised(rules: dict[str, bool], told: str) -> None:
    full = replace(LARGE, state="ALLOCATED", cores_alloc=8)
    found = fit(Resources(1, G), [full], replace(VIZ, **rules))  # type: ignore[arg-type]
    assert (found.now, found.waits) == ((), True)
    assert found.words == f"only the scheduler knows: {told}"


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ((), ""),
        (("--mail-type=END", "--comment", "--exclusive", "-J", "x", "--no-requeue"), ""),
        (("-C", "big", "--reservation=course", "-Ascience"), ""),
        (("--exclusive",), "--exclusive"),
        (("--exclusive=user",), "--exclusive"),
        (("--comment=x", "-w", "n1"), "-w"),
        (("-pshort",), "-pshort"),
        (("--mem=1G",), "--mem"),
        (("--excl",), "--excl"),  # getopt_long(3) takes any beginning that is one option's alone
        (("--begin=now+1hour",), "--begin"),
        (("script.sh",), "script.sh"),
    ],
)
def test_raw_arguments_that_vizdash_does_not_judge(extra: tuple[str, ...], told: str) -> None:
    assert undecided(extra) == told


# ---- reservations

NOW = time.mktime((2026, 3, 2, 15, 28, 0, 0, 0, -1))
MAINTENANCE = Reservation(
    "maint",
    start_at=int(NOW) + 58 * 60 + 10,
    end_at=int(NOW) + 178 * 60,
    nodes=("viz-node001", "viz-node002", "viz-node003"),
    flags=("MAINT", "IGNORE_JOBS"),
    users=("root",),
)
BOBS = Reservation("bobs", int(NOW) - 60, int(NOW) + 138 * 60, ("viz-node001",), users=("bob",))


def with_(*reservations: Reservation) -> list[Node]:
    return [
        replace(node, reservations=tuple(r for r in reservations if node.name in r.nodes))
        for node in NODES[:3]
    ]


def reserved(time_s: int, *reservations: Reservation, **asked_for: str) -> Fit:
    size = Resources(2, 2 * G, 0, time_s)
    return fit(size, with_(*reservations), VIZ, now=NOW, **asked_for)  # type: ignore[arg-type]


def test_a_session_that_would_run_into_maintenance_does_not_fit_now() -> None:
    """ "9 sessions of this size fit now", and then it waited for three hours."""
    found = reserved(7200, MAINTENANCE)
    assert (found.now, found.waits) == ((), False)
    assert found.words == "maintenance from 16:26 to 18:26; up to 58 min starts now"
    assert sum(n for _, n in reserved(58 * 60, MAINTENANCE).now) == 9
    assert reserved(58 * 60 + 1, MAINTENANCE).now == ()


def test_nodes_that_no_maintenance_has_are_taken() -> None:
    some = replace(MAINTENANCE, nodes=("viz-node002", "viz-node003"))
    assert reserved(7200, some).now == (("viz-node001", 1),)
    full = replace(SMALL, state="ALLOCATED", cores_alloc=4)
    nodes = [full, *with_(some)[1:]]
    assert fit(Resources(2, 2 * G), nodes, VIZ, now=NOW).words == (
        "viz-node002, viz-node003 have maintenance from 16:26 to 18:26; up to 58 min starts now"
    )


def test_a_node_that_is_reserved_for_others_is_named_with_whom_and_until_when() -> None:
    """ "no node has the cores, memory and GPUs asked for (ask for less)"."""
    found = reserved(600, BOBS, node="viz-node001")
    assert found.words == "viz-node001 is reserved for bob until 17:46"
    assert found.refusal == ""
    assert [name for name, _ in reserved(600, BOBS).now] == ["viz-node002", "viz-node003"]


def test_a_reservation_that_is_asked_for_lets_in() -> None:
    found = reserved(600, BOBS, reservation="bobs")
    assert found.now == (("viz-node001", 1),)
    later = replace(BOBS, start_at=int(NOW) + 3600)
    assert "reservation 'bobs' begins at 16:28" in reserved(600, later, reservation="bobs").words


def test_a_reservation_of_some_cores_leaves_the_others() -> None:
    six = replace(BOBS, nodes=("viz-node002",), cores=(("viz-node002", 6),))
    assert reserved(600, six, node="viz-node002").now == (("viz-node002", 1),)
    all_ = replace(six, cores=(("viz-node002", 7),))
    assert reserved(600, all_, node="viz-node002").words == (
        "only the scheduler knows which cores reservation 'bobs' leaves"
    )


def test_a_reservation_that_takes_whom_it_is_for_is_the_schedulers_to_judge() -> None:
    magnet = replace(BOBS, flags=("MAGNETIC",))
    assert "only the scheduler knows" in reserved(600, magnet, node="viz-node001").words


def test_a_node_of_a_reservation_that_is_not_shown_is_away() -> None:
    hidden = replace(LARGE, flags=("RESERVED",))
    found = fit(Resources(2, G), [hidden], VIZ, now=NOW)
    assert (found.now, found.away) == ((), "viz-node002 is reserved")


@pytest.mark.parametrize("node", ["", "viz-node001"])
def test_where_nodes_are_private_only_the_scheduler_knows(node: str) -> None:
    found = fit(Resources(2, 2 * G), (), VIZ, node=node)
    assert (found.now, found.refusal) == ((), "")
    assert found.words == "only the scheduler knows: this cluster keeps its nodes private"
    assert found.waits
    over = fit(Resources(2, 2 * G, time_s=7200), (), replace(VIZ, max_time_s=3600))
    assert "1 h at most" in over.refusal
