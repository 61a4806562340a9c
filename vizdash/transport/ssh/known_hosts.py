"""known_hosts files: the lines of a host, as ssh(1) reads them, and adding a new key.

``ssh-keygen -F`` finds the lines, with hashes, patterns and negation. Without ssh-keygen, this
module reads the format itself (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import itertools
import os
import re
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path

import asyncssh

from vizdash.transport.ssh.settings import HostSettings

_MARKERS = {"@cert-authority": "CA", "@revoked": "REVOKED"}
_FOUND = re.compile(r"# Host .* found: line (\d+)(?: (CA|REVOKED))?\s*")
_PLAIN_TYPES = {"rsa-sha2-256": "ssh-rsa", "rsa-sha2-512": "ssh-rsa"}
_CERT = "-cert-v01@openssh.com"


@dataclass(frozen=True, slots=True)
class KnownLine:
    """A line of a file that names the host; ``marker`` is "", "CA" or "REVOKED"."""

    file: Path
    number: int
    marker: str
    key: asyncssh.SSHKey

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


class KeyVerdict(Enum):
    """The verdict of known_hosts on a host's key."""

    GOOD = "good"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class KnownHost:
    """The known_hosts lines of one host: those of its name, and for a port other than 22, ``bare``,
    those of the name without the port (OpenSSH's sshconnect.c, check_host_key).
    """

    lines: tuple[KnownLine, ...]
    bare: tuple[KnownLine, ...] = ()

    def judge(self, key: asyncssh.SSHKey) -> tuple[KeyVerdict, KnownLine | None]:
        """Return the verdict on a plain key, and the line that decides."""
        for line in self.lines:
            if line.marker == "REVOKED" and line.key == key:
                return KeyVerdict.REVOKED, line
        plain = [line for line in self.lines if not line.marker]
        for line in plain:
            if line.key == key:
                return KeyVerdict.GOOD, line
        if plain:
            same = [line for line in plain if line.key.algorithm == key.algorithm]
            return KeyVerdict.CHANGED, (same or plain)[0]
        for marker, verdict in (("REVOKED", KeyVerdict.REVOKED), ("", KeyVerdict.GOOD)):
            for line in self.bare:
                if line.marker == marker and line.key == key:
                    return verdict, line
        return KeyVerdict.UNKNOWN, None

    def keys(self, marker: str) -> list[asyncssh.SSHKey]:
        """The keys of the lines with this marker."""
        return [line.key for line in (*self.lines, *self.bare) if line.marker == marker]

    @property
    def first_revoked(self) -> KnownLine | None:
        """The first line that revokes a key, or None."""
        lines = (*self.lines, *self.bare)
        return next((line for line in lines if line.marker == "REVOKED"), None)

    def order(self, algorithms: Sequence[str]) -> list[str]:
        """Sort algorithms: those of known keys first, and certificates where an authority is known
        (sshconnect2.c, order_hostkeyalgs).
        """
        types = {line.key.algorithm.decode() for line in self.lines if not line.marker}
        authority = any(line.marker == "CA" for line in self.lines)

        def known(algorithm: str) -> bool:
            plain = algorithm.removesuffix(_CERT)
            if plain != algorithm and authority:
                return True
            if plain.startswith("sk-") and not plain.endswith("@openssh.com"):
                plain += "@openssh.com"
            return _PLAIN_TYPES.get(plain, plain) in types

        return sorted(algorithms, key=lambda algorithm: not known(algorithm))


async def find_known_host(settings: HostSettings) -> KnownHost:
    """Find the lines of a host in the user's and the system's files."""
    files = [*settings.user_known_hosts, *settings.global_known_hosts]
    has_port = not settings.alias and settings.port != 22
    names = [settings.known_as, *([settings.host] if has_port else [])]
    lines = await asyncio.gather(*(_find(name, files) for name in names))
    return KnownHost(*lines)


async def _find(name: str, files: Sequence[Path]) -> tuple[KnownLine, ...]:
    keygen = shutil.which("ssh-keygen")
    lines: list[KnownLine] = []
    for file in files:
        # A FIFO would wait for a writer.
        if not await asyncio.to_thread(os.path.isfile, file):
            continue
        if keygen:
            lines += await _find_with(keygen, name, file)
        else:
            lines += await asyncio.to_thread(find_lines, name, file)
    return tuple(lines)


async def _find_with(keygen: str, name: str, file: Path) -> list[KnownLine]:
    """The lines that ``ssh-keygen -F`` finds; like ssh, none in a file that it cannot read."""
    process = await asyncio.create_subprocess_exec(
        keygen, "-F", name, "-f", str(file),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    stdout, _ = await process.communicate()
    lines = stdout.decode(errors="replace").splitlines()
    known_lines = []
    for head, text in itertools.pairwise(lines):
        if (match := _FOUND.fullmatch(head)) and (key := _key(text)):
            known_lines.append(KnownLine(file, int(match[1]), match[2] or "", key))
    return known_lines


def find_lines(name: str, file: Path) -> list[KnownLine]:
    """The lines of ``file`` that name a host (or ``[host]:port``)."""
    try:
        text = file.read_text("utf-8", "replace")
    except OSError:
        return []
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        marker = ""
        if words[0].startswith("@"):
            if words[0] not in _MARKERS or len(words) < 2:
                continue
            marker, words = _MARKERS[words[0]], words[1:]
        if _matches(words[0], name.lower()) and (key := _key(line)):
            lines.append(KnownLine(file, number, marker, key))
    return lines


def _matches(hosts: str, name: str) -> bool:
    """Whether a line's first field, hashed or patterns, matches a host."""
    if hosts.startswith("|1|"):
        parts = hosts.split("|")
        try:
            salt, digest = (base64.b64decode(part, validate=True) for part in parts[2:4])
        except ValueError:
            return False
        return hmac.compare_digest(hmac.digest(salt, name.encode(), hashlib.sha1), digest)
    matched = False
    for pattern in hosts.lower().split(","):
        if fnmatchcase(name, re.sub(r"([\[])", r"[\1]", pattern.removeprefix("!"))):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched


def _key(line: str) -> asyncssh.SSHKey | None:
    """The key of a known_hosts line; None for one that asyncssh cannot read."""
    words = line.split()
    start = 2 if words and words[0].startswith("@") else 1
    try:
        return asyncssh.import_public_key(" ".join(words[start : start + 2]))
    except ValueError:
        return None


# ---------------------------------------------------------------------- a new key


def file_for_new_key(settings: HostSettings) -> Path | None:
    """The file for a new key: the user's first one; None where that is no regular file
    (``/dev/null``, a FIFO), so that the key is trusted for this run only.
    """
    if not settings.user_known_hosts:
        return None
    file = settings.user_known_hosts[0]
    return None if file.exists() and not file.is_file() else file


def add_key(settings: HostSettings, key: asyncssh.SSHKey) -> bool:
    """Append a key under the host's name, hashed if HashKnownHosts is set; return whether it was.

    Like ssh, it does not rewrite the file: others may append at the same time.
    """
    file = file_for_new_key(settings)
    if file is None:
        return False
    name = settings.known_as
    if settings.hash_known_hosts:
        salt = os.urandom(20)
        digest = hmac.digest(salt, name.encode(), hashlib.sha1)
        name = "|1|" + "|".join(base64.b64encode(part).decode() for part in (salt, digest))
    words = key.export_public_key("openssh").decode().split()
    return _append(file, f"{name} {words[0]} {words[1]}")


def _append(file: Path, line: str) -> bool:
    """Append a line to a regular file, which is created with mode 0600; return whether it was."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # O_NONBLOCK: does not wait for a reader if the file has become a FIFO.
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


_NAMES = {
    "ssh-rsa": "RSA", "ssh-dss": "DSA", "ssh-ed25519": "ED25519", "ssh-ed448": "ED448",
    "sk-ssh-ed25519@openssh.com": "ED25519-SK",
    "sk-ecdsa-sha2-nistp256@openssh.com": "ECDSA-SK",
}  # fmt: skip


def type_name(key: asyncssh.SSHKey) -> str:
    """The key's type as ssh shows it: ``ED25519``."""
    algorithm = key.get_algorithm()
    return _NAMES.get(algorithm, "ECDSA" if algorithm.startswith("ecdsa-") else algorithm)


def fingerprint(key: asyncssh.SSHKey, hash_name: str = "sha256") -> str:
    """The fingerprint as ssh shows it: ``ED25519 SHA256:...``."""
    return f"{type_name(key)} {key.get_fingerprint(hash_name)}"
