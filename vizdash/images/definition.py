"""Definition files (apptainer-build's .def): where they are, what they ask for, what we add.

The format is that of the Apptainer user guide, "Definition Files": ``{{ name }}`` takes a build
argument, whose default may stand in ``%arguments``; sections of one name are joined, and of two
labels of one name the later counts. So labels are added by one more ``%labels`` at the end.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vizdash.errors import NotFound, UsageError
from vizdash.images.sif import VERSION
from vizdash.resources import assets

_ARGUMENT = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_SECTION = re.compile(r"^\s*%(\w+)", re.MULTILINE)
_DEFAULT = re.compile(r"^\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$")
_VERSION_LABEL = re.compile(r"^\s*Version\s+(\S+)\s*$", re.IGNORECASE)
#: No definition file is larger.
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition file as it was read. ``digest`` is the SHA-256 of its bytes."""

    path: Path
    text: str
    digest: str

    @property
    def arguments(self) -> frozenset[str]:
        """The build arguments that it asks for."""
        return frozenset(_ARGUMENT.findall(self.text))

    @property
    def defaults(self) -> dict[str, str]:
        """The build arguments' defaults, of its ``%arguments``."""
        found = (_DEFAULT.match(line) for line in self._section("arguments"))
        return {match[1]: match[2] for match in found if match}

    @property
    def version(self) -> str:
        """The version it has when none is asked for; empty when it tells none."""
        if "version" in self.arguments:
            return self.defaults.get("version", "")
        found = (_VERSION_LABEL.match(line) for line in self._section("labels"))
        versions = [match[1] for match in found if match]
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
        """What ``%files`` copies from this machine by a relative path, which may be a pattern;
        ``arguments`` are the build's.
        """
        values = {**self.defaults, **arguments}
        found: list[str] = []
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
                found += [w for w in words[:1] if not w.startswith("/")]
        return tuple(found)

    def with_labels(self, labels: Mapping[str, str]) -> str:
        """The text with labels added, which win over its own."""
        lines = [f"    {key} {value}" for key, value in labels.items()]
        return "\n".join([self.text.rstrip("\n"), "", "%labels", *lines, ""])


def find(app: str, site_folder: str) -> Definition:
    """The definition file of an app: the site's when it has one, else the one that we bring.

    Raises NotFound naming both places, and UsageError for a file that is none.
    """
    places = [Path(site_folder).expanduser()] if site_folder else []
    places.append(assets() / "defs")
    for place in places:
        path = place / f"{app}.def"
        if path.is_file():
            return read(path)
    looked = ", ".join(str(place) for place in places)
    raise NotFound(f"definition file {app}.def", f"not in {looked}", "see build.definitions")


def read(path: Path) -> Definition:
    """Raises UsageError for what can't be a definition file."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        text = data.decode("utf-8")
    except OSError as e:
        raise UsageError(str(path), e.strerror or str(e)) from e
    except UnicodeDecodeError as e:
        raise UsageError(str(path), "not UTF-8, so no definition file") from e
    if len(data) > _LARGEST or "\0" in text:
        raise UsageError(str(path), "no definition file")
    if not re.search(r"^\s*bootstrap\s*:", text, re.IGNORECASE | re.MULTILINE):
        raise UsageError(str(path), "it has no Bootstrap line, so it is no definition file")
    return Definition(path.absolute(), text, hashlib.sha256(data).hexdigest())
