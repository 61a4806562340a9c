"""The audit log of images: one JSON line for each event, only ever appended.

The site's log belongs to the deploy account; everyone else can only read it. Events of a user
without rights to it (their own builds) go to a log in that user's state folder. Both are shown
together, but the user's log is marked as untrusted, since its owner can write anything there.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import platformdirs

from vizdash.util import checked_json
from vizdash.util.files import account_name

#: At most this many bytes are read, from the end of the log.
_TAIL_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Something that was done, or attempted, to one image on one node or on the image host.

    ``action`` is build, deploy, rollback, prune or verify. ``outcome`` is began (written before a
    change, naming all its nodes), ok, failed, cancelled, refused or interrupted (vizdash was
    killed); ``detail`` gives the reason in one line. All events of one command share ``run``.
    ``user`` is the person, ``account`` the account they acted as, ``host`` the host they ran
    vizdash on, ``at`` epoch seconds. ``trusted`` is false for events of a log that its subject
    could write; it is not stored.
    """

    action: str
    app: str
    version: str = ""
    digest: str = ""
    node: str = ""
    outcome: str = "ok"
    detail: str = ""
    run: str = ""
    user: str = ""
    account: str = ""
    host: str = ""
    at: int = 0
    trusted: bool = field(default=True, compare=False)


@dataclass(frozen=True, slots=True)
class AuditHistory:
    """Events, the latest last, and problems found in the logs themselves."""

    events: tuple[AuditEvent, ...] = ()
    problems: tuple[str, ...] = ()


def new_run_id() -> str:
    """Return a random id for the events of one command."""
    return secrets.token_hex(4)


def real_user(environ: Mapping[str, str] = os.environ) -> str:
    """Return the real user: the caller of sudo(8), or else our own account.

    sudo sets SUDO_USER and SUDO_UID itself. A user who sets them by hand cannot write the site's
    log.
    """
    euid = os.geteuid()
    caller = environ.get("SUDO_UID", "")
    if environ.get("SUDO_USER") and caller.isdecimal() and int(caller) != euid:
        return environ["SUDO_USER"]
    return account_name(euid)


def user_log() -> Path:
    """Return the log of a user who cannot write the site's."""
    return Path(platformdirs.user_state_dir("vizdash")) / "images.jsonl"


def append_events(events: Iterable[AuditEvent], log: str, *, own: Path | None = None) -> Path:
    """Append events, filling in person, account, host and time where they are empty.

    Returns the log that was written: ``log`` (the site's), or the user's own if that is not
    writable. Raises OSError when neither can be written; the change itself is not undone.
    """
    lines = b"".join(_encode_line(_fill_in(event)) for event in events)
    path = Path(log).expanduser()
    try:
        _append(path, lines, 0o644)
    except OSError:
        path = own or user_log()
        _append(path, lines, 0o600)
    return path


def why_not_writable(log: str) -> str:
    """Return why the caller cannot write or create the site's log; empty when they can."""
    target = parent = Path(log).expanduser()
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if parent != target and not parent.is_dir():
        return f"{parent} is not a folder"
    if os.access(parent, os.W_OK):
        return ""
    return f"{account_name(os.geteuid())} may not write {parent}"


def read_events(log: str, *, own: Path | None = None, app: str = "") -> AuditHistory:
    """Read the events of both logs, the latest last, limited to ``app`` unless it is empty."""
    events: list[AuditEvent] = []
    problems: list[str] = []
    logs = ((Path(log).expanduser(), True), (own or user_log(), False))
    for path, trusted in logs:
        read, damage = _read_log(path, trusted=trusted)
        events += [event for event in read if not app or event.app == app]
        problems += damage
    events.sort(key=lambda event: event.at)
    return AuditHistory(tuple(events), tuple(problems))


def _fill_in(event: AuditEvent) -> dict[str, Any]:
    values = asdict(event)
    values.pop("trusted")
    values["user"] = event.user or real_user()
    values["account"] = event.account or account_name(os.geteuid())
    values["host"] = event.host or socket.gethostname()
    values["at"] = event.at or int(time.time())
    return values


def _encode_line(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def _append(path: Path, lines: bytes, mode: int) -> None:
    """Append with one write(2) and O_APPEND, so that the lines of two writers never mix; then
    fsync.

    A line that a crash left without its newline is terminated first.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755 if mode & 0o044 else 0o700)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(path, flags, mode)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            lines = b"\n" + lines
        if os.write(handle, lines) != len(lines):
            raise OSError(f"{path}: the disk is full")
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_log(path: Path, *, trusted: bool) -> tuple[list[AuditEvent], list[str]]:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return [], []
    except OSError as e:
        return [], [f"{path}: {e.strerror}"]
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            return [], [f"{path}: not a regular file"]
        problems = _tampering_risks(path, about) if trusted else []
        start = max(0, about.st_size - _TAIL_BYTES)
        file.seek(start)
        lines = file.read().splitlines()[1 if start else 0 :]
    events = [
        _parse_event(line, trusted=trusted and not problems) for line in lines if line.strip()
    ]
    good = [event for event in events if event is not None]
    if len(good) < len(events):
        problems.append(f"{path}: damaged lines: {len(events) - len(good)}")
    return good, problems


def _tampering_risks(path: Path, about: os.stat_result) -> list[str]:
    """Return why others than the deploying account could have written the log.

    The owner of a folder can replace any file in it.
    """
    try:
        folder = path.parent.stat()
    except OSError as e:
        return [f"{path.parent}: {e.strerror}"]
    others = stat.S_IWGRP | stat.S_IWOTH
    if about.st_mode & others:
        return [f"{path}: writable by others than its owner (chmod 644 {path})"]
    if folder.st_mode & others:
        fix = f"chmod 755 {path.parent}"
        return [f"{path.parent}: writable by others than its owner ({fix})"]
    if folder.st_uid not in {0, about.st_uid}:
        name, own = account_name(folder.st_uid), account_name(about.st_uid)
        return [f"{path.parent}: owned by {name}, but the log in it by {own} (chown one of them)"]
    return []


def _parse_event(line: bytes, *, trusted: bool) -> AuditEvent | None:
    event = checked_json.parse(line, AuditEvent, extra_keys=True)
    if event is None or not 0 < event.at < 253402300800:
        return None
    return replace(event, trusted=trusted)
