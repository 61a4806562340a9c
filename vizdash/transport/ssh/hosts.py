"""~/.ssh/known_hosts: whom we know, in which line, and how a new one gets in."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

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

    def trust(self, host: str, port: int, key: asyncssh.SSHKey) -> None:
        """Take a key as known, for this run."""
        name = host if port == 22 else f"[{host}]:{port}"
        load(self._known, f"{name} {key.export_public_key('openssh').decode()}")

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

    def add(self, host: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Append a key to the user's first file, as ssh does (others may append meanwhile).

        False, and nothing is written, where that file is neither regular nor absent
        (``/dev/null``, a FIFO) or can't be written: the key is then trusted for this run only.
        """
        if not self._mine:
            return False
        name = host if port == 22 else f"[{host}]:{port}"
        words = key.export_public_key("openssh").decode().split()
        return append_line(self._mine[0], f"{name} {words[0]} {words[1]}")

    def _lines(self) -> Iterator[tuple[Place, str]]:
        for file in self._all:
            if not file.is_file():
                continue
            try:
                text = file.read_text("utf-8", "replace")
            except OSError:
                continue
            for number, line in enumerate(text.splitlines(), 1):
                yield Place(file, number), line


def append_line(file: Path, line: str) -> bool:
    """Append one line to a regular file, made (0600) when it is absent; whether it was done."""
    try:
        if file.exists() and not file.is_file():
            return False
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # O_NONBLOCK: should a FIFO take its place meanwhile, this does not wait for its reader.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        handle = os.open(file, flags, 0o600)
        try:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                return False
            last = os.pread(handle, 1, about.st_size - 1) if about.st_size else b"\n"
            data = (b"" if last == b"\n" else b"\n") + line.encode() + b"\n"
            if os.write(handle, data) != len(data):
                return False
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError:
        return False
    return True


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
