"""Jobs that wait ahead of a session, and when it would start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.sessions.cluster_nodes import LARGE, VIZ, G
from vizdash.engines.slurm.reasons import describe_reason
from vizdash.model import (
    Job,
    JobState,
    Node,
    Partition,
    Resources,
)
from vizdash.model.job import PRIORITY, RESOURCES
from vizdash.sessions.capacity import CapacityVerdict, check_capacity, format_start
from vizdash.sessions.capacity_limits import waiting_ahead


def job(
    cores: int, node: str = "viz-node002", state: str = "RUNNING", partition: str = "viz"
) -> Job:
    return Job("7", "bob", "solve", JobState(state), partition=partition, node=node, cores=cores)


@pytest.mark.usefixtures("utc")
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
    assert format_start(now + later_s, now) == words


EIGHT = 1_800_000_000.0  # Friday 15 January 2027, 08:00 UTC
PLANNED = replace(LARGE, flags=("PLANNED",), state="MIXED", cores_alloc=4)


def waits(reason: str = RESOURCES, in_min: int | None = 60, **values: Any) -> Job:
    """A job that waits, with a start that is planned ``in_min`` minutes from EIGHT."""
    at = None if in_min is None else int(EIGHT) + in_min * 60
    made = Job("8", "bob", "solve", JobState.PENDING, "viz", reason, start_at=at, cores=8)
    return replace(made, **values)


def ahead(
    *jobs: Job, nodes: Sequence[Node] = (PLANNED,), minutes: int = 30, **rules: Any
) -> CapacityVerdict:
    partition = replace(VIZ, **rules)
    batch = Partition("batch", tier=2)
    low = Partition("low", tier=0)
    first = waiting_ahead(jobs, partition, (partition, batch, low))
    wanted = Resources(1, G, 0, minutes * 60)
    return check_capacity(wanted, nodes, partition, ahead=first, now=EIGHT)


@pytest.mark.usefixtures("utc")
def test_a_node_that_is_planned_for_a_waiting_job_takes_what_ends_before() -> None:
    assert ahead(waits()).fits_now == (("viz-node002", 4),)
    assert ahead(waits(), minutes=58).fits_now == (("viz-node002", 4),)
    found = ahead(waits(), minutes=61)
    assert (found.fits_now, found.undetermined, found.waits) == ((), "", False)
    assert found.text == "waiting jobs take viz-node002 from 09:00 on; up to 59 min starts now"
    assert found.text_with_start(int(EIGHT) + 7200, EIGHT).endswith("; starts about 10:00 (in 2 h)")
    # One that is due already leaves nothing.
    assert ahead(waits(in_min=0)).text == "waiting jobs take viz-node002 from 08:00 on"


def test_other_nodes_than_the_planned_one_are_free() -> None:
    other = replace(LARGE, name="viz-node003")
    assert ahead(waits(), nodes=(PLANNED, other), minutes=90).fits_now == (("viz-node003", 8),)


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
    assert found.undetermined == "only the scheduler knows: other jobs wait for viz-node002 already"
    assert found.waits


@pytest.mark.parametrize(
    "job",
    [
        waits(in_min=None, gres="gpu:1"),  # the node has no GPU
        waits(in_min=None, partition="low"),  # of a lower tier
        waits(in_min=None, partition="batch"),  # on other nodes
        waits(describe_reason("JobHeldUser"), None),
        waits(describe_reason("Dependency"), None),
        waits(describe_reason("QOSMaxJobsPerUserLimit"), None),
        waits(describe_reason("ReqNodeNotAvail, UnavailableNodes:viz-node009"), None),
        waits(in_min=None, state=JobState.RUNNING, node="viz-node002"),
    ],
)
def test_what_waits_for_something_else_keeps_no_node(job: Job) -> None:
    node = replace(LARGE, partitions=("viz", "low"))
    assert ahead(job, nodes=(node,)).fits_now == (("viz-node002", 8),)


def test_a_plan_of_a_job_that_is_not_visible_and_a_queue_without_backfill() -> None:
    message = "only the scheduler knows: other jobs wait for viz-node002 already"
    assert ahead().undetermined == message
    assert ahead(waits(), nodes=(LARGE,), backfills=False).undetermined == message
    assert ahead(*[waits()] * 101, nodes=(LARGE,)).undetermined == message
    # Of so many that ask for GPUs, others may not have been selected.
    assert ahead(*[waits(gres="gpu:1")] * 101, nodes=(LARGE,)).undetermined == message


def test_any_number_of_jobs_that_wait_for_other_nodes_keeps_no_node() -> None:
    """ "only the scheduler knows", on every cluster with a queue of its own beside this one's."""
    found = ahead(*[waits(in_min=None, partition="batch")] * 101, nodes=(LARGE,))
    assert found.fits_now == (("viz-node002", 8),)


def test_the_verdict_on_a_start_counts_waiting_jobs() -> None:
    waits = CapacityVerdict(candidates=("viz-node001", "viz-node002"))
    assert waits.waits
    assert waits.text_with_start(None, 0) == waits.text
    assert waits.text_with_start(60, 0).endswith("(in 1 min), on viz-node001 or viz-node002")
    for other in (
        CapacityVerdict(fits_now=(("a", 1),)),
        CapacityVerdict(refusal="no"),
        CapacityVerdict(candidates=("a",), unavailable="a is drained"),
    ):
        assert not other.waits
    assert (
        CapacityVerdict(fits_now=(("a", 1),)).text_with_start(60, 0)
        == CapacityVerdict(fits_now=(("a", 1),)).text
    )
