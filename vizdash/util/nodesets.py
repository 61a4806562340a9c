"""Names of nodes in the field's notation: ``viz-node[001-016,020]`` (ClusterShell's NodeSet)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from vizdash.errors import UsageError

if TYPE_CHECKING:
    from ClusterShell.NodeSet import NodeSet

#: Nodes in one set: ClusterShell makes each of them, and asserts that a range has less than 1e9.
_MOST = 100_000
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"(\d*)-(\d+)")


def select_nodes(text: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the nodes of ``known`` that the node set ``text`` names, in their order; all for an
    empty text.

    Raises UsageError for a text that is no node set, and for unknown nodes.
    """
    from ClusterShell.NodeSet import NodeSet, NodeSetException

    names = tuple(known)
    if not text:
        return names
    try:
        wanted = _parse(text)
    except (NodeSetException, ValueError) as e:
        raise UsageError(f"nodes {text!r}", str(e), "write e.g. viz-node[001-016]") from e
    if strange := wanted - NodeSet.fromlist(names):
        raise UsageError(
            f"nodes {strange}", "not in the partition", f"there are: {fold_nodes(names)}"
        )
    if not wanted:
        raise UsageError(f"nodes {text!r}", "it names no node")
    return tuple(name for name in names if name in wanted)


def _parse(text: str) -> NodeSet:
    """The node set of a text. Raises NodeSetException, or ValueError for one that is too large."""
    from ClusterShell.NodeSet import NodeSet

    if sum(_sizes(text)) > _MOST:
        raise ValueError(_TOO_LARGE)
    try:
        node_set = NodeSet(text, resolver=None)
    except AssertionError as e:
        raise ValueError(_TOO_LARGE) from e
    if len(node_set) > _MOST:
        raise ValueError(_TOO_LARGE)
    return node_set


def _sizes(text: str) -> Iterator[int]:
    """The sizes of the ranges in a text. Digits before a bracket are a part of its numbers."""
    for bracket in _BRACKETS.finditer(text):
        before = text[max(0, bracket.start() - 9) : bracket.start()]
        digits = before[len(before.rstrip("0123456789")) :]
        for low, high in _RANGE.findall(bracket[1]):
            if len(high.lstrip("0")) > 9:
                yield _MOST + 1
            else:
                yield max(0, int(digits + high) - int(digits + low or "0"))


_TOO_LARGE = f"it names more than {_MOST:,} nodes"


@lru_cache(maxsize=4096)
def expand_nodes(text: str) -> tuple[str, ...]:
    """Expand a node set written by Slurm; other text counts as one name."""
    if not text:
        return ()
    if "[" not in text and "," not in text:
        return (text,)
    from ClusterShell.NodeSet import NodeSetException

    try:
        return tuple(_parse(text))
    except (NodeSetException, ValueError):
        return (text,)


def fold_nodes(names: Iterable[str]) -> str:
    """Fold names into a node set: ``viz-node[001-003]``."""
    from ClusterShell.NodeSet import NodeSet

    return str(NodeSet.fromlist([name for name in names if name]))


def list_nodes(names: Iterable[str], most: int = 3) -> str:
    """List names for display, with each run folded: ``gpu1, viz[001-004] and 2 more``."""
    from ClusterShell.NodeSet import NodeSet, NodeSetException

    known = [name for name in names if name]
    try:
        runs = [str(run) for run in NodeSet.fromlist(known).contiguous()]
    except (NodeSetException, ValueError):
        runs = known
    rest = len(runs) - most
    return ", ".join(runs[:most]) + (f" and {rest} more" if rest > 0 else "")
