"""Reads the metadata of a SIF file without Apptainer, a few bytes at a time.

Format: github.com/apptainer/sif, docs/spec; the header and descriptors are those of version 01.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from vizdash.errors import VizdashError

#: Bytes at the beginning of a file that contain its metadata, unless the definition file is very
#: long.
HEAD_BYTES = 40 * 1024
_HEADER = struct.Struct("<32s10s3s3s16s8q")
_DESCRIPTOR = struct.Struct("<iBIII7q128s384s")
_LAUNCH = b"#!/usr/bin/env run-"
_MAGIC = b"SIF_MAGIC\0"
_VERSION = b"01\0"
#: The table has 48 entries by default; an object has a few KiB.
_MOST_DESCRIPTORS = 4096
_LARGEST_OBJECT = 4 << 20
_DEFINITION, _LABELS, _PARTITION, _SIGNATURE, _JSON = 0x4001, 0x4003, 0x4004, 0x4005, 0x4006
_OCI = (0x400A, 0x400B)
_METADATA_NAME = b"inspect-metadata.json"
_PRIMARY = 2
_GROUP_MASK = 0xF0000000
_SQUASHFS = 1
_FILE_SYSTEMS = {1: "squashfs", 2: "ext3", 3: "archive", 4: "raw", 5: "encrypted squashfs"}
#: Go's names of architectures, as ``apptainer inspect`` and ``build-arch`` give them.
_ARCHITECTURES = {
    "00": "", "01": "386", "02": "amd64", "03": "arm", "04": "arm64", "05": "ppc64",
    "06": "ppc64le", "07": "mips", "08": "mipsle", "09": "mips64", "10": "mips64le",
    "11": "s390x", "12": "riscv64",
}  # fmt: skip
#: What a version in a file's name may look like.
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_AGAIN = "copy or build it again"


class ByteSource(Protocol):
    """Bytes of a file, wherever it is. ``name`` is for messages."""

    @property
    def name(self) -> str:
        """The file's path."""
        ...

    @property
    def size(self) -> int:
        """The whole file's size in bytes."""
        ...

    def at(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from ``offset``; fewer at the end of the file."""
        ...


class MissingBytes(Exception):
    """Raised by FetchedBytes for bytes that were not fetched: ``offset`` and ``length``."""

    def __init__(self, offset: int, length: int) -> None:
        super().__init__(f"{length} bytes at {offset}")
        self.offset = offset
        self.length = length


class FetchedBytes:
    """A ByteSource over parts of a remote file, at first its head.

    ``parse`` raises MissingBytes for missing bytes; fetch them, ``add`` them, parse again. Two
    rounds suffice for any image.
    """

    def __init__(self, name: str, size: int, head: bytes) -> None:
        self.name = name
        self.size = size
        self._parts = {0: head}

    def add(self, offset: int, data: bytes) -> None:
        """Add fetched bytes."""
        self._parts[offset] = data

    def at(self, offset: int, length: int) -> bytes:
        """Return bytes that were fetched. Raises MissingBytes for others."""
        length = max(0, min(length, self.size - offset))
        for start, data in self._parts.items():
            if start <= offset and offset + length <= start + len(data):
                return data[offset - start : offset - start + length]
        raise MissingBytes(offset, length)


class SifError(VizdashError):
    """A file that cannot be used as an image; ``what`` is its path."""


class NotSif(SifError):
    """The file is not a SIF file."""


class TruncatedSif(SifError):
    """The file ends before an object that its table of contents lists."""


class DamagedSif(SifError):
    """The file's table of contents or metadata are invalid."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature in a file, not verified (``apptainer verify`` does that).

    ``fingerprint`` is the PGP key's, in hexadecimal (empty for other keys). The signature covers
    ``group`` or ``object_id``; the other is 0.
    """

    fingerprint: str = ""
    group: int = 0
    object_id: int = 0


@dataclass(frozen=True, slots=True)
class SifInfo:
    """The metadata of an image, as its builder claims it.

    ``arch`` is Go's name (empty: unknown), ``created_at`` and ``modified_at`` epoch seconds (0:
    unknown), ``definition`` the definition file with its build arguments filled in, ``filesystem``
    that of the system partition (empty: none).
    """

    size_bytes: int
    arch: str = ""
    created_at: int = 0
    modified_at: int = 0
    filesystem: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    definition: str = ""
    signatures: tuple[Signature, ...] = ()
    signed: bool = False
    oci: bool = False

    @property
    def app(self) -> str:
        """The app in vizdash's label ``vizdash.app``, or ``App`` of its own definition files; else
        empty.
        """
        return self.labels.get("vizdash.app", "").strip() or self.labels.get("App", "").strip()

    @property
    def version(self) -> str:
        """The version in vizdash's label; empty if there is none that can be part of a file's name.

        ``Version`` counts only beside another label of vizdash: labels inherited from a base image
        (``org.opencontainers.image.version`` and others) give that image's version.
        """
        version = self.labels.get("vizdash.version", "").strip()
        if not version and (self.app or "vizdash.definition" in self.labels):
            version = self.labels.get("Version", "").strip()
        return version if VERSION.fullmatch(version) else ""

    @property
    def has_metadata(self) -> bool:
        """Whether there are labels or a definition file.

        Images of Singularity 3.5 and older, and files made by hand, have neither; then only the
        file's name gives the version.
        """
        return bool(self.labels or self.definition)

    @property
    def problem(self) -> str:
        """Why Apptainer cannot run the image; empty if no reason is known."""
        if self.filesystem.startswith("encrypted"):
            return "it is encrypted, and sessions have no key for it"
        if self.filesystem:
            return ""
        if self.oci:
            return "it is an OCI-SIF, which only SingularityCE runs"
        return "it has no system partition"


class _LocalFile:
    """A ByteSource over an open file of this machine."""

    def __init__(self, name: str, handle: int) -> None:
        self.name = name
        self._handle = handle
        self.size = os.fstat(handle).st_size

    def at(self, offset: int, length: int) -> bytes:
        return os.pread(self._handle, length, offset)


@dataclass(frozen=True, slots=True)
class _Object:
    """One object of the file: a descriptor in use."""

    kind: int
    id: int
    group: int
    link: int
    offset: int
    size: int
    name: bytes
    extra: bytes


def read(path: Path) -> SifInfo:
    """Read the metadata of a file of this machine.

    Raises NotSif, TruncatedSif or DamagedSif, and SifError when it cannot be opened.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as e:
        raise SifError(str(path), e.strerror or str(e)) from e
    try:
        return parse(_LocalFile(str(path), handle))
    except OSError as e:  # a folder, or a failing disk
        raise SifError(str(path), e.strerror or str(e)) from e
    finally:
        os.close(handle)


def parse(source: ByteSource) -> SifInfo:
    """Read an image's metadata. Raises NotSif, TruncatedSif or DamagedSif."""
    header = _header(source)
    arch, created, modified = header[3], header[5], header[6]
    objects = list(_objects(source, total=header[8], offset=header[9]))
    for entry in objects:
        if entry.offset + entry.size > source.size:
            raise TruncatedSif(
                source.name,
                f"it has {source.size} bytes, its object {entry.id} ends at "
                f"{entry.offset + entry.size}",
                _AGAIN,
            )
    system = next((o for o in objects if _is_system(o)), None)
    if system is not None:
        _check_squashfs(source, system)
    signatures = [(o, _signature(o)) for o in objects if o.kind == _SIGNATURE]
    return SifInfo(
        size_bytes=source.size,
        arch=_architecture(arch),
        created_at=_time(created),
        modified_at=_time(modified),
        filesystem="" if system is None else _file_system(system),
        labels=_labels(source, objects),
        definition=_definition(source, objects),
        signatures=tuple(s for _, s in signatures),
        signed=any(system is not None and _covers(s, system) for _, s in signatures),
        oci=any(o.kind in _OCI for o in objects),
    )


def digest(path: Path) -> str:
    """The file's SHA-256, in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _header(source: ByteSource) -> tuple[Any, ...]:
    start = source.at(0, _HEADER.size)
    if not start:
        raise TruncatedSif(source.name, "it is empty", _AGAIN)
    begun = start.startswith(_LAUNCH) if len(start) < 42 else start[32:42] == _MAGIC
    if not begun:
        raise NotSif(
            source.name, f"not a SIF file: {_describe_content(start)}", "see apptainer build"
        )
    if len(start) < _HEADER.size:
        why = f"it has {len(start)} bytes, a SIF header has {_HEADER.size}"
        raise TruncatedSif(source.name, why, _AGAIN)
    fields = _HEADER.unpack(start)
    if fields[2] != _VERSION:
        version = fields[2].rstrip(b"\0").decode("ascii", "backslashreplace")
        raise DamagedSif(source.name, f"SIF version {version!r} where '01' is expected")
    return fields


def _describe_content(start: bytes) -> str:
    """Describe a file that is not SIF, from its first bytes."""
    kinds = {
        b"hsqs": "a bare squashfs image",
        b"\x1f\x8b": "a gzip archive",
        b"\x7fELF": "a program",
        b"PK\x03\x04": "a zip archive",
        b"<": "HTML or XML text",
        b"#!": "a script",
    }
    known = next((words for magic, words in kinds.items() if start.startswith(magic)), "")
    if known:
        return known
    if not start.strip(b"\0"):
        return "zeros, as after an interrupted copy"
    return "text" if all(b in b"\t\n\r" or b >= 32 for b in start) else "unknown data"


def _objects(source: ByteSource, *, total: int, offset: int) -> Iterator[_Object]:
    if not 0 <= total <= _MOST_DESCRIPTORS or offset < _HEADER.size:
        raise DamagedSif(source.name, "its header names an impossible table of contents")
    length = total * _DESCRIPTOR.size
    if offset + length > source.size:
        raise TruncatedSif(
            source.name,
            f"it has {source.size} bytes, its table of contents ends at {offset + length}",
            _AGAIN,
        )
    table = source.at(offset, length)
    if len(table) < length:  # the file was truncated after its size was read
        raise TruncatedSif(source.name, "its table of contents is cut off", _AGAIN)
    for fields in _DESCRIPTOR.iter_unpack(table):
        kind, used, number, group, link, begin, size = fields[:7]
        if not used:
            continue
        if begin < _HEADER.size or size < 0:
            raise DamagedSif(source.name, f"object {number} is at an impossible offset")
        yield _Object(kind, number, group & ~_GROUP_MASK, link, begin, size, fields[12], fields[13])


def _data(source: ByteSource, entry: _Object) -> bytes:
    if entry.size > _LARGEST_OBJECT:
        raise DamagedSif(source.name, f"object {entry.id} is too large for metadata")
    return source.at(entry.offset, entry.size)


def _is_system(entry: _Object) -> bool:
    return entry.kind == _PARTITION and struct.unpack_from("<i", entry.extra, 4)[0] == _PRIMARY


def _file_system(entry: _Object) -> str:
    (kind,) = struct.unpack_from("<i", entry.extra)
    return _FILE_SYSTEMS.get(kind, f"kind {kind}")


def _check_squashfs(source: ByteSource, entry: _Object) -> None:
    """Check the superblock's magic and size (squashfs_fs.h: ``bytes_used`` is at byte 40)."""
    if struct.unpack_from("<i", entry.extra)[0] != _SQUASHFS:
        return
    block = source.at(entry.offset, 96)
    if len(block) < 96 or not block.startswith(b"hsqs"):
        raise DamagedSif(source.name, "its system partition is not a squashfs", _AGAIN)
    used = struct.unpack_from("<q", block, 40)[0]
    if not 96 <= used <= entry.size:
        raise DamagedSif(
            source.name,
            f"its squashfs has {used} bytes in a partition of {entry.size}",
            _AGAIN,
        )


def _signature(entry: _Object) -> Signature:
    """Parse a signature.

    A link with the group mask refers to a group, otherwise to an object. The first 20 bytes after
    the hash type are a PGP key's fingerprint, or zeros.
    """
    key = entry.extra[4:24]
    group = entry.link & _GROUP_MASK == _GROUP_MASK
    number = entry.link & ~_GROUP_MASK
    return Signature(
        fingerprint=key.hex().upper() if any(key) else "",
        group=number if group else 0,
        object_id=0 if group else number,
    )


def _covers(signature: Signature, system: _Object) -> bool:
    by_group = signature.group != 0 and signature.group == system.group
    return by_group or (signature.object_id != 0 and signature.object_id == system.id)


def _labels(source: ByteSource, objects: list[_Object]) -> dict[str, str]:
    for entry in objects:
        if entry.kind == _JSON and entry.name.rstrip(b"\0") == _METADATA_NAME:
            tree = _json(source, entry)
            for key in ("data", "attributes", "labels"):
                tree = tree.get(key) if isinstance(tree, dict) else None
            return _texts(tree)
    for entry in objects:
        if entry.kind == _LABELS:
            return _texts(_json(source, entry))
    return {}


def _json(source: ByteSource, entry: _Object) -> Any:
    try:
        return json.loads(_data(source, entry))
    except (ValueError, RecursionError) as e:
        raise DamagedSif(source.name, "its metadata is not JSON", _AGAIN) from e


def _texts(tree: object) -> dict[str, str]:
    if not isinstance(tree, dict):
        return {}
    return {key: value for key, value in tree.items() if isinstance(value, str)}


def _definition(source: ByteSource, objects: list[_Object]) -> str:
    for entry in objects:
        if entry.kind == _DEFINITION:
            return _data(source, entry).decode("utf-8", "replace")
    return ""


def _architecture(code: bytes) -> str:
    text = code.rstrip(b"\0").decode("ascii", "backslashreplace")
    return _ARCHITECTURES.get(text, f"code {text}")


def _time(value: int) -> int:
    """Return epoch seconds; 0 for times before 1970 (reproducible builds) and after 9999."""
    return value if 0 < value < 253402300800 else 0
