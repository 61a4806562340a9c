"""Verifies images on their nodes: reads each whole and compares its digest with its record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vizdash.errors import VizdashError
from vizdash.images.node_script import NodeShell
from vizdash.model import Image
from vizdash.util.units import format_size

#: Seconds that a node has to read all its images.
_LONG_S = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """The result for one image: its recorded digest (empty: none) and the digest that was read.

    ``failure`` is the reason why it could not be read.
    """

    image: Image
    recorded: str = ""
    found: str = ""
    failure: str = ""

    @property
    def good(self) -> bool:
        """Whether its content matches its record, or is recorded from now on."""
        return not self.failure and self.recorded in {"", self.found}


async def verify_images(
    shell: NodeShell,
    images: Iterable[Image],
    root: str,
    *,
    sudo: Callable[[str], bool],
    record: bool = True,
    notify: Callable[[str], None] = lambda text: None,
) -> tuple[VerifyResult, ...]:
    """Read images on all nodes at once. With ``record``, digests are recorded where the caller may
    write.
    """
    by_node: dict[str, dict[str, Image]] = {}
    for image in images:
        name = image.path.removeprefix(root.rstrip("/") + "/")
        by_node.setdefault(image.node, {})[name] = image

    async def one(node: str, images: dict[str, Image]) -> list[VerifyResult]:
        total = sum(i.size_bytes for i in images.values())
        notify(f"{node or 'this machine'}: reading {len(images)} images, {format_size(total)}")
        try:
            words = (root, "1" if record else "0", *images)
            answer = await shell.ask(node, "verify", *words, sudo=sudo(node), timeout_s=_LONG_S)
            return _parse_results(answer, images)
        except VizdashError as e:
            return [VerifyResult(image, failure=e.line) for image in images.values()]

    by_node_results = await asyncio.gather(*(one(node, images) for node, images in by_node.items()))
    return tuple(result for results in by_node_results for result in results)


def _parse_results(answer: list[str], images: dict[str, Image]) -> list[VerifyResult]:
    results, at = [], 0
    left = dict(images)
    while at + 1 < len(answer):
        kind, name = answer[at : at + 2]
        image = left.pop(name, None)
        if image is None:
            break
        if kind == "read" and at + 3 < len(answer):
            results.append(VerifyResult(image, recorded=answer[at + 3], found=answer[at + 2]))
            at += 4
        else:
            results.append(VerifyResult(image, failure="it could not be read"))
            at += 2
    results += [VerifyResult(image, failure="the node gave no result") for image in left.values()]
    return results
