"""The columns of a list: widths, and rows that are filtered, sorted and marked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vizdash.model import Node
from vizdash.ui.present.nodes import node_columns
from vizdash.ui.present.sessions import SESSION_COLUMNS
from vizdash.ui.widgets.columns import GAP, place_columns
from vizdash.ui.widgets.row_view import RowView

_WISHES = st.lists(st.integers(0, 60), min_size=len(SESSION_COLUMNS), max_size=len(SESSION_COLUMNS))


@given(st.integers(1, 300), _WISHES)
def test_columns_never_exceed_their_width(room: int, wishes: list[int]) -> None:
    least = [max(w, c.least) if w else 0 for w, c in zip(wishes, SESSION_COLUMNS, strict=True)]
    placed = place_columns(
        SESSION_COLUMNS, [min(w, c.most) for w, c in zip(least, SESSION_COLUMNS, strict=True)], room
    )
    used = sum(p.width for p in placed) + GAP * max(0, len(placed) - 1)
    assert used <= room or len(placed) <= 1
    assert len({p.x for p in placed}) == len(placed)


def test_a_view_filters_sorts_and_marks() -> None:
    nodes = [Node("b", "IDLE", cores=4), Node("a", "IDLE", cores=8), Node("c", "DOWN")]
    view: RowView[Node] = RowView(lambda n: n.name)
    view.sort, view.reverse = node_columns(lambda: nodes, lambda: None)[2].sort, True
    view.keep = lambda n: n.state == "IDLE"
    assert [n.name for n in view.rows(nodes)] == ["a", "b"]
    view.mark(nodes[0])
    view.mark(nodes[2])
    view.mark(nodes[2])
    assert view.marked(nodes) == (nodes[0],)
    view.forget(nodes[1:])
    assert not view.marks
