"""Reads images whole on their nodes, and compares them with the digests recorded for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vizdash.errors import VizdashError
from vizdash.images.shell import NodeShell
from vizdash.model import Image

#: Seconds that a node has to read all its images.
_LONG_S = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One image that was read: the digest recorded for it (empty: none was) and the one found.
    ``failure`` says why it could not be read.
    """

    image: Image
    recorded: str = ""
    found: str = ""
    failure: str = ""

    @property
    def good(self) -> bool:
        """Whether its content is what was recorded, or is recorded now."""
        return not self.failure and self.recorded in {"", self.found}


async def verify(
    shell: NodeShell,
    images: Iterable[Image],
    root: str,
    *,
    sudo: Callable[[str], bool],
    tell: Callable[[str], None] = lambda text: None,
) -> tuple[Verdict, ...]:
    """Read every image, all nodes at once. Digests are recorded where the caller may write."""
    by_node: dict[str, dict[str, Image]] = {}
    for image in images:
        name = image.path.removeprefix(root.rstrip("/") + "/")
        by_node.setdefault(image.node, {})[name] = image

    async def one(node: str, wanted: dict[str, Image]) -> list[Verdict]:
        total = sum(i.size_bytes for i in wanted.values())
        tell(f"{node or 'this machine'}: reading {len(wanted)} images, {total >> 20} MiB")
        try:
            words = (root, *wanted)
            answer = await shell.ask(node, "verify", *words, sudo=sudo(node), timeout_s=_LONG_S)
            return _verdicts(answer, wanted)
        except VizdashError as e:
            return [Verdict(image, failure=e.line) for image in wanted.values()]

    found = await asyncio.gather(*(one(node, wanted) for node, wanted in by_node.items()))
    return tuple(verdict for verdicts in found for verdict in verdicts)


def _verdicts(answer: list[str], wanted: dict[str, Image]) -> list[Verdict]:
    verdicts, at = [], 0
    left = dict(wanted)
    while at + 1 < len(answer):
        kind, name = answer[at : at + 2]
        image = left.pop(name, None)
        if image is None:
            break
        if kind == "read" and at + 3 < len(answer):
            verdicts.append(Verdict(image, recorded=answer[at + 3], found=answer[at + 2]))
            at += 4
        else:
            verdicts.append(Verdict(image, failure="it could not be read"))
            at += 2
    verdicts += [Verdict(image, failure="the node did not tell") for image in left.values()]
    return verdicts
