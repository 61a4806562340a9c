"""A session that waits for a reservation names it and its end."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from vizdash.engines.slurm.reasons import MAINTENANCE, MAYBE_RESERVED, describe_reason
from vizdash.model import Job, JobState, Node, Reservation
from vizdash.sessions.pending_reasons import ReservedNode, describe_reservations, explain_pending

NOW = time.mktime((2026, 3, 2, 15, 28, 0, 0, 0, -1))
MAINT = Reservation(
    "maint", int(NOW) + 58 * 60 + 10, int(NOW) + 178 * 60, ("n1", "n2"), flags=("MAINT",)
)
BOBS = Reservation("bobs", int(NOW) - 60, int(NOW) + 138 * 60, ("n1",), users=("bob", "-eve"))
WAITS = Job("7", "alice", "x", JobState.PENDING, "viz", MAINTENANCE, time_limit_s=7200)


def nodes(*reservations: Reservation) -> list[Node]:
    return [
        Node(
            name,
            "IDLE",
            cores=4,
            memory_mib=1024,
            partitions=("viz",),
            reservations=tuple(r for r in reservations if name in r.nodes),
        )
        for name in ("n1", "n2")
    ]


def reason(job: Job, *reservations: Reservation) -> str:
    (found,) = explain_pending([job], nodes(*reservations), NOW)
    return found.reason


def test_maintenance() -> None:
    message = "maintenance from 16:26 to 18:26; up to 58 min starts now"
    assert reason(WAITS, MAINT) == message
    assert reason(replace(WAITS, time_limit_s=None), MAINT) == message
    assert reason(WAITS, MAINT, BOBS) == message, "Slurm says that it is the maintenance"


def test_a_reservation_that_may_be_the_reason() -> None:
    maybe = replace(WAITS, reason=MAYBE_RESERVED)
    message = "n1 is reserved for bob until 17:46"
    assert reason(maybe, BOBS) == f"{MAYBE_RESERVED}: {message}"
    both = replace(BOBS, nodes=("n1", "n2"))
    assert reason(maybe, both) == "n1, n2 are reserved for bob until 17:46"


def test_a_reservation_beside_nodes_that_are_down() -> None:
    """Slurm names those of the whole partition, though the session waits for a reserved one."""
    maybe = replace(WAITS, reason=describe_reason("ReqNodeNotAvail, UnavailableNodes:n[2-3]"))
    assert reason(maybe, BOBS) == (
        "a node it needs is down, drained or reserved: n[2-3] down or drained; "
        "n1 is reserved for bob until 17:46"
    )
    assert reason(maybe, replace(BOBS, nodes=("n7",))) == maybe.reason


@pytest.mark.parametrize(
    "job",
    [
        replace(WAITS, reason="waiting for free cores, memory or GPUs"),
        replace(WAITS, state=JobState.RUNNING),
        replace(WAITS, partition="other"),
        replace(WAITS, time_limit_s=600),
    ],
)
def test_what_does_not_wait_for_it_is_left_alone(job: Job) -> None:
    assert reason(job, MAINT) == job.reason


def test_who_may_use_it() -> None:
    def whom(**names: tuple[str, ...]) -> str:
        return replace(BOBS, users=(), **names).owners  # type: ignore[arg-type]

    assert BOBS.owners == "bob"
    assert whom(accounts=("science",)) == "account science"
    assert whom(groups=("a", "b")) == "groups a, b"
    assert whom() == ""


def test_times_of_other_days_have_their_day() -> None:
    tomorrow = replace(MAINT, start_at=MAINT.start_at + 86400, end_at=MAINT.end_at + 86400)
    assert tomorrow.describe(NOW) == "maintenance from Tue 03 Mar, 16:26 to 18:26"
    over = replace(MAINT, end_at=MAINT.end_at + 86400)
    assert over.describe(NOW) == "maintenance from 16:26 to Tue 03 Mar, 18:26"
    assert over.describe(over.start_at) == "maintenance until Tue 03 Mar, 18:26"


def test_nodes_with_different_reservations_are_distinguished() -> None:
    blocked = [ReservedNode("n1", (BOBS,)), ReservedNode("n2", (MAINT,))]
    assert describe_reservations(blocked, NOW) == (
        "n1 is reserved for bob until 17:46; n2 has maintenance from 16:26 to 18:26; "
        "up to 58 min starts now"
    )
    assert (
        describe_reservations([ReservedNode("n2", (MAINT,), has_capacity=False)], NOW)
        == "maintenance from 16:26 to 18:26"
    )
