"""The world-readable list of what every node has, left by whoever changes it.

It lies on the image host (or on a shared file system), so that people without SSH to the nodes
see the matrix too. It is a claim of its moment: each node's part says when it was seen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeVar

from vizdash.config import Cluster
from vizdash.errors import VizdashError
from vizdash.images.shell import NodeShell
from vizdash.model import Image, Place, Stray
from vizdash.transport.base import Command

SCHEMA = 1
_NAME = ".inventory.json"
_TIMEOUT_S = 10.0

T = TypeVar("T", Image, Stray)


@dataclass(frozen=True, slots=True)
class Inventory:
    """Places and images by node, and the version wanted for each app."""

    nodes: Mapping[str, tuple[Place, tuple[Image, ...]]] = field(default_factory=dict)
    wanted: tuple[tuple[str, str], ...] = ()

    def of(self, node: str) -> tuple[Place, tuple[Image, ...]]:
        """What is known of a node: its place with ``seen_at`` set, or an empty one."""
        return self.nodes.get(node, (Place(node), ()))

    def updated(
        self,
        seen: Iterable[tuple[Place, tuple[Image, ...]]],
        wanted: Mapping[str, str] | None = None,
    ) -> Inventory:
        """With nodes as they were seen just now, and other versions wanted."""
        now = int(time.time())
        nodes = dict(self.nodes)
        for place, images in seen:
            if not place.failure:
                nodes[place.node] = (replace(place, seen_at=now), images)
        return Inventory(nodes, tuple(sorted({**dict(self.wanted), **(wanted or {})}.items())))

    def to_json(self) -> str:
        """The file's text."""
        nodes = {
            name: {
                "seen_at": place.seen_at,
                "arch": place.arch,
                "free_bytes": place.free_bytes,
                "total_bytes": place.total_bytes,
                "strays": [asdict(stray) for stray in place.strays],
                "images": [_without_node(image) for image in images],
            }
            for name, (place, images) in sorted(self.nodes.items())
        }
        whole = {"schema": SCHEMA, "wanted": dict(self.wanted), "nodes": nodes}
        return json.dumps(whole, ensure_ascii=True, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Inventory:
        """From the file's text. Raises ValueError for any other text."""
        try:
            whole = json.loads(text)
        except RecursionError as e:
            raise ValueError("not an inventory: it is nested too deeply") from e
        if not isinstance(whole, dict) or whole.get("schema") != SCHEMA:
            raise ValueError("not an inventory of this version of vizdash")
        try:
            wanted = tuple(sorted((str(k), str(v)) for k, v in whole["wanted"].items()))
            nodes = {str(name): _node(str(name), part) for name, part in whole["nodes"].items()}
        except (TypeError, KeyError, AttributeError, OverflowError) as e:
            raise ValueError(f"a damaged inventory: {e!r}") from e
        return cls(nodes, wanted)


def path_of(cluster: Cluster) -> str:
    """Where the inventory lies on the image host."""
    return cluster.deploy.inventory or f"{cluster.image_root.rstrip('/')}/{_NAME}"


def folder_of(cluster: Cluster) -> str:
    """The folder that the inventory and the leases of apps lie in."""
    return path_of(cluster).rpartition("/")[0] or "/"


async def read(shell: NodeShell, path: str) -> Inventory:
    """The inventory of the image host; an empty one when there's none that can be read."""
    try:
        result = await shell.runner.run(Command(("cat", "--", path), timeout_s=_TIMEOUT_S))
        return Inventory.from_json(result.stdout) if result.code == 0 else Inventory()
    except (VizdashError, ValueError):
        return Inventory()


async def save(shell: NodeShell, path: str, known: Inventory) -> None:
    """Write it on the image host, whole or not at all, by sudo(8) where one's own rights do not
    suffice. Raises VizdashError.
    """
    text = known.to_json()
    for sudo in (False, True):
        command = shell.command("", "save", path, str(len(text)), sudo=sudo)
        result = await shell.runner.run(replace(command, input=f"{command.input}{text}"))
        if result.code == 0:
            return
        if shell.deploy.sudo == "never":
            break
    raise shell.failure("", result.code, result.stderr)


def _without_node(image: Image) -> dict[str, Any]:
    values = asdict(image)
    for name in ("node", "open", "alias", "linked"):
        del values[name]
    return values


def _node(name: str, part: Mapping[str, Any]) -> tuple[Place, tuple[Image, ...]]:
    place = Place(
        node=name,
        seen_at=int(part["seen_at"]),
        arch=str(part.get("arch", "")),
        free_bytes=int(part["free_bytes"]),
        total_bytes=int(part["total_bytes"]),
        strays=tuple(_made(Stray, stray) for stray in part["strays"]),
    )
    images = tuple(replace(_made(Image, image), node=name) for image in part["images"])
    return place, images


def _made(kind: type[T], values: Mapping[str, Any]) -> T:
    """One of ``kind``, each value checked to have its default's type."""
    made: dict[str, Any] = {}
    for known in fields(kind):
        if known.name not in values:
            continue
        value = values[known.name]
        wanted = {"str": str, "int": int, "bool": bool}[str(known.type)]
        if type(value) is not wanted:
            raise TypeError(known.name)
        made[known.name] = value
    return kind(**made)
