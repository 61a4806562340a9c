"""The filter of the lists: its fields, its errors, and the viewers that it finds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizdash.model import Node, Session, SessionState
from vizdash.ui.present.sessions import SESSION_COLUMNS
from vizdash.ui.widgets.columns import Now
from vizdash.ui.widgets.filter import NODE_FIELDS, SESSION_FIELDS, parse_filter

MINE = Session("4f2a", "10", "ParaView", "anna", SessionState.READY, node="viz-node003")
THEIRS = Session("5f2a", "11", "desktop", "bob", SessionState.PENDING, mine=False, reason="no room")
FAILED = Session("6f2a", "12", "desktop", "anna", SessionState.ENDED, result="failed", error="boom")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", "MTF"),
        ("para", "M"),
        ("PARAVIEW", "M"),
        ("!para", "TF"),
        ("state:ready", "M"),
        ("state:failed", "F"),
        ("user:me", "MF"),
        ("!user:me", "T"),
        ("owner:bob", "T"),
        ("node:003", "M"),
        ("!node:003 desktop", "TF"),
        ("desktop boom", "F"),
        ("note:room", "T"),
        ("job:12", "F"),
        ("state:", "MTF"),
        ("!", "MTF"),
        ("nothing-like-it", ""),
    ],
)
def test_the_filter(text: str, kept: str) -> None:
    wanted = parse_filter(text, SESSION_FIELDS)
    rows = {"M": MINE, "T": THEIRS, "F": FAILED}
    assert "".join(name for name, row in rows.items() if wanted(row)) == kept
    assert not wanted.error


NOW = Now(1_800_000_000.0)


def _used(number: int, viewers: int | None, since: int | None = None) -> Session:
    since = None if since is None else int(NOW.at) - since
    return replace(MINE, job_id=str(number), viewers=viewers, idle_since=since)


def test_viewers_are_shown_sorted_and_found() -> None:
    ended = replace(_used(6, 0, 9), state=SessionState.ENDED)
    found = (_used(1, 1), _used(2, 0, 720), _used(3, None), _used(4, 0, 7200), _used(5, 2), ended)
    column = next(c for c in SESSION_COLUMNS if c.title == "IDLE")
    cells = ["".join(span.text for span in column.cell(s, NOW, 8)) for s in found]
    assert cells == ["in use", "12 min", "", "2 h", "2 in use", ""]
    cells = ["".join(span.text for span in column.cell(s, NOW, 4)) for s in found]
    assert cells == ["◉ 1", "12m", "", "2h", "◉ 2", ""]
    assert column.sort is not None
    assert [s.job_id for s in sorted(found, key=column.sort)] == ["4", "2", "1", "5", "3", "6"]
    kept = {
        text: [s.job_id for s in found if parse_filter(text, SESSION_FIELDS)(s)]
        for text in ("viewer:idle", "viewer:connected", "!viewer:idle !viewer:connected")
    }
    assert list(kept.values()) == [["2", "4"], ["1", "5"], ["3", "6"]]


def test_a_wrong_field_suggests_the_nearest_and_hides_nothing() -> None:
    wanted = parse_filter("stat:ready", SESSION_FIELDS)
    assert wanted.error == "no field 'stat': did you mean 'state'?"
    assert wanted(MINE)


@given(st.text(max_size=40))
def test_no_filter_breaks(text: str) -> None:
    wanted = parse_filter(text, NODE_FIELDS)
    assert wanted(Node("n1", "IDLE")) in {True, False}
