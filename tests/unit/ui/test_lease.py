"""A session with a lease, as rows, details and lists show it."""

from __future__ import annotations

from dataclasses import replace

from vizdash.cli import output
from vizdash.model import Resources, Session, SessionState
from vizdash.ui.present.session_details import session_details
from vizdash.ui.present.sessions import session_note, time_left_text
from vizdash.ui.widgets.columns import Now

LEASED = Session(
    id="3f9a01bc",
    job_id="7",
    app="desktop",
    user="alice",
    state=SessionState.READY,
    node="viz-node001",
    resources=Resources(2, 2048, 0, 8 * 3600),
    started_at=1_800_000_000,
    time_left_s=7 * 3600,
    lease_s=7200,
    lease_left_s=3600,
)
NOW = Now(1_800_003_600.0)


def test_the_row_shows_lease_and_limit() -> None:
    assert time_left_text(LEASED, NOW) == "1:00:00 ≤8h"
    pending = replace(LEASED, state=SessionState.PENDING, lease_left_s=None, time_left_s=None)
    assert time_left_text(pending, NOW) == "2:00:00 ≤8h"
    plain = replace(LEASED, lease_s=0, lease_left_s=None)
    assert time_left_text(plain, NOW) == "7:00:00"
    assert "1 h (limit 7 h)" in output.session_row(LEASED)


def test_the_note_names_what_ends_next() -> None:
    soon = replace(LEASED, lease_left_s=60)
    assert session_note(soon, NOW).text == "the end of its lease is near: save your work"
    full = replace(LEASED, lease_left_s=60, time_left_s=60)
    assert session_note(full, NOW).text == "the time limit is near: save your work"


def test_the_details_say_how_far_it_can_be_extended() -> None:
    text = "\n".join("".join(span.text for span in line) for line in session_details(LEASED, NOW))
    assert "1:00:00 left, extendable by 6 h" in text
    assert "7:00:00 left of 8 h" in text
