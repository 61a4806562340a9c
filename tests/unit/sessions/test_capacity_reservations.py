"""What fits beside reservations of nodes, of cores, and for maintenance."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.sessions.cluster_nodes import LARGE, MAINTENANCE, NODES, NOW, SMALL, VIZ, G
from vizdash.model import (
    Node,
    Reservation,
    Resources,
)
from vizdash.sessions.capacity import CapacityVerdict, check_capacity

BOBS = Reservation("bobs", int(NOW) - 60, int(NOW) + 138 * 60, ("viz-node001",), users=("bob",))


def with_(*reservations: Reservation) -> list[Node]:
    return [
        replace(node, reservations=tuple(r for r in reservations if node.name in r.nodes))
        for node in NODES[:3]
    ]


def reserved(time_s: int, *reservations: Reservation, **asked_for: str) -> CapacityVerdict:
    size = Resources(2, 2 * G, 0, time_s)
    return check_capacity(size, with_(*reservations), VIZ, now=NOW, **asked_for)  # type: ignore[arg-type]


def test_a_session_that_would_run_into_maintenance_does_not_fit_now() -> None:
    """ "9 sessions of this size fit now", and then it waited for three hours."""
    found = reserved(7200, MAINTENANCE)
    assert (found.fits_now, found.waits) == ((), False)
    assert found.text == "maintenance from 16:26 to 18:26; up to 58 min starts now"
    assert sum(n for _, n in reserved(58 * 60, MAINTENANCE).fits_now) == 9
    assert reserved(58 * 60 + 1, MAINTENANCE).fits_now == ()


def test_nodes_that_no_maintenance_has_are_taken() -> None:
    some = replace(MAINTENANCE, nodes=("viz-node002", "viz-node003"))
    assert reserved(7200, some).fits_now == (("viz-node001", 1),)
    full = replace(SMALL, state="ALLOCATED", cores_alloc=4)
    nodes = [full, *with_(some)[1:]]
    assert check_capacity(Resources(2, 2 * G), nodes, VIZ, now=NOW).text == (
        "viz-node002, viz-node003 have maintenance from 16:26 to 18:26; up to 58 min starts now"
    )


def test_a_node_reserved_for_others_is_named_with_users_and_end() -> None:
    """ "no node has the requested cores, memory and GPUs (request less)"."""
    found = reserved(600, BOBS, node="viz-node001")
    assert found.text == "viz-node001 is reserved for bob until 17:46"
    assert found.refusal == ""
    assert [name for name, _ in reserved(600, BOBS).fits_now] == ["viz-node002", "viz-node003"]


def test_a_reservation_that_is_requested_lets_in() -> None:
    found = reserved(600, BOBS, reservation="bobs")
    assert found.fits_now == (("viz-node001", 1),)
    later = replace(BOBS, start_at=int(NOW) + 3600)
    assert "reservation 'bobs' begins at 16:28" in reserved(600, later, reservation="bobs").text
    hers = replace(BOBS, name="hers", nodes=("viz-node002",), users=("bob", "alice"))
    both = reserved(600, BOBS, hers, reservation="bobs,hers", user="bob")
    assert both.fits_now == (("viz-node001", 1), ("viz-node002", 4))


@pytest.mark.parametrize(
    ("who", "allowed"),
    [
        ({"users": ("bob",)}, False),
        ({"users": ("bob", "alice")}, True),
        ({"users": ("-alice",)}, False),
        ({"users": ("-bob",)}, True),
        ({"users": ("bob",), "accounts": ("science",)}, True),  # left to the engine
        ({"users": (), "groups": ("staff",)}, True),
    ],
)
@pytest.mark.parametrize("names", ["bobs", "hers,bobs"])
def test_a_reservation_of_somebody_else_is_refused(
    who: dict[str, tuple[str, ...]], allowed: bool, names: str
) -> None:
    """Slurm 24.11: "Access denied to requested reservation", to a session that "fits now"."""
    hers = replace(BOBS, name="hers", nodes=("viz-node002",), users=("alice",))
    one = replace(BOBS, **who)  # type: ignore[arg-type]
    found = reserved(600, one, hers, reservation=names, user="alice")
    assert bool(found.fits_now) == allowed
    assert allowed or found.refusal.startswith("reservation 'bobs' is not for you: reserved for ")
    assert reserved(600, one, hers, reservation=names, user="root").fits_now
    every = {"reservations": (one, hers), "reservation": names, "user": "alice", "now": NOW}
    private = check_capacity(Resources(2, 2 * G), (), VIZ, **every)  # type: ignore[arg-type]
    assert bool(private.refusal) != allowed


@pytest.mark.parametrize("names", ["curse", "course,curse"])
def test_a_name_of_no_reservation_is_refused_where_all_are_shown(names: str) -> None:
    course = replace(BOBS, name="course")
    size, nodes = Resources(2, 2 * G, 0, 600), with_(course)
    found = check_capacity(size, nodes, VIZ, now=NOW, reservation=names, reservations=(course,))
    assert found.refusal == "there is no reservation 'curse'"
    assert (found.fix, found.unknown_name) == ("did you mean 'course'?", True)
    reserved_now = [replace(node, flags=("RESERVED",)) for node in nodes]
    some = check_capacity(size, reserved_now, VIZ, now=NOW, reservation="curse")
    assert some.text == "only the scheduler knows when reservation 'curse' has room"


def test_a_reservation_of_some_cores_leaves_the_others() -> None:
    six = replace(BOBS, nodes=("viz-node002",), cores=(("viz-node002", 6),))
    assert reserved(600, six, node="viz-node002").fits_now == (("viz-node002", 1),)
    all_ = replace(six, cores=(("viz-node002", 7),))
    assert reserved(600, all_, node="viz-node002").text == (
        "only the scheduler knows which cores reservation 'bobs' leaves"
    )


def test_a_reservation_with_unknown_users_is_left_to_the_scheduler() -> None:
    magnet = replace(BOBS, flags=("MAGNETIC",))
    assert "only the scheduler knows" in reserved(600, magnet, node="viz-node001").text


def test_a_node_of_a_reservation_that_is_not_shown_is_away() -> None:
    hidden = replace(LARGE, flags=("RESERVED",))
    found = check_capacity(Resources(2, G), [hidden], VIZ, now=NOW)
    assert (found.fits_now, found.unavailable) == ((), "viz-node002 is reserved")


@pytest.mark.parametrize("node", ["", "viz-node001"])
def test_where_nodes_are_private_only_the_scheduler_knows(node: str) -> None:
    found = check_capacity(Resources(2, 2 * G), (), VIZ, node=node)
    assert (found.fits_now, found.refusal) == ((), "")
    assert found.text == "only the scheduler knows: this cluster keeps its nodes private"
    assert found.waits
    over = check_capacity(Resources(2, 2 * G, time_s=7200), (), replace(VIZ, max_time_s=3600))
    assert "1 h at most" in over.refusal
