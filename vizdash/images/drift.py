"""Where nodes differ from what they should have (missing, older, damaged); the inventory.

The inventory is a JSON file that everyone can read, so that users without SSH to the nodes see
which node has which image.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

from vizdash.config import Cluster
from vizdash.errors import VizdashError, last_line
from vizdash.images.node_script import NodeShell
from vizdash.model.image import Image, ImageRoot, Matrix, StrayFile
from vizdash.model.session import Session
from vizdash.model.version import has_order, version_key
from vizdash.transport.base import Command
from vizdash.util.checked_json import convert

SCHEMA = 1
_NAME = ".inventory.json"
_TIMEOUT_S = 10.0


class ImageState(StrEnum):
    """What an image on a node is, compared with the other nodes."""

    CURRENT = "current"
    KEPT = "kept"
    OLDER = "older"
    NEWER = "newer"
    MISSING = "missing"
    DIFFERS = "another digest"
    DAMAGED = "damaged"
    STRAY = "stray file"

    @property
    def drift(self) -> bool:
        """Whether this state calls for action."""
        return self not in {ImageState.CURRENT, ImageState.KEPT}


class ImageFinding(NamedTuple):
    """One image on one node, or a missing image or a stray file, and its state."""

    app: str
    version: str
    node: str
    state: ImageState
    image: Image | None = None
    stray: StrayFile | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class MissingVersion:
    """A version of an app, and the nodes that lack it (an empty name: a shared image root)."""

    app: str
    version: str
    nodes: tuple[str, ...]


def compare_images(matrix: Matrix) -> tuple[ImageFinding, ...]:
    """Return a finding for each image, then the missing images, then stray files.

    Apps are in order, and of each app the newest version first.
    """
    aliases = _aliases(matrix.images)
    wanted = _wanted(matrix, aliases)
    groups: dict[tuple[str, str], list[Image]] = {}
    for image in matrix.images:
        if (image.node, image.path) not in aliases:
            groups.setdefault((image.app, image.version), []).append(image)
    findings: list[ImageFinding] = []
    for app, version in _newest_first(groups):
        same = sorted(groups[app, version], key=lambda i: i.node)
        target, digest = wanted.get(app, version), _usual_digest(same)
        findings += [_compare_image(image, target, digest) for image in same]
    present = {(i.app, i.node) for i in matrix.images}
    for app, version in sorted(wanted.items()):
        findings += [
            ImageFinding(
                app,
                version,
                root.node,
                ImageState.MISSING,
                note="no image of this app",
            )
            for root in matrix.roots
            if root.known and (app, root.node) not in present
        ]
    for root in matrix.roots:
        findings += [
            ImageFinding(
                "", "", root.node, ImageState.STRAY, stray=stray, note=_describe_stray(stray)
            )
            for stray in root.strays
        ]
    return tuple(findings)


def _newest_first(groups: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Sort by app, and for each app the newest version first."""
    ordered = sorted(groups, key=lambda group: version_key(group[1]), reverse=True)
    return sorted(ordered, key=lambda group: group[0])


def _compare_image(image: Image, target: str, digest: str) -> ImageFinding:
    """Compare an image with the wanted version ``target`` and the usual digest of its version."""
    state, note = ImageState.CURRENT if image.current else ImageState.KEPT, ""
    if image.problem:
        state, note = ImageState.DAMAGED, image.problem
    elif image.digest and image.digest != digest:
        state, note = ImageState.DIFFERS, "other nodes have different content under this version"
    elif image.current and image.version != target:
        older = version_key(image.version) < version_key(target)
        state = ImageState.OLDER if older else ImageState.NEWER
        note = f"should be {target or 'the unversioned image'}"
    return ImageFinding(image.app, image.version, image.node, state, image, None, note)


def _usual_digest(copies: Iterable[Image]) -> str:
    """Return the digest that most copies of a version have; empty if none is recorded."""
    votes = Counter(image.digest for image in copies if image.digest and not image.problem)
    return max(votes, key=lambda digest: (votes[digest], digest), default="")


def _aliases(images: Iterable[Image]) -> set[tuple[str, str]]:
    """Return node and path of each ``<app>.sif`` whose image is also listed by its versioned
    name.
    """
    links: list[Image] = []
    named: set[tuple[str, str]] = set()
    for image in images:
        if image.current:
            if image.path.endswith(f"/{image.app}.sif"):
                links.append(image)
            else:
                named.add((image.node, image.app))
    return {(i.node, i.path) for i in links if (i.node, i.app) in named}


def _describe_stray(stray: StrayFile) -> str:
    name = stray.path.rpartition("/")[2]
    if name.startswith(".") and name.endswith((".part", ".part.pid", ".basis")):
        return "part of a running or interrupted deploy (the next deploy continues or deletes it)"
    return "unknown to vizdash"


def find_wanted_versions(matrix: Matrix) -> dict[str, str]:
    """Return the version that each app should have.

    It is the one deployed last, or else the one that is current on most nodes, and of those the
    newest.
    """
    return _wanted(matrix, _aliases(matrix.images))


def _wanted(matrix: Matrix, aliases: AbstractSet[tuple[str, str]]) -> dict[str, str]:
    present = {(i.app, i.version) for i in matrix.images}
    starting = Counter(
        (i.app, i.version) for i in matrix.images if i.current and (i.node, i.path) not in aliases
    )
    # The last entry of an app, which wins, is the one that most nodes start.
    wanted = dict(sorted(starting, key=lambda s: (starting[s], version_key(s[1]))))
    return wanted | {app: v for app, v in matrix.wanted if (app, v) in present}


def sort_drift_first(findings: Iterable[ImageFinding]) -> tuple[ImageFinding, ...]:
    """Sort findings that call for action first, and otherwise keep their order.

    On many nodes they would be lost among the images that are as they should be.
    """
    return tuple(sorted(findings, key=lambda f: not f.state.drift))


class DriftCache:
    """The findings of the last matrix, so that the same one is not compared again.

    A matrix is the same when its parts are the same objects.
    """

    def __init__(self) -> None:
        self._matrix = Matrix()
        self._findings: tuple[ImageFinding, ...] = ()
        self._drift = 0

    def count_drift(self, matrix: Matrix) -> int:
        """Return how many findings call for action."""
        self.findings(matrix)
        return self._drift

    def findings(self, matrix: Matrix) -> tuple[ImageFinding, ...]:
        """Return the findings as ``sort_drift_first`` orders them."""
        old = self._matrix
        if (
            matrix.images is not old.images
            or matrix.roots is not old.roots
            or matrix.wanted is not old.wanted
        ):
            self._findings, self._matrix = sort_drift_first(compare_images(matrix)), matrix
            self._drift = sum(finding.state.drift for finding in self._findings)
        return self._findings


def sessions_using(image: Image, sessions: Iterable[Session]) -> tuple[Session, ...]:
    """Return the live sessions that run from this image, according to their jobs."""
    return tuple(
        s
        for s in sessions
        if s.live and s.app == image.app and s.node == image.node
        if s.image_version == image.version
    )


def current_version(matrix: Matrix, root: ImageRoot, app: str) -> str:
    """Return the version that a node starts, preferably from the name of the versioned file."""
    current_images = [i for i in matrix.on(root.node) if i.app == app and i.current]
    named = [i for i in current_images if not i.path.endswith(f"/{app}.sif") and not i.alias]
    return next((i.version for i in (*named, *current_images)), "")


def newer_versions(matrix: Matrix, app: str, version: str) -> dict[str, str]:
    """Return the nodes that start a later version than ``version``, and which one.

    Where the names of the versions have no order, the node's journal decides.
    """
    newer = {}
    for root in matrix.roots:
        current = "" if root.failure else current_version(matrix, root, app)
        if not current or current == version:
            continue
        if has_order(current) and has_order(version):
            back = version_key(version) < version_key(current)
        else:
            back = version in root.journal(app).before(current)
        if back:
            newer[root.node] = current
    return newer


def find_missing(matrix: Matrix, app: str = "") -> tuple[MissingVersion, ...]:
    """Return what the nodes that answered lack of ``app``, or of every app in the inventory.

    A node that starts a later version, or was switched away from this one on purpose (its journal
    has both), lacks nothing.
    """
    missing = []
    for name, version in matrix.wanted:
        if app in {"", name}:
            later = newer_versions(matrix, name, version)
            nodes = tuple(
                root.node
                for root in matrix.roots
                if not root.failure and root.node not in later
                if _lacks(matrix, root, name, version)
            )
            if nodes:
                missing.append(MissingVersion(name, version, nodes))
    return tuple(missing)


def _lacks(matrix: Matrix, root: ImageRoot, app: str, version: str) -> bool:
    images = [i for i in matrix.on(root.node) if (i.app, i.version) == (app, version)]
    if any(i.current and i.problem for i in images):
        return True
    if current_version(matrix, root, app) == version:
        return False
    return not root.journal(app).ran(version)


@dataclass(frozen=True, slots=True)
class Inventory:
    """The image root and images of each node, and the version wanted for each app."""

    nodes: Mapping[str, tuple[ImageRoot, tuple[Image, ...]]] = field(default_factory=dict)
    wanted: tuple[tuple[str, str], ...] = ()

    def of(self, node: str) -> tuple[ImageRoot, tuple[Image, ...]]:
        """Return what is known of a node, with ``seen_at`` set; an empty image root if
        nothing is.
        """
        return self.nodes.get(node, (ImageRoot(node), ()))

    def updated(
        self,
        seen: Iterable[tuple[ImageRoot, tuple[Image, ...]]],
        wanted: Mapping[str, str] | None = None,
    ) -> Inventory:
        """Return the inventory updated with nodes surveyed just now, and with wanted versions."""
        now = int(time.time())
        nodes = dict(self.nodes)
        for root, images in seen:
            if not root.failure:
                nodes[root.node] = (replace(root, seen_at=now), images)
        return Inventory(nodes, tuple(sorted({**dict(self.wanted), **(wanted or {})}.items())))

    def to_json(self) -> str:
        """Return the file's text."""
        nodes = {
            name: {
                "seen_at": root.seen_at,
                "arch": root.arch,
                "free_bytes": root.free_bytes,
                "total_bytes": root.total_bytes,
                "strays": [asdict(stray) for stray in root.strays],
                "images": [_without_node(image) for image in images],
            }
            for name, (root, images) in sorted(self.nodes.items())
        }
        whole = {"schema": SCHEMA, "wanted": dict(self.wanted), "nodes": nodes}
        return json.dumps(whole, ensure_ascii=True, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Inventory:
        """Parse the file's text. Raises ValueError."""
        try:
            whole = json.loads(text)
        except RecursionError as e:
            raise ValueError("not an inventory: it is nested too deeply") from e
        if not isinstance(whole, dict) or whole.get("schema") != SCHEMA:
            raise ValueError("not an inventory of this version of vizdash")
        try:
            wanted = tuple(sorted((str(k), str(v)) for k, v in whole["wanted"].items()))
            nodes = {str(name): _node(str(name), part) for name, part in whole["nodes"].items()}
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as e:
            raise ValueError(f"a damaged inventory: {e!r}") from e
        return cls(nodes, wanted)


def inventory_path(cluster: Cluster) -> str:
    """Return the path of the inventory on the image host."""
    return cluster.deploy.inventory or f"{cluster.image_root.rstrip('/')}/{_NAME}"


def inventory_folder(cluster: Cluster) -> str:
    """Return the folder of the inventory and of the apps' locks."""
    return inventory_path(cluster).rpartition("/")[0] or "/"


async def read_inventory(shell: NodeShell, path: str) -> Inventory:
    """Read the inventory; empty if it does not exist or cannot be read."""
    try:
        return await _read(shell, ("cat", "--", path))
    except VizdashError:
        return Inventory()


async def query_inventory(shell: NodeShell, path: str) -> Inventory:
    """Read the inventory; empty if it does not exist or is damaged. Raises VizdashError if it
    cannot be read: an empty one must not be written over it.
    """
    return await _read(shell, ("sh", "-c", '[ ! -e "$1" ] || exec cat -- "$1"', "sh", path))


async def _read(shell: NodeShell, command: tuple[str, ...]) -> Inventory:
    result = await shell.runner.run(Command(command, timeout_s=_TIMEOUT_S))
    if result.code != 0:
        raise VizdashError(command[-1], last_line(result.stderr) or "it cannot be read")
    try:
        return Inventory.from_json(result.stdout)
    except ValueError:
        return Inventory()


async def save_inventory(shell: NodeShell, path: str, known: Inventory) -> None:
    """Write the inventory atomically, by sudo(8) where the caller's rights do not suffice.

    Raises VizdashError.
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


def _node(name: str, part: Mapping[str, Any]) -> tuple[ImageRoot, tuple[Image, ...]]:
    root = ImageRoot(
        node=name,
        seen_at=int(part["seen_at"]),
        arch=str(part.get("arch", "")),
        free_bytes=int(part["free_bytes"]),
        total_bytes=int(part["total_bytes"]),
        strays=tuple(convert(stray, StrayFile, extra_keys=True) for stray in part["strays"]),
    )
    found = (convert(image, Image, extra_keys=True) for image in part["images"])
    images = tuple(replace(image, node=name) for image in found)
    return root, images
