"""What a node's image root holds, from the answer of ``images.sh look``."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from vizdash.errors import VizdashError
from vizdash.images import sif
from vizdash.images.source import Chunks, MissingBytes
from vizdash.model import Image, Journal, Place, Stray

_DIGEST = re.compile(r"([0-9a-f]{64})  ")
_STAMP = re.compile(r"^# (size=[0-9]{1,18} mtime=[0-9.]+ inode=[0-9]+)$", re.MULTILINE)
_DAMAGED = re.compile(r"^# damaged: ([0-9a-f]{64})$", re.MULTILINE)
#: How many fields follow each kind of record.
_FIELDS = {
    "vizdash-images": 1, "place": 7, "file": 6, "link": 1, "digest": 2, "journal": 2, "head": 2,
    "used": 1,
}  # fmt: skip
#: Bytes, and seconds since the epoch as find(1) has them (%T@).
_SIZE, _TIME = re.compile(r"[0-9]{1,18}"), re.compile(r"-?[0-9]{1,18}(?:\.[0-9]+)?")
_INVENTORY = ".inventory.json"
#: The script sends this much of an image's beginning: its metadata, and the superblock behind
#: them. Nothing of a node is trusted to unpack to more.
_MOST = 48 * 1024


@dataclass(frozen=True, slots=True)
class _File:
    """One entry of the image root; ``name`` is its path below it."""

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
class Recorded:
    """A digest file: the digest, the stamp of the file that it was read from, and what was read
    when that was another.
    """

    digest: str = ""
    stamp: str = ""
    damaged: str = ""

    @classmethod
    def parse(cls, text: str) -> Recorded:
        """From the file's text; empty for any other text."""
        digest, stamp, damaged = _DIGEST.match(text), _STAMP.search(text), _DAMAGED.search(text)
        if not digest or not stamp:
            return cls()
        return cls(digest[1], stamp[1], damaged[1] if damaged else "")

    @property
    def size(self) -> int:
        """The size in bytes that the file had then."""
        return int(self.stamp.partition(" ")[0].removeprefix("size="))


@dataclass(slots=True)
class _Answer:
    """The records of one answer, by the names of files below the root."""

    about: Sequence[str] = ()
    files: dict[str, _File] = field(default_factory=dict)
    digests: dict[str, Recorded] = field(default_factory=dict)
    journals: list[Journal] = field(default_factory=list)
    heads: dict[str, str] = field(default_factory=dict)
    links: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    def take(self, kind: str, values: Sequence[str], node: str) -> None:
        if kind == "place":
            self.about = values
        elif kind == "file":
            file = _file(values, node)
            self.files[file.name] = file
        elif kind == "digest":
            self.digests[values[0].removesuffix(".sha256")] = Recorded.parse(values[1])
        elif kind == "journal":
            self.journals.append(Journal.parse(*values))
        elif kind == "head":
            self.heads[values[0]] = values[1]
        elif kind == "link":
            self.links.add(values[0])
        elif kind == "used":
            self.used.add(values[0])


def parse(answer: Sequence[str], node: str, root: str) -> tuple[Place, tuple[Image, ...]]:
    """The place and its images. Raises VizdashError for an answer that makes no sense."""
    taken = _Answer()
    for kind, values in _records(answer, node):
        taken.take(kind, values, node)
    if len(taken.about) != _FIELDS["place"]:
        raise VizdashError(node or "images", "the answer names no place")
    files = sorted(taken.files.values(), key=lambda file: file.name)
    images = tuple(_image(file, node, root, taken) for file in files if _app_of(file))
    place = _place(taken.about, node, root, taken.files)
    return replace(place, journals=tuple(taken.journals)), images


def _records(answer: Sequence[str], node: str) -> Iterator[tuple[str, Sequence[str]]]:
    at = 0
    while at < len(answer):
        kind = answer[at]
        count = _FIELDS.get(kind)
        if count is None or at + count >= len(answer):
            raise VizdashError(node or "images", f"an answer that makes no sense: {kind[:40]!r}")
        yield kind, answer[at + 1 : at + 1 + count]
        at += 1 + count


def _file(values: Sequence[str], node: str) -> _File:
    name, kind, size, mtime, inode, device = values
    if not _SIZE.fullmatch(size):
        raise VizdashError(node or "images", f"a size that is none: {size[:40]!r}")
    if not _TIME.fullmatch(mtime):
        raise VizdashError(node or "images", f"a time that is none: {mtime[:40]!r}")
    return _File(name, kind, int(size), mtime, inode, device)


def _app_of(file: _File) -> str:
    """The app whose image this is; empty when it's none."""
    app, _, name = file.name.partition("/")
    stem = name.removesuffix(".sif")
    if file.kind != "f" or not name.endswith(".sif") or stem.startswith("."):
        return ""
    return app if stem == app or stem.startswith(f"{app}-") else ""


def _image(file: _File, node: str, root: str, taken: _Answer) -> Image:
    recorded = taken.digests.get(file.name, Recorded())
    app = _app_of(file)
    stem = file.name.partition("/")[2].removesuffix(".sif")
    version, problem = stem.removeprefix(app).removeprefix("-"), ""
    if file.name in taken.heads:
        labelled, problem = _head(file, taken.heads[file.name])
        version = version or labelled
    now = taken.files.get(f"{app}/{app}.sif")
    fresh = recorded.stamp == file.stamp
    if fresh and recorded.damaged:
        problem = "damaged: its content is not what was deployed"
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
        open=f"{file.device}:{file.inode}" in taken.used,
        alias=file.name in taken.links,
        linked=_linked(file, app, taken),
    )


def _linked(file: _File, app: str, taken: _Answer) -> str:
    """Another link in the image root that leads to this file."""
    for name in sorted(taken.links - {file.name, f"{app}/{app}.sif"}):
        other = taken.files.get(name)
        if other and (other.device, other.inode) == (file.device, file.inode):
            return name
    return ""


def _head(file: _File, text: str) -> tuple[str, str]:
    """The version that an image's beginning tells, and why it's none."""
    try:
        data = zlib.decompressobj(wbits=31).decompress(base64.b64decode(text), _MOST)
        info = sif.parse(Chunks(file.name, file.size, data))
        return info.version, info.problem if info.filesystem else ""
    except MissingBytes:
        return "", ""  # a long definition file: nothing to tell here
    except sif.SifError as e:
        return "", e.why
    except (binascii.Error, zlib.error, ValueError):
        return "", "its beginning can't be read"


def _place(about: Sequence[str], node: str, root: str, files: dict[str, _File]) -> Place:
    arch, user, writable, free, total, tools, exists = about
    folders = {f.name for f in files.values() if f.kind == "d"}
    strays = [f for f in files.values() if _stray(f, files, folders)]
    return Place(
        node=node,
        arch=arch,
        user=user,
        writable=writable == "1",
        exists=exists == "1",
        free_bytes=int(free) if _SIZE.fullmatch(free) else 0,
        total_bytes=int(total) if _SIZE.fullmatch(total) else 0,
        tools=tuple(tools.split()),
        strays=tuple(
            Stray(f"{root.rstrip('/')}/{f.name}", f.size, int(float(f.mtime)))
            for f in sorted(strays, key=lambda f: f.name)
        ),
    )


def _stray(file: _File, files: dict[str, _File], folders: set[str]) -> bool:
    """Whether it has no business in an image root."""
    app, _, name = file.name.partition("/")
    if not name:
        ours = file.name == _INVENTORY or file.name.startswith(".lease-")
        return file.name not in folders and not ours
    if name in {".lock", ".journal"} or _app_of(file):
        return False
    if name.endswith(".sif.sha256"):
        return f"{app}/{name.removesuffix('.sha256')}" not in files
    return True
