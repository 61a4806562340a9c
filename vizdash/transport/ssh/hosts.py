"""~/.ssh/known_hosts: whom we know, in which line, and how a new one gets in."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from vizdash.files import write_whole

_SYSTEM = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
_USER = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class KnownHosts:
    """The files that ssh_config(5) names, read as they are now.

    ``UserKnownHostsFile none`` would turn the check off in asyncssh: here it means that nothing
    is known, so that every key is asked about. Lines that can't be read are skipped, as ssh does.
    """

    def __init__(self, mine: Sequence[str] | None, system: Sequence[str] | None) -> None:
        self._mine = _paths(_USER if mine is None else mine)
        self._all = [*self._mine, *_paths(_SYSTEM if system is None else system)]
        self._known = asyncssh.import_known_hosts("")
        for _, text in self._lines():
            load(self._known, text)

    def match(self, host: str, address: str, port: int | None) -> tuple[object, ...]:
        """What asyncssh asks for: by name only, as ssh does (CheckHostIP is off by default)."""
        return tuple(self._known.match(host, "", port)[:3])

    def places(self, host: str, port: int) -> list[Place]:
        """The lines that name this host, hashed or not; those that name the port alone count,
        where there are any.
        """
        exact, plain = [], []
        for place, text in self._lines():
            one = asyncssh.import_known_hosts("")
            load(one, text)
            if any(one.match(host, "", None)[:3]):
                plain.append(place)
            elif port != 22 and any(one.match(host, "", port)[:3]):
                exact.append(place)
        return exact or plain

    def add(self, host: str, port: int, key: asyncssh.SSHKey) -> Path:
        """Remember a key in the user's first file, written whole. Raises OSError, or
        UnicodeError for a file that is no text.
        """
        file = Path(os.path.realpath(self._mine[0] if self._mine else Path(_USER[0]).expanduser()))
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text, mode = "", 0o600
        if file.exists():
            text, mode = (
                file.read_text("utf-8", "surrogateescape"),
                stat.S_IMODE(file.stat().st_mode),
            )
        if text and not text.endswith("\n"):
            text += "\n"
        name = host if port == 22 else f"[{host}]:{port}"
        words = key.export_public_key("openssh").decode().split()
        write_whole(file, f"{text}{name} {words[0]} {words[1]}\n", mode)
        return file

    def _lines(self) -> Iterator[tuple[Place, str]]:
        for file in self._all:
            try:
                text = file.read_text("utf-8", "replace")
            except OSError:
                continue
            for number, line in enumerate(text.splitlines(), 1):
                yield Place(file, number), line


def _paths(names: Sequence[str]) -> list[Path]:
    return [Path(name).expanduser() for name in names if name.lower() != "none"]


def load(known: asyncssh.SSHKnownHosts, line: str) -> None:
    """Take in one line, if it can be read."""
    try:
        known.load(line)
    except ValueError:
        return


def fingerprint(key: asyncssh.SSHKey) -> str:
    """As ssh shows it: ``ED25519 SHA256:...``."""
    kind = key.get_algorithm().removeprefix("ssh-").removesuffix("@openssh.com")
    name = {"ecdsa-sha2-nistp256": "ecdsa"}.get(kind, kind).upper()
    return f"{name} {key.get_fingerprint()}"
