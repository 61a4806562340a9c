"""Looks into the image root of every node at once, and fills gaps from the inventory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vizdash.errors import HostKeyRefused, LoginRefused, VizdashError
from vizdash.images import look
from vizdash.images.gate import FIRST, Attempts, Refusals
from vizdash.images.inventory import Inventory
from vizdash.images.shell import NodeShell
from vizdash.model import Image, Matrix, Place

#: Seconds that a node has to answer a dashboard, which asks again; and who waits for the answer. A
#: node that is gone is known to be sooner: ssh(1) itself gives it up (see shell.py).
_NODE_S = 6.0
ASKED_S = 60.0


async def look_at(
    shell: NodeShell,
    node: str,
    root: str,
    *,
    full: bool = False,
    sudo: bool = False,
    timeout_s: float = _NODE_S,
) -> tuple[Place, tuple[Image, ...]]:
    """One node's image root. With ``full``, also what is open there (see Image.open).

    Raises Unreachable, TimedOut or VizdashError.
    """
    words = (root, "1" if full else "0")
    answer = await shell.ask(node, "look", *words, sudo=sudo, timeout_s=timeout_s)
    return look.parse(answer, node, root)


async def collect(
    shell: NodeShell,
    nodes: Iterable[str],
    root: str,
    *,
    inventory: Inventory | None = None,
    away: Mapping[str, str] | None = None,
    full: bool = False,
    sudo: bool = False,
    asked: bool = False,
    timeout_s: float = 0.0,
) -> Matrix:
    """Look at all nodes at once. One that does not answer in time costs its own row only, and
    has what the inventory knows of it. ``away`` names nodes that need not be asked, and why.

    Nodes that refused a login are not asked for hours, unless a person has ``asked`` for it; when
    of the first few hardly any lets the person in, the rest is not asked either.
    """
    gone = dict(away or {})
    known = inventory or Inventory()
    names = tuple(nodes)
    timeout_s = timeout_s or (ASKED_S if asked else _NODE_S)
    refusals = Refusals() if asked else shell.refusals
    for node in names:
        if (why := refusals.why(node)) and not shell.is_here(node):
            gone.setdefault(node, why)
    attempts = Attempts(shell.refusals)

    async def one(node: str) -> tuple[str, tuple[Place, tuple[Image, ...]]]:
        why = gone.get(node, "") or attempts.hopeless
        try:
            if not why:
                seen = await look_at(shell, node, root, full=full, sudo=sudo, timeout_s=timeout_s)
                attempts.answered(node)
                return node, seen
        except VizdashError as e:
            why = _why(e, node)
            if isinstance(e, LoginRefused):
                attempts.refused(node, why)
        place, images = known.of(node)
        return node, (replace(place, failure=why), images)

    found: dict[str, tuple[Place, tuple[Image, ...]]] = {}
    for wave in _waves(names, gone):
        found.update(await asyncio.gather(*(one(node) for node in wave)))
    attempts.settle()
    return Matrix(
        images=tuple(image for node in names for image in found[node][1]),
        places=tuple(found[node][0] for node in names),
        wanted=known.wanted,
    )


def _waves(names: Sequence[str], gone: Mapping[str, str]) -> tuple[Sequence[str], ...]:
    """A few nodes, far from each other in the list, and then all others."""
    asked = [name for name in names if name not in gone]
    first = [asked[at * len(asked) // FIRST] for at in range(FIRST)] if len(asked) > FIRST else []
    taken = set(first)
    return first, [name for name in names if name not in taken]


def _why(error: VizdashError, node: str) -> str:
    """The cause without the node's name, which the row has already. What a person has to do about
    a host key stays with it.
    """
    if error.what != node:
        return error.line
    fix = f" ({error.mend})" if isinstance(error, HostKeyRefused) else ""
    return f"{error.why or error.line}{fix}"
