"""Who did what to the images: one JSON line for each event, only ever appended.

The site's log belongs to the deploy account and others can only read it. What someone without
rights to it does (an ordinary user's build) goes to a log of their own, which is shown with the
site's and told apart, since its owner could have written anything there.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import platformdirs

from vizdash.files import account_name

#: A log is read from its end; older events are in the file still.
_TAIL_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that was done, or tried, to one image on one node (or on the image host).

    ``action`` is build, deploy, rollback, prune or verify; ``outcome`` began (before a change, with
    all its nodes), ok, failed, cancelled, refused or interrupted (vizdash was killed), with
    ``detail`` saying why in one line. ``run`` is the same for all events of one command. ``user``
    is the person, ``account`` what they acted as, ``host`` where; ``at`` epoch seconds.
    ``trusted`` is false for events of a log that its own subject could write; it is not stored.
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
class History:
    """Events, the latest last, and what there is to say of the logs themselves."""

    events: tuple[Event, ...] = ()
    problems: tuple[str, ...] = ()


def new_run() -> str:
    """An id for the events of one command."""
    return secrets.token_hex(4)


def person(environ: Mapping[str, str] = os.environ) -> str:
    """The real user: who called sudo(8), where sudo started us; else our own account.

    Sudo sets SUDO_USER itself. Someone who sets it by hand has no rights to the site's log.
    """
    euid = os.geteuid()
    caller = environ.get("SUDO_UID", "")
    if environ.get("SUDO_USER") and caller.isdecimal() and int(caller) != euid:
        return environ["SUDO_USER"]
    return account_name(euid)


def own_log() -> Path:
    """The log of someone who may not write the site's."""
    return Path(platformdirs.user_state_dir("vizdash")) / "images.jsonl"


def record(events: Iterable[Event], log: str, *, own: Path | None = None) -> Path:
    """Append events, stamped with the person, account, host and time where those are empty.

    Returns the log that took them: ``log`` (the site's), or the person's own where they may not
    write that. Raises OSError when neither can be written; the caller says so, since what was
    done can't be undone for that.
    """
    lines = b"".join(_line(_stamped(event)) for event in events)
    place = Path(log).expanduser()
    try:
        _append(place, lines, 0o644)
    except OSError:
        place = own or own_log()
        _append(place, lines, 0o600)
    return place


def refusal(log: str) -> str:
    """Why the caller can't write the site's log, or make it; empty when they can."""
    place = wanted = Path(log).expanduser()
    while not place.exists() and place != place.parent:
        place = place.parent
    if place != wanted and not place.is_dir():
        return f"{place} is no folder"
    return (
        "" if os.access(place, os.W_OK) else f"{account_name(os.geteuid())} may not write {place}"
    )


def history(log: str, *, own: Path | None = None, app: str = "") -> History:
    """The events of both logs, the latest last; ``app`` leaves the others' out."""
    events: list[Event] = []
    problems: list[str] = []
    places = ((Path(log).expanduser(), True), (own or own_log(), False))
    for place, trusted in places:
        found, said = _read(place, trusted=trusted)
        events += [event for event in found if not app or event.app == app]
        problems += said
    events.sort(key=lambda event: event.at)
    return History(tuple(events), tuple(problems))


def _stamped(event: Event) -> dict[str, Any]:
    values = asdict(event)
    values.pop("trusted")
    values["user"] = event.user or person()
    values["account"] = event.account or account_name(os.geteuid())
    values["host"] = event.host or socket.gethostname()
    values["at"] = event.at or int(time.time())
    return values


def _line(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def _append(place: Path, lines: bytes, mode: int) -> None:
    """One write(2) with O_APPEND, so that two writers' lines never mix; then fsync.

    A line that a crash left without its end is closed first.
    """
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o755 if mode & 0o044 else 0o700)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(place, flags, mode)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            lines = b"\n" + lines
        if os.write(handle, lines) != len(lines):
            raise OSError(f"{place}: the disk is full")
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(place: Path, *, trusted: bool) -> tuple[list[Event], list[str]]:
    try:
        handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return [], []
    except OSError as e:
        return [], [f"{place}: {e.strerror}"]
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            return [], [f"{place}: no regular file"]
        problems = _doubts(place, about) if trusted else []
        start = max(0, about.st_size - _TAIL_BYTES)
        file.seek(start)
        lines = file.read().splitlines()[1 if start else 0 :]
    events = [_event(line, trusted=trusted and not problems) for line in lines if line.strip()]
    good = [event for event in events if event is not None]
    if len(good) < len(events):
        problems.append(f"{place}: {len(events) - len(good)} lines are damaged")
    return good, problems


def _doubts(place: Path, about: os.stat_result) -> list[str]:
    """Why somebody else than the account that deploys could have written there: a folder's owner
    can put any file in it.
    """
    try:
        folder = place.parent.stat()
    except OSError as e:
        return [f"{place.parent}: {e.strerror}"]
    others = stat.S_IWGRP | stat.S_IWOTH
    if about.st_mode & others:
        return [f"{place}: others than its owner can write it (chmod 644 {place})"]
    if folder.st_mode & others:
        fix = f"chmod 755 {place.parent}"
        return [f"{place.parent}: others than its owner can write there ({fix})"]
    if folder.st_uid not in {0, about.st_uid}:
        name, own = account_name(folder.st_uid), account_name(about.st_uid)
        return [f"{place.parent}: it is {name}'s, the log in it {own}'s (chown one of them)"]
    return []


def _event(line: bytes, *, trusted: bool) -> Event | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    known = {f.name for f in fields(Event)} - {"trusted", "at"}
    texts = {key: value for key, value in values.items() if key in known}
    at = values.get("at")
    if not all(isinstance(value, str) for value in texts.values()) or type(at) is not int:
        return None
    if "action" not in texts or "app" not in texts or not 0 <= at < 253402300800:
        return None
    return Event(**texts, at=at, trusted=trusted)
