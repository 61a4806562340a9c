"""What Slurm allocates beyond the request: whole cores, sockets, nodes, memory per core."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sessions.cluster_nodes import GPUS, LARGE, VIZ, G
from vizdash.model import Gres, Resources
from vizdash.sessions.capacity import check_capacity
from vizdash.sessions.sbatch_arguments import unjudged_option

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
    found = check_capacity(Resources(cores, G), [SMT], replace(VIZ, unit=unit))
    assert found.fits_now == (("viz-node002", count),)
    assert found.refusal == ""


def test_a_node_that_is_given_whole_must_be_empty() -> None:
    busy = replace(LARGE, state="MIXED", cores_alloc=1)
    whole = replace(VIZ, unit="node")
    assert check_capacity(Resources(1, G), [busy], whole).text == (
        "nothing free now: it waits for viz-node002"
    )
    assert check_capacity(Resources(1, G), [busy, GPUS], whole).fits_now == (("viz-node003", 1),)


def test_a_node_where_a_job_is_still_ending_takes_none_yet() -> None:
    """Its cores count as free already, and Slurm gives them to nobody until the job has ended."""
    ending = replace(LARGE, flags=("COMPLETING",))
    found = check_capacity(Resources(2, G), [ending], VIZ)
    assert (found.fits_now, found.refusal) == ((), "")
    assert found.text == (
        "nothing free now: it waits for viz-node002 (a job is still ending on viz-node002)"
    )
    assert check_capacity(Resources(2, G), [ending, GPUS], VIZ).fits_now == (("viz-node003", 4),)
    # Of a requested node, Slurm's main scheduler may give what is free, backfill does not.
    requested = check_capacity(Resources(2, G), [ending], VIZ, node="viz-node002")
    assert requested.undetermined == (
        "only the scheduler knows: a job is still ending on viz-node002"
    )
    full = replace(ending, state="ALLOCATED", cores_alloc=8)
    assert check_capacity(Resources(2, G), [full], VIZ).unavailable == ""


def test_gpus_of_which_jobs_have_parts_are_not_promised() -> None:
    """``shard`` and ``mps`` do not count as allocated GPUs, and their GPUs are not given whole."""
    shards = replace(GPUS, gres=(*GPUS.gres, Gres("shard", "a100", 80, used=40)))
    found = check_capacity(Resources(1, G, 1), [shards], VIZ)
    assert found.text == "only the scheduler knows: jobs have parts of GPUs of viz-node003"
    one = replace(GPUS, gres=(*GPUS.gres, Gres("mps", "a100", 200, used=1)))
    assert check_capacity(Resources(1, G, 1), [one], VIZ).fits_now == (("viz-node003", 1),)
    assert check_capacity(Resources(1, G), [shards], VIZ).fits_now == (("viz-node003", 8),)


def test_a_limit_of_memory_per_cpu_raises_the_cores() -> None:
    capped = replace(VIZ, max_memory_per_cpu_mib=G)
    assert check_capacity(Resources(1, 3 * G), [LARGE], capped).fits_now == (("viz-node002", 2),)
    assert check_capacity(Resources(1, 3 * G), [SMT], capped).fits_now == (("viz-node002", 2),)
    assert check_capacity(Resources(1, 9 * G), [LARGE], capped).refusal == (
        "it takes 9 cores at 1.0 GiB a core at most, but viz-node002 has 8, "
        "and no node of the partition has more"
    )


def test_memory_by_core_is_rounded_up_and_counts_for_every_core_that_is_given() -> None:
    per_core = check_capacity(Resources(3, 8 * G), [SMT], VIZ, memory_request="mem-per-cpu")
    assert per_core.fits_now == (("viz-node002", 1),)  # 4 CPUs of 2731 MiB
    by_cpu = replace(VIZ, unit="cpu")
    found = check_capacity(Resources(3, 8 * G), [SMT], by_cpu, memory_request="mem-per-cpu")
    assert found.fits_now == (("viz-node002", 1),)  # 3 of 2731 MiB: 8193 of 16384 MiB


def test_where_no_memory_is_requested_the_sites_default_counts() -> None:
    def count(**rules: int) -> int:
        partition = replace(VIZ, **rules)  # type: ignore[arg-type]
        found = check_capacity(Resources(2, 99 * G), [LARGE], partition, memory_request="none")
        return sum(n for _, n in found.fits_now)

    assert count() == 1  # the node's whole memory
    assert count(default_memory_per_cpu_mib=4 * G) == 2
    assert count(default_memory_per_node_mib=8 * G) == 2
    assert count(default_memory_per_cpu_mib=G) == 4


def test_memory_that_is_not_tracked_limits_nothing() -> None:
    """RealMemory is 1 MiB by default: "2.0 GiB requested, but viz-node003 has <0.1 GiB"."""
    untracked = replace(LARGE, memory_mib=1, memory_tracked=False)
    small = replace(VIZ, max_memory_per_node_mib=1, max_memory_per_cpu_mib=1)
    found = check_capacity(Resources(2, 2 * G), [untracked], small)
    assert found.fits_now == (("viz-node002", 4),)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"shared": True}, "jobs share cores in partition viz"),
        ({"preempts": True}, "it may preempt other jobs"),
        ({"one_user": True}, "partition viz gives each user whole nodes"),
    ],
)
def test_what_only_the_scheduler_knows_is_not_promised(
    rules: dict[str, bool], expected: str
) -> None:
    full = replace(LARGE, state="ALLOCATED", cores_alloc=8)
    found = check_capacity(Resources(1, G), [full], replace(VIZ, **rules))  # type: ignore[arg-type]
    assert (found.fits_now, found.waits) == ((), True)
    assert found.text == f"only the scheduler knows: {expected}"


@pytest.mark.parametrize(
    ("extra", "expected"),
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
def test_raw_arguments_that_vizdash_does_not_judge(extra: tuple[str, ...], expected: str) -> None:
    assert unjudged_option(extra) == expected


#: Two sockets of four cores with two threads and a GPU, for which one core is restricted.
RESTRICTED = replace(
    GPUS, cores=16, cpus_per_core=2, cpus_per_socket=8, gpu_cores=2, cores_per_gpu=1
)


@pytest.mark.parametrize(
    ("cores", "gpus", "most"), [(12, 0, 0), (13, 0, 12), (14, 1, 0), (15, 1, 14), (16, 2, 0)]
)
def test_cores_for_jobs_with_gpus_only(cores: int, gpus: int, most: int) -> None:
    """As Slurm 24.11 decides with RestrictedCoresPerGPU=1(0,4)."""
    found = check_capacity(Resources(cores, G, gpus), [RESTRICTED], VIZ)
    if not most:
        assert found.fits_now == (("viz-node003", 1),)
        return
    with_ = "1 GPU" if gpus else "no GPU"
    assert found.refusal.startswith(
        f"{cores} cores requested, but viz-node003 has {most} for a job with {with_}"
    )


@pytest.mark.parametrize(
    ("cores", "gpus", "count"),
    [
        (8, 0, 1),
        (10, 0, None),  # the job has one of those cores, or none
        (12, 0, 0),
        (2, 0, 4),
        (10, 1, 1),
        (12, 1, None),
        (14, 1, 0),
    ],
)
def test_which_cores_a_job_with_a_gpu_has_is_not_shown(
    cores: int, gpus: int, count: int | None
) -> None:
    used = (Gres("gpu", "a100", 2, 1),)
    busy = replace(RESTRICTED, state="MIXED", cores_alloc=4, gres=used)
    found = check_capacity(Resources(cores, G, gpus), [busy], VIZ)
    assert dict(found.fits_now).get("viz-node003", 0) == (count or 0)
    message = "only the scheduler knows: some cores of viz-node003 are for jobs with GPUs"
    assert found.undetermined == (message if count is None else "")


@given(
    st.integers(1, 4), st.integers(0, 4), st.integers(0, 16), st.integers(0, 2), st.integers(1, 8)
)
def test_cores_for_gpu_jobs_are_never_promised_to_others(
    per_gpu: int, gpu_cores: int, alloc: int, used: int, wanted: int
) -> None:
    gres = (Gres("gpu", "", 2, used),)
    node = replace(
        LARGE, cores=16, cores_alloc=alloc, gres=gres, gpu_cores=gpu_cores, cores_per_gpu=per_gpu
    )
    found = check_capacity(Resources(wanted, 1), [node], VIZ)
    count = dict(found.fits_now).get(node.name, 0)
    assert count * wanted <= max(0, 16 - gpu_cores - alloc) or alloc > 16 - gpu_cores
    assert count * wanted <= 16 - alloc
