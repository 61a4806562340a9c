"""Names of nodes in the field's notation, by ClusterShell."""

from __future__ import annotations

import pytest

from vizdash.errors import UsageError
from vizdash.util import nodesets
from vizdash.util.nodesets import list_nodes


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        ((), ""),
        (("viz-node002", "viz-node001", "viz-node003"), "viz-node[001-003]"),
        (("viz2", "viz10", "viz1"), "viz[1-2], viz10"),
        (("a1", "b1", "c1", "d1", "e1"), "a1, b1, c1 and 2 more"),
        (("no such name", "[x"), "no such name, [x"),
    ],
)
def test_names_are_listed_with_each_run_folded(names: tuple[str, ...], listed: str) -> None:
    assert list_nodes(names) == listed


@pytest.mark.parametrize(
    "text",
    [
        "n[0-2000000]",
        "n[1-999999999999]",
        f"n[0-{'9' * 5000}]",
        "n[0-9999]x[0-9999]",
        "n[0-90000],m[0-90000]",
        "n9919[-90]",
    ],
)
def test_sets_that_no_memory_would_hold_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as e:
        nodesets.select_nodes(text, ("n1", "n2"))
    assert len(e.value.line.splitlines()) == 1
    assert nodesets.expand_nodes(text) == (text,)


def test_a_padded_range_and_a_name_with_a_long_number() -> None:
    known = tuple(f"n{number:012d}" for number in range(1, 4))
    assert nodesets.select_nodes("n[000000000001-000000000002]", known) == known[:2]
    assert nodesets.select_nodes("r1-20261129123456", ("r1-20261129123456",))
