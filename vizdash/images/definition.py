"""Reads Apptainer definition files (.def): where they are, what they copy, and vizdash's labels."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shlex
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vizdash.errors import NotFound, Refused, UsageError
from vizdash.images.sif import VERSION
from vizdash.util.assets import assets

#: Maximum bytes of files sent to a build host; larger ones belong in the base image.
_MAX_FILES_BYTES = 256 << 20
_FIX = "where: here, or an absolute path that exists on the build host"
_ARGUMENT = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_SECTION = re.compile(r"^\s*%(\w+)", re.MULTILINE)
_DEFAULT = re.compile(r"^\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$")
_VERSION_LABEL = re.compile(r"^\s*Version\s+(\S+)\s*$", re.IGNORECASE)
#: Maximum bytes of a definition file.
_MAX_DEFINITION_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition file. ``digest`` is the SHA-256 of its bytes."""

    path: Path
    text: str
    digest: str

    @property
    def arguments(self) -> frozenset[str]:
        """The names of its build arguments."""
        return frozenset(_ARGUMENT.findall(self.text))

    @property
    def defaults(self) -> dict[str, str]:
        """The defaults of its build arguments, from ``%arguments``."""
        matches = (_DEFAULT.match(line) for line in self._section("arguments"))
        return {match[1]: match[2] for match in matches if match}

    @property
    def version(self) -> str:
        """The default version; empty when the file names none."""
        if "version" in self.arguments:
            return self.defaults.get("version", "")
        matches = (_VERSION_LABEL.match(line) for line in self._section("labels"))
        versions = [match[1] for match in matches if match]
        return versions[-1] if versions and VERSION.fullmatch(versions[-1]) else ""

    def _section(self, name: str) -> list[str]:
        lines: list[str] = []
        inside = False
        for line in self.text.splitlines():
            if begins := _SECTION.match(line):
                inside = begins[1].lower() == name
            elif inside:
                lines.append(line)
        return lines

    def sources(self, arguments: Mapping[str, str]) -> tuple[str, ...]:
        """Return what ``%files`` copies from this machine by relative paths or patterns.

        ``arguments`` are the build arguments.
        """
        values = {**self.defaults, **arguments}
        sources: list[str] = []
        inside = False
        for line in self.text.splitlines():
            if begins := _SECTION.match(line):
                rest = line[begins.end() :].split()
                inside = begins[1].lower() == "files" and rest[:1] != ["from"]
            elif inside and line.strip() and not line.lstrip().startswith("#"):
                text = _ARGUMENT.sub(lambda m: values.get(m[1], m[0]), line)
                try:
                    words = shlex.split(text)
                except ValueError:
                    words = text.split()
                sources += [w for w in words[:1] if not w.startswith("/")]
        return tuple(sources)

    def with_labels(self, labels: Mapping[str, str]) -> str:
        """Return the text with labels added, which override its own."""
        lines = [f"    {key} {value}" for key, value in labels.items()]
        return "\n".join([self.text.rstrip("\n"), "", "%labels", *lines, ""])


def find_definition(app: str, site_folder: str) -> Definition:
    """Return the definition file of an app: the site's, or else vizdash's own.

    Raises NotFound naming both folders, and UsageError for a file that is no definition file.
    """
    folders = [Path(site_folder).expanduser()] if site_folder else []
    folders.append(assets() / "defs")
    for folder in folders:
        path = folder / f"{app}.def"
        if path.is_file():
            return read_definition(path)
    searched = ", ".join(str(folder) for folder in folders)
    raise NotFound(f"definition file {app}.def", f"not in {searched}", "see build.definitions")


def read_definition(path: Path) -> Definition:
    """Read a definition file. Raises UsageError for anything else."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_DEFINITION_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as e:
        raise UsageError(str(path), e.strerror or str(e)) from e
    except UnicodeDecodeError as e:
        raise UsageError(str(path), "not UTF-8, so not a definition file") from e
    if len(data) > _MAX_DEFINITION_BYTES or "\0" in text:
        raise UsageError(str(path), "not a definition file")
    if not re.search(r"^\s*bootstrap\s*:", text, re.IGNORECASE | re.MULTILINE):
        raise UsageError(str(path), "no Bootstrap line, so not a definition file")
    return Definition(path.absolute(), text, hashlib.sha256(data).hexdigest())


def check_sources(sources: Iterable[str], folder: Path) -> None:
    """Check that all sources exist. Raises UsageError for one that does not."""
    for source in sources:
        _matching_files(source, folder)


def pack_sources(sources: Iterable[str], folder: Path) -> str:
    """Pack sources as a tar archive, in gzip and base64; empty without sources.

    Links are followed, as Apptainer does. Raises UsageError and Refused.
    """
    paths = [path for source in sources for path in _matching_files(source, folder)]
    if not paths:
        return ""
    buffer = io.BytesIO()
    try:
        with tarfile.open(fileobj=buffer, mode="w:gz", dereference=True) as archive:
            for path in paths:
                name = path.relative_to(folder)
                if ".." in name.parts:
                    raise Refused(f"%files {name}", f"outside of {folder}", _FIX)
                archive.add(path, str(name))
                if buffer.tell() > _MAX_FILES_BYTES:
                    raise Refused("%files", f"more than {_MAX_FILES_BYTES >> 20} MiB", _FIX)
    except (OSError, ValueError) as e:
        raise UsageError("%files", str(e)) from e
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _matching_files(source: str, folder: Path) -> list[Path]:
    paths = sorted(folder.glob(source)) if set(source) & set("*?[") else [folder / source]
    if not paths or not all(path.exists() for path in paths):
        raise UsageError(f"%files {source}", f"no such file in {folder}")
    return paths
