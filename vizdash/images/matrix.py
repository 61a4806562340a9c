"""Looks into the image root of every node at once, and fills gaps from the inventory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace

from vizdash.errors import VizdashError
from vizdash.images import look
from vizdash.images.inventory import Inventory
from vizdash.images.shell import NodeShell
from vizdash.model import Image, Matrix, Place

#: Nodes asked at once, and seconds that each has to answer.
_AT_ONCE = 16
_NODE_S = 6.0


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
    timeout_s: float = _NODE_S,
) -> Matrix:
    """Look at all nodes at once. One that does not answer in time costs its own row only, and
    has what the inventory knows of it. ``away`` names nodes that need not be asked, and why.
    """
    gone = away or {}
    known = inventory or Inventory()
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(node: str) -> tuple[Place, tuple[Image, ...]]:
        if node in gone:
            place, images = known.of(node)
            return replace(place, failure=gone[node]), images
        async with gate:
            try:
                return await look_at(shell, node, root, full=full, sudo=sudo, timeout_s=timeout_s)
            except VizdashError as e:
                place, images = known.of(node)
                return replace(place, failure=_why(e, node)), images

    found = await asyncio.gather(*(one(node) for node in nodes))
    return Matrix(
        images=tuple(image for _, images in found for image in images),
        places=tuple(place for place, _ in found),
        wanted=known.wanted,
    )


def _why(error: VizdashError, node: str) -> str:
    """The cause without the node's name, which the row has already."""
    return error.why or error.line if error.what == node else error.line
