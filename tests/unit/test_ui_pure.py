"""The dashboard's pure parts: filter, plot, terminal sequences, keys, columns' places."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizdash.actions import REGISTRY
from vizdash.model import Node, Session, SessionState
from vizdash.ui.columns import SESSIONS
from vizdash.ui.filter import NODE_FIELDS, SESSION_FIELDS, parse
from vizdash.ui.nodecolumns import nodes as node_columns
from vizdash.ui.plot import columns, resample
from vizdash.ui.terminal import notification, window_title
from vizdash.ui.widgets.columns import GAP, Now, place
from vizdash.ui.widgets.view import View

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
    wanted = parse(text, SESSION_FIELDS)
    rows = {"M": MINE, "T": THEIRS, "F": FAILED}
    assert "".join(name for name, row in rows.items() if wanted(row)) == kept
    assert not wanted.error


NOW = Now(1_800_000_000.0)


def _used(number: int, viewers: int | None, since: int | None = None) -> Session:
    since = None if since is None else int(NOW.at) - since
    return replace(MINE, job_id=str(number), viewers=viewers, idle_since=since)


def test_who_looks_is_told_sorted_and_found() -> None:
    ended = replace(_used(6, 0, 9), state=SessionState.ENDED)
    found = (_used(1, 1), _used(2, 0, 720), _used(3, None), _used(4, 0, 7200), _used(5, 2), ended)
    column = next(c for c in SESSIONS if c.title == "IDLE")
    cells = ["".join(span.text for span in column.cell(s, NOW, 8)) for s in found]
    assert cells == ["in use", "12 min", "", "2 h", "2 in use", ""]
    cells = ["".join(span.text for span in column.cell(s, NOW, 4)) for s in found]
    assert cells == ["◉ 1", "12m", "", "2h", "◉ 2", ""]
    assert column.sort is not None
    assert [s.job_id for s in sorted(found, key=column.sort)] == ["4", "2", "1", "5", "3", "6"]
    kept = {
        text: [s.job_id for s in found if parse(text, SESSION_FIELDS)(s)]
        for text in ("viewer:idle", "viewer:connected", "!viewer:idle !viewer:connected")
    }
    assert list(kept.values()) == [["2", "4"], ["1", "5"], ["3", "6"]]


def test_a_wrong_field_says_which_is_meant_and_hides_nothing() -> None:
    wanted = parse("stat:ready", SESSION_FIELDS)
    assert wanted.error == "no field 'stat': did you mean 'state'?"
    assert wanted(MINE)


@given(st.text(max_size=40))
def test_no_filter_breaks(text: str) -> None:
    wanted = parse(text, NODE_FIELDS)
    assert wanted(Node("n1", "IDLE")) in {True, False}


def test_points_fall_into_their_spans() -> None:
    points = [(0.0, 1.0), (1.0, 3.0), (9.0, 8.0), (50.0, 9.0)]
    assert resample(points, 0, 10, 5) == [2.0, None, None, None, 8.0]


def test_columns_grow_from_below_and_little_is_not_nothing() -> None:
    assert columns([0.0, 0.01, 4.0, 8.0, None], 8.0, 2) == ["   █ ", " ▁██·"]


@given(st.lists(st.none() | st.floats(0, 1e6), max_size=30), st.floats(0, 1e6), st.integers(1, 9))
def test_plots_keep_their_size(values: list[float | None], most: float, rows: int) -> None:
    drawn = columns(values, most, rows)
    assert len(drawn) == rows
    assert all(len(line) == len(values) for line in drawn)


@given(st.text(max_size=200))
def test_no_text_breaks_out_of_a_sequence(text: str) -> None:
    sent = notification("vizdash", text) + window_title(text)
    inside = sent.replace("\x1b]", "").replace("\x1b\\", "")
    assert not [c for c in inside if unicodedata.category(c) == "Cc"]
    assert sent.count("\x1b") == 6


def test_own_keys_take_the_place_of_ours() -> None:
    own = REGISTRY.remapped({"stop": ("X",), "refresh": ("f5", "R"), "sort": ()})
    found = own.by_key("X")
    assert found is not None
    assert found.id == "stop"
    assert own.by_key("x") is None
    assert own.by_id("sort").keys == ()
    assert REGISTRY.by_id("stop").keys == ("x",)


@pytest.mark.parametrize(
    ("keys", "words"),
    [({"halt": ("x",)}, "no action is called 'halt'"), ({"stop": ("n",)}, "id or key taken")],
)
def test_wrong_keys_are_named(keys: dict[str, tuple[str, ...]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        REGISTRY.remapped(keys)


_WISHES = st.lists(st.integers(0, 60), min_size=len(SESSIONS), max_size=len(SESSIONS))


@given(st.integers(1, 300), _WISHES)
def test_columns_never_leave_their_room(room: int, wishes: list[int]) -> None:
    least = [max(w, c.least) if w else 0 for w, c in zip(wishes, SESSIONS, strict=True)]
    placed = place(SESSIONS, [min(w, c.most) for w, c in zip(least, SESSIONS, strict=True)], room)
    used = sum(p.width for p in placed) + GAP * max(0, len(placed) - 1)
    assert used <= room or len(placed) <= 1
    assert len({p.x for p in placed}) == len(placed)


def test_a_view_filters_sorts_and_marks() -> None:
    nodes = [Node("b", "IDLE", cores=4), Node("a", "IDLE", cores=8), Node("c", "DOWN")]
    view: View[Node] = View(lambda n: n.name)
    view.sort, view.reverse = node_columns(lambda: nodes, lambda: None)[2].sort, True
    view.keep = lambda n: n.state == "IDLE"
    assert [n.name for n in view.rows(nodes)] == ["a", "b"]
    view.mark(nodes[0])
    view.mark(nodes[2])
    view.mark(nodes[2])
    assert view.marked(nodes) == (nodes[0],)
    view.forget(nodes[1:])
    assert not view.marks
