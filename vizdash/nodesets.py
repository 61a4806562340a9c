"""Names of nodes in the field's notation: ``viz-node[001-016,020]`` (ClusterShell's NodeSet)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from vizdash.errors import UsageError


def chosen(text: str, known: Iterable[str]) -> tuple[str, ...]:
    """The nodes of ``known`` that ``text`` names, in their order; all for an empty text.

    Raises UsageError for a text that is no node set, and for nodes that aren't there.
    """
    from ClusterShell.NodeSet import NodeSet, NodeSetException

    names = tuple(known)
    if not text:
        return names
    try:
        wanted = NodeSet(text, resolver=None)
    except (NodeSetException, ValueError) as e:
        raise UsageError(f"nodes {text!r}", str(e), "write e.g. viz-node[001-016]") from e
    if strange := wanted - NodeSet.fromlist(names):
        raise UsageError(f"nodes {strange}", "not in the partition", f"there are: {fold(names)}")
    if not wanted:
        raise UsageError(f"nodes {text!r}", "that is no node at all")
    return tuple(name for name in names if name in wanted)


@lru_cache(maxsize=4096)
def expand(text: str) -> tuple[str, ...]:
    """The names in a text that Slurm wrote; one that is no node set is taken as one name."""
    if not text:
        return ()
    if "[" not in text and "," not in text:
        return (text,)
    from ClusterShell.NodeSet import NodeSet, NodeSetException

    try:
        return tuple(NodeSet(text, resolver=None))
    except (NodeSetException, ValueError):
        return (text,)


def fold(names: Iterable[str]) -> str:
    """Names in one word: ``viz-node[001-003]``."""
    from ClusterShell.NodeSet import NodeSet

    return str(NodeSet.fromlist([name for name in names if name]))
