"""Looks for images: ``ROOT/<app>/<app>.sif`` (current) and ``ROOT/<app>/<app>-<version>.sif``."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vizdash.errors import VizdashError
from vizdash.model import Image
from vizdash.transport.base import Command, CommandRunner

#: Nodes asked at once, and seconds that each has to answer.
_AT_ONCE = 16
_NODE_S = 4.0

_SSH = (
    "ssh",
    "-o",
    "BatchMode=yes",
    "-o",
    "ConnectTimeout=3",
    "-o",
    "ForwardX11=no",
    "-T",
)


@dataclass(frozen=True, slots=True)
class Found:
    """Images of the nodes that answered (``looked``), and why the others did not."""

    images: tuple[Image, ...] = ()
    looked: frozenset[str] = frozenset()
    failures: Mapping[str, str] = field(default_factory=dict)

    def without(self, path: str) -> frozenset[str]:
        """The nodes that were looked at and have no file at ``path``."""
        return self.looked - {i.node for i in self.images if i.path == path}


async def scan(
    runner: CommandRunner, nodes: Iterable[str], root: str, *, here: bool = False
) -> Found:
    """Look into ``root`` on each node over the user's own ssh(1), or on this machine.

    A node that does not answer in time costs its own row only.
    """
    places = tuple(nodes)
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(node: str) -> tuple[Image, ...] | str:
        async with gate:
            try:
                return await _look(runner, node, root, here=here)
            except VizdashError as e:
                return e.line

    answers = dict(zip(places, await asyncio.gather(*(one(n) for n in places)), strict=True))
    images = [image for found in answers.values() if not isinstance(found, str) for image in found]
    return Found(
        images=tuple(images),
        looked=frozenset(n for n, found in answers.items() if not isinstance(found, str)),
        failures={node: why for node, why in answers.items() if isinstance(why, str)},
    )


async def _look(runner: CommandRunner, node: str, root: str, *, here: bool) -> tuple[Image, ...]:
    # %y is what the name itself is, %Y and %s (after -L) what it leads to (find(1)).
    find = ["find", "-L", root, "-mindepth", "2", "-maxdepth", "2", "-name", "*.sif", "-type", "f"]
    find += ["-printf", r"%p\0%s\0%T@\0%i\0\n"]
    argv = tuple(find) if here else (*_SSH, node, shlex.join(["env", "LC_ALL=C", *find]))
    result = await runner.run(Command(argv, timeout_s=_NODE_S))
    if not here and result.code == 255:
        result.check(f"ssh {node}")
    return parse(result.stdout, node, root)


def parse(text: str, node: str, root: str) -> tuple[Image, ...]:
    r"""Images from find's output, ``PATH\0SIZE\0MTIME\0INODE\0\n`` each.

    A version's file whose inode is the current name's is the current one.
    """
    rows = []
    for record in text.split("\0\n"):
        fields = record.split("\0")
        if len(fields) == 4 and fields[1].isdigit():
            rows.append(fields)
    inode_of = {path: inode for path, _, _, inode in rows}
    found = []
    for path, size, mtime, inode in sorted(rows):
        app, _, name = path.removeprefix(root.rstrip("/") + "/").partition("/")
        stem = name.removesuffix(".sif")
        if stem != app and not stem.startswith(f"{app}-"):
            continue
        found.append(
            Image(
                app=app,
                path=path,
                version=stem.removeprefix(app).removeprefix("-"),
                size_bytes=int(size),
                modified_at=int(float(mtime)),
                node=node,
                current=inode_of.get(f"{root.rstrip('/')}/{app}/{app}.sif") == inode,
            )
        )
    return tuple(found)


def version_of(images: Iterable[Image], path: str) -> str:
    """The version that ``path`` leads to, from the names of its siblings; empty if unknown."""
    for image in images:
        if image.path == path and image.version:
            return image.version
    apps = {image.app for image in images if image.path == path}
    versions = {i.version for i in images if i.app in apps and i.current and i.version}
    return versions.pop() if len(versions) == 1 else ""
