"""What each node's image folder holds: asked of all nodes at once, and cached.

The verb ``look`` of images.sh lists a node's image root as records, which ``parse_answer`` turns
into an ImageRoot and its Images.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import re
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vizdash.config import Cluster
from vizdash.errors import HostKeyRefused, LoginRefused, VizdashError
from vizdash.images import drift, sif
from vizdash.images.drift import Inventory, find_wanted_versions
from vizdash.images.node_script import NodeShell
from vizdash.images.sif import FetchedBytes, MissingBytes
from vizdash.images.throttle import FIRST, LoginCount, LoginRefusals, Throttle
from vizdash.model import Image, ImageRoot, Journal, Matrix, Node, StrayFile
from vizdash.model.image import app_of_file
from vizdash.transport.base import CommandRunner
from vizdash.transport.node_ssh import NodeHosts

_DIGEST = re.compile(r"([0-9a-f]{64})  ")
_STAMP = re.compile(r"^# (size=[0-9]{1,18} mtime=[0-9.]+ inode=[0-9]+)$", re.MULTILINE)
_DAMAGED = re.compile(r"^# damaged: ([0-9a-f]{64})$", re.MULTILINE)
#: The number of fields of each kind of record.
_FIELDS = {
    "vizdash-images": 1, "place": 7, "file": 6, "link": 1, "digest": 2, "journal": 2, "head": 2,
    "used": 1,
}  # fmt: skip
#: Sizes in bytes, and epoch seconds as find(1) prints them (%T@).
_SIZE, _TIME = re.compile(r"[0-9]{1,18}"), re.compile(r"-?[0-9]{1,18}(?:\.[0-9]+)?")
_INVENTORY = ".inventory.json"
#: The script sends this much of the beginning of an image: its metadata and the superblock. Data
#: from a node must not unpack to more.
_MAX_HEAD_BYTES = 48 * 1024
#: Seconds that a node has to answer the dashboard, which asks again, and a user who waits for the
#: answer. ssh(1) gives up unreachable nodes sooner (see node_script.py).
_NODE_S = 6.0
PATIENT_S = 60.0
#: Seconds for which a survey stays fresh.
_FRESH_S = 60.0
#: Nodes in these states do not answer.
UNREACHABLE_STATES = {"down", "not responding", "powered down", "powering down", "powering up"}


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of an image root; ``name`` is its path relative to the root."""

    name: str
    kind: str
    size: int
    mtime: str
    inode: str
    device: str

    @property
    def stamp(self) -> str:
        return f"size={self.size} mtime={self.mtime} inode={self.inode}"


@dataclass(frozen=True, slots=True)
class DigestRecord:
    """A digest file.

    ``stamp`` is that of the file when the digest was recorded, ``damaged`` the digest that was last
    read if it differs.
    """

    digest: str = ""
    stamp: str = ""
    damaged: str = ""

    @classmethod
    def parse(cls, text: str) -> DigestRecord:
        """Parse the file's text; empty for any other text."""
        digest, stamp, damaged = _DIGEST.match(text), _STAMP.search(text), _DAMAGED.search(text)
        if not digest or not stamp:
            return cls()
        return cls(digest[1], stamp[1], damaged[1] if damaged else "")

    @property
    def size(self) -> int:
        """The size in bytes that the file had when its digest was recorded."""
        return int(self.stamp.partition(" ")[0].removeprefix("size="))


@dataclass(slots=True)
class _NodeAnswer:
    """The records of one node's answer, by file name."""

    about: Sequence[str] = ()
    files: dict[str, _Entry] = field(default_factory=dict)
    digests: dict[str, DigestRecord] = field(default_factory=dict)
    journals: list[Journal] = field(default_factory=list)
    heads: dict[str, str] = field(default_factory=dict)
    links: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    def take(self, kind: str, values: Sequence[str], node: str) -> None:
        if kind == "place":
            self.about = values
        elif kind == "file":
            file = _parse_entry(values, node)
            self.files[file.name] = file
        elif kind == "digest":
            self.digests[values[0].removesuffix(".sha256")] = DigestRecord.parse(values[1])
        elif kind == "journal":
            self.journals.append(Journal.parse(*values))
        elif kind == "head":
            self.heads[values[0]] = values[1]
        elif kind == "link":
            self.links.add(values[0])
        elif kind == "used":
            self.used.add(values[0])


def parse_answer(
    answer: Sequence[str], node: str, root: str
) -> tuple[ImageRoot, tuple[Image, ...]]:
    """Return the image root and its images. Raises VizdashError for an invalid answer."""
    records = _NodeAnswer()
    for kind, values in _records(answer, node):
        records.take(kind, values, node)
    if len(records.about) != _FIELDS["place"]:
        raise VizdashError(node or "images", "the answer has no image root")
    files = sorted(records.files.values(), key=lambda file: file.name)
    images = tuple(_build_image(file, node, root, records) for file in files if _app_of(file))
    image_root = _build_root(records.about, node, root, records.files)
    return replace(image_root, journals=tuple(records.journals)), images


def _records(answer: Sequence[str], node: str) -> Iterator[tuple[str, Sequence[str]]]:
    at = 0
    while at < len(answer):
        kind = answer[at]
        count = _FIELDS.get(kind)
        if count is None or at + count >= len(answer):
            raise VizdashError(node or "images", f"invalid answer: {kind[:40]!r}")
        yield kind, answer[at + 1 : at + 1 + count]
        at += 1 + count


def _parse_entry(values: Sequence[str], node: str) -> _Entry:
    name, kind, size, mtime, inode, device = values
    if not _SIZE.fullmatch(size):
        raise VizdashError(node or "images", f"invalid size: {size[:40]!r}")
    if not _TIME.fullmatch(mtime):
        raise VizdashError(node or "images", f"invalid time: {mtime[:40]!r}")
    return _Entry(name, kind, int(size), mtime, inode, device)


def _app_of(file: _Entry) -> str:
    """Return the app whose image this is; empty for other files."""
    return app_of_file(file.name) if file.kind == "f" else ""


def _build_image(file: _Entry, node: str, root: str, answer: _NodeAnswer) -> Image:
    recorded = answer.digests.get(file.name, DigestRecord())
    app = _app_of(file)
    stem = file.name.partition("/")[2].removesuffix(".sif")
    version, problem = stem.removeprefix(app).removeprefix("-"), ""
    if file.name in answer.heads:
        labelled, problem = _read_head(file, answer.heads[file.name])
        version = version or labelled
    now = answer.files.get(f"{app}/{app}.sif")
    fresh = recorded.stamp == file.stamp
    if fresh and recorded.damaged:
        problem = "damaged: its content differs from what was deployed"
    elif not file.size:
        problem = "it is empty"
    elif recorded.stamp and recorded.size != file.size:
        problem = f"damaged: it has {file.size} bytes, {recorded.size} were deployed"
    return Image(
        app=app,
        path=f"{root.rstrip('/')}/{file.name}",
        version=version,
        size_bytes=file.size,
        modified_at=int(float(file.mtime)),
        node=node,
        current=now is not None and (now.device, now.inode) == (file.device, file.inode),
        digest=(recorded.damaged or recorded.digest) if fresh else "",
        problem=problem,
        open=f"{file.device}:{file.inode}" in answer.used,
        alias=file.name in answer.links,
        linked=_other_link(file, app, answer),
    )


def _other_link(file: _Entry, app: str, answer: _NodeAnswer) -> str:
    """Return another link in the image root that leads to this file."""
    for name in sorted(answer.links - {file.name, f"{app}/{app}.sif"}):
        other = answer.files.get(name)
        if other and (other.device, other.inode) == (file.device, file.inode):
            return name
    return ""


def _read_head(file: _Entry, text: str) -> tuple[str, str]:
    """Return the version in an image's metadata, and the reason why the image cannot be used."""
    try:
        data = zlib.decompressobj(wbits=31).decompress(base64.b64decode(text), _MAX_HEAD_BYTES)
        info = sif.parse(FetchedBytes(file.name, file.size, data))
        return info.version, info.problem if info.filesystem else ""
    except MissingBytes:
        return "", ""  # a long definition file: the version is unknown
    except sif.SifError as e:
        return "", e.why
    except (binascii.Error, zlib.error, ValueError):
        return "", "its metadata can't be read"


def _build_root(about: Sequence[str], node: str, root: str, files: dict[str, _Entry]) -> ImageRoot:
    arch, user, writable, free, total, tools, exists = about
    folders = {f.name for f in files.values() if f.kind == "d"}
    strays = [f for f in files.values() if _is_stray(f, files, folders)]
    return ImageRoot(
        node=node,
        arch=arch,
        user=user,
        writable=writable == "1",
        exists=exists == "1",
        free_bytes=int(free) if _SIZE.fullmatch(free) else 0,
        total_bytes=int(total) if _SIZE.fullmatch(total) else 0,
        tools=tuple(tools.split()),
        strays=tuple(
            StrayFile(f"{root.rstrip('/')}/{f.name}", f.size, int(float(f.mtime)))
            for f in sorted(strays, key=lambda f: f.name)
        ),
    )


def _is_stray(file: _Entry, files: dict[str, _Entry], folders: set[str]) -> bool:
    """Whether a file does not belong in an image root."""
    app, _, name = file.name.partition("/")
    if not name:
        ours = file.name == _INVENTORY or file.name.startswith(".lease-")
        return file.name not in folders and not ours
    if name in {".lock", ".journal"} or _app_of(file):
        return False
    if name.endswith(".sif.sha256"):
        return f"{app}/{name.removesuffix('.sha256')}" not in files
    return True


async def survey_node(
    shell: NodeShell,
    node: str,
    root: str,
    *,
    full: bool = False,
    sudo: bool = False,
    timeout_s: float = _NODE_S,
) -> tuple[ImageRoot, tuple[Image, ...]]:
    """Survey one node's image root; with ``full``, also which images are open (see Image.open).

    Raises Unreachable, TimedOut or VizdashError.
    """
    words = (root, "1" if full else "0")
    answer = await shell.ask(node, "look", *words, sudo=sudo, timeout_s=timeout_s)
    return parse_answer(answer, node, root)


async def survey_nodes(
    shell: NodeShell,
    nodes: Iterable[str],
    root: str,
    *,
    inventory: Inventory | None = None,
    skip: Mapping[str, str] | None = None,
    full: bool = False,
    sudo: bool = False,
    asked: bool = False,
    timeout_s: float = 0.0,
) -> Matrix:
    """Survey all nodes at once.

    A node that does not answer in time only affects its own row, which then shows the inventory.
    ``skip`` names nodes that are not queried, and why.

    Nodes that refused a login are skipped for hours, unless the user ``asked`` explicitly. If
    hardly any of the first few nodes accepts the login, the others are not queried either.
    """
    skipped = dict(skip or {})
    known = inventory or Inventory()
    names = tuple(nodes)
    timeout_s = timeout_s or (PATIENT_S if asked else _NODE_S)
    refusals = LoginRefusals() if asked else shell.refusals
    for node in names:
        if (why := refusals.reason_for(node)) and not shell.is_here(node):
            skipped.setdefault(node, why)
    logins = LoginCount(shell.refusals)

    async def one(node: str) -> tuple[str, tuple[ImageRoot, tuple[Image, ...]]]:
        why = skipped.get(node, "") or logins.skip_reason
        try:
            if not why:
                seen = await survey_node(
                    shell, node, root, full=full, sudo=sudo, timeout_s=timeout_s
                )
                logins.answered(node)
                return node, seen
        except VizdashError as e:
            why = _describe_failure(e, node)
            if isinstance(e, LoginRefused):
                logins.refused(node, why)
        image_root, images = known.of(node)
        return node, (replace(image_root, failure=why), images)

    surveyed: dict[str, tuple[ImageRoot, tuple[Image, ...]]] = {}
    for wave in _query_order(names, skipped):
        surveyed.update(await asyncio.gather(*(one(node) for node in wave)))
    logins.remember()
    return Matrix(
        images=tuple(image for node in names for image in surveyed[node][1]),
        roots=tuple(surveyed[node][0] for node in names),
        wanted=known.wanted,
        root=root,
    )


def _query_order(names: Sequence[str], skipped: Mapping[str, str]) -> tuple[Sequence[str], ...]:
    """Return a few nodes, spread over the list, and then all others."""
    asked = [name for name in names if name not in skipped]
    first = [asked[at * len(asked) // FIRST] for at in range(FIRST)] if len(asked) > FIRST else []
    rest = [name for name in names if name not in set(first)]
    return first, rest


def _describe_failure(error: VizdashError, node: str) -> str:
    """Return the cause without the node's name, which the row has already.

    The fix is kept only for host keys, where the user has to act.
    """
    if error.what != node:
        return error.line
    fix = f" ({error.fix})" if isinstance(error, HostKeyRefused) else ""
    return f"{error.why or error.line}{fix}"


@dataclass(slots=True)
class _CachedSurvey:
    """The last survey of some nodes, with its time and each node's seconds; one in progress."""

    matrix: Matrix = field(default_factory=Matrix)
    surveyed_at: float = float("-inf")
    node_s: float = 0.0
    task: asyncio.Task[None] | None = None

    def is_due(self, node_s: float) -> bool:
        """Whether it is out of date, or a node did not answer that gets more time now."""
        if time.monotonic() - self.surveyed_at > _FRESH_S:
            return True
        return node_s > self.node_s and any(root.failure for root in self.matrix.roots)


class ImageSurvey:
    """Surveys image roots for one cluster, and caches the results.

    With ``here``, the image root of this machine is that of every node. ``latest`` is the matrix of
    the nodes that were last asked for.
    """

    def __init__(
        self,
        runner: CommandRunner,
        cluster: Cluster,
        *,
        here: bool,
        hosts: NodeHosts | None = None,
    ) -> None:
        self._runner = runner
        self._hosts = hosts
        self._here = here
        self._changes = 0
        self._refusals = LoginRefusals()
        self._cached: dict[frozenset[str], _CachedSurvey] = {}
        self._configure(cluster)

    def _configure(self, cluster: Cluster) -> None:
        here = self._here or cluster.deploy.method == "shared"
        where = cluster.host.rpartition("@")[2] if not self._here else ""
        self.shell = NodeShell(
            self._runner,
            cluster.deploy,
            here=here,
            hosts=self._hosts,
            where=where,
            throttle=Throttle(cluster.deploy.at_once),
            refusals=self._refusals,
        )
        self.latest = Matrix()
        self._cluster = cluster

    def use_cluster(self, cluster: Cluster) -> None:
        """Use new settings of the cluster. If they differ, cached surveys are dropped."""
        if cluster == self._cluster:
            return
        self._configure(cluster)
        for cached in self._cached.values():
            cached.matrix = Matrix()
        self.invalidate()

    async def survey(
        self,
        nodes: Sequence[Node],
        *,
        full: bool = False,
        sudo: bool = False,
        asked: bool = False,
        timeout_s: float = 0.0,
        shell: NodeShell | None = None,
    ) -> Matrix:
        """Survey the image roots of these nodes, with the caller's rights or by sudo(8).

        Nodes that Slurm reports as unreachable are not queried. A user who ``asked`` explicitly
        waits longer, and has nodes queried that refused a login before. ``shell`` has connections
        to the nodes that are shared.
        """
        shell = shell or self.shell
        known = await drift.read_inventory(shell, drift.inventory_path(self._cluster))
        return await survey_nodes(
            shell,
            [n.name for n in nodes],
            self._cluster.image_root,
            inventory=known,
            skip={
                n.name: f"the node is {n.state_text}"
                for n in nodes
                if n.state_text in UNREACHABLE_STATES
            },
            full=full,
            sudo=sudo,
            asked=asked,
            timeout_s=timeout_s,
        )

    async def cached_matrix(
        self, nodes: Sequence[Node], wait_s: float | None = None, *, node_s: float = 0.0
    ) -> Matrix:
        """Return the cached matrix, surveyed again when it is out of date.

        After ``wait_s`` seconds the matrix known so far is returned, so that a slow node delays no
        caller. Each node has ``node_s`` seconds to answer (0: the usual few).
        """
        cached = self._cached.setdefault(frozenset(node.name for node in nodes), _CachedSurvey())
        while cached.is_due(node_s):
            task = cached.task
            older = task is not None and not task.done()  # it may give nodes less time
            if task is None or task.done():
                task = cached.task = asyncio.create_task(self._refresh(cached, nodes, node_s))
            done, _ = await asyncio.wait((task,), timeout=wait_s)
            if done:
                task.result()
            if not (older and done):
                break
        self.latest = cached.matrix
        return self.latest

    async def _refresh(self, cached: _CachedSurvey, nodes: Sequence[Node], node_s: float) -> None:
        changes = -1
        while changes != self._changes:  # a survey that began before a change may not show it
            changes = self._changes
            matrix = await self.survey(nodes, timeout_s=node_s)
        if matrix != cached.matrix:  # DriftCache relies on it that an equal one stays the same
            cached.matrix = matrix
        cached.surveyed_at, cached.node_s = time.monotonic(), node_s

    async def wanted_versions(self) -> dict[str, str]:
        """Return the version that new sessions of each app run: from the last survey, or else the
        inventory.
        """
        if self.latest.images:
            return find_wanted_versions(self.latest)
        known = await drift.read_inventory(self.shell, drift.inventory_path(self._cluster))
        return dict(known.wanted)

    def invalidate(self) -> None:
        """Survey again the next time; a survey in progress is repeated."""
        self._changes += 1
        for cached in self._cached.values():
            cached.surveyed_at = float("-inf")

    async def close(self) -> None:
        """Cancel surveys in progress."""
        for cached in self._cached.values():
            if cached.task is not None:
                cached.task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await cached.task
