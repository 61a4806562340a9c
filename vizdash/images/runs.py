"""The builds that were run: their logs, how each went, and how long its phases took.

They lie in the user's own state (platformdirs: ~/.local/state/vizdash/builds/APP), a log and a
record for each. The log is locked while its build runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO

import platformdirs

from vizdash.errors import NotFound
from vizdash.files import make_private, read_own, write_whole

#: Logs kept of each app.
_KEPT = 20
#: Bytes of one log; of a longer one the beginning and the end are kept, and which part is not.
MOST = 16 << 20
_LEFT_OUT = b"[vizdash: "


@dataclass(frozen=True, slots=True)
class Run:
    """One build. ``outcome`` is running, ok, failed, cancelled, or interrupted (vizdash was
    killed); ``phases`` are seconds by phase.
    """

    id: str
    app: str
    version: str = ""
    where: str = ""
    started_at: int = 0
    duration_s: int = 0
    outcome: str = "running"
    why: str = ""
    phases: Mapping[str, float] = field(default_factory=dict)
    log: str = ""


class RunLog:
    """A build that runs: its open log, and the record that is written at its end."""

    def __init__(self, run: Run, file: IO[str]) -> None:
        self.run = run
        self._file = file
        self._left_out, self._note_bytes = 0, 1  # a line's end stands in for the note

    def write(self, line: str) -> None:
        """One line of the log, at once."""
        self._file.write(line + "\n")
        self._file.flush()
        if os.fstat(self._file.fileno()).st_size > MOST:
            self._shorten()

    def _shorten(self) -> None:
        """Keep a quarter of the most at both ends. The file stays the one that is locked."""
        quarter, handle = MOST // 4, self._file.fileno()
        size = os.fstat(handle).st_size
        head = os.pread(handle, quarter, 0).rpartition(b"\n")[0]
        head = head.partition(_LEFT_OUT)[0].rstrip(b"\n")
        tail = os.pread(handle, quarter, size - quarter).partition(b"\n")[2]
        self._left_out += size - len(head) - len(tail) - self._note_bytes
        note = b"%s%d bytes are left out here]" % (_LEFT_OUT, self._left_out)
        note = b"\n" + note + b"\n"
        self._note_bytes = len(note)
        os.ftruncate(handle, len(head))
        os.pwrite(handle, note + tail, len(head))
        self._file.seek(0, os.SEEK_END)

    def update(self, **changes: object) -> None:
        """Change the record."""
        self.run = replace(self.run, **changes)  # type: ignore[arg-type]
        _write(self.run)


def folder(app: str) -> Path:
    """Where an app's builds are kept."""
    return Path(platformdirs.user_state_dir("vizdash")) / "builds" / app


@contextmanager
def begin(app: str, version: str, where: str) -> Iterator[RunLog]:
    """Start a build's log; old ones beyond the last twenty go. Raises OSError."""
    place = folder(app)
    make_private(place)
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    log = place / f"{name}.log"
    run = Run(name, app, version, where, started_at=int(time.time()), log=str(log))
    with log.open("w+", encoding="utf-8", errors="backslashreplace") as file:
        log.chmod(0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        writer = RunLog(run, file)
        _write(run)
        for old in runs(app)[_KEPT:]:
            Path(old.log).unlink(missing_ok=True)
            Path(old.log).with_suffix(".json").unlink(missing_ok=True)
        yield writer


def runs(app: str) -> tuple[Run, ...]:
    """An app's builds, the latest first."""
    found = (_read(path) for path in sorted(folder(app).glob("*.log"), reverse=True))
    return tuple(run for run in found if run is not None)


def settle(app: str) -> tuple[Run, ...]:
    """Write down the end of builds whose vizdash was killed; each is told once."""
    ended = []
    for run in runs(app):
        if run.outcome == "interrupted" and _recorded(Path(run.log)) == "running":
            _write(run)
            ended.append(run)
    return tuple(ended)


def last_good(app: str) -> Run | None:
    """The last build of an app that went well, to measure the next against."""
    return next((run for run in runs(app) if run.outcome == "ok"), None)


def find(app: str, version: str = "") -> Run:
    """The latest build of an app (of that version). Raises NotFound."""
    for run in runs(app):
        if version in {"", run.version}:
            return run
    what = f"build of {app} {version}".strip()
    raise NotFound(what, "you have run none", f"vizdash build {app}")


def _write(run: Run) -> None:
    path = Path(run.log).with_suffix(".json")
    with contextlib.suppress(OSError):  # a full disk must not spoil a build for its record
        write_whole(path, json.dumps(asdict(run)))


def _load(log: Path) -> Run | None:
    text = read_own(log.with_suffix(".json"))
    try:
        run = Run(**{**json.loads(text or ""), "log": str(log)})
    except (ValueError, TypeError, RecursionError):
        return None
    whole = isinstance(run.phases, dict) and type(run.started_at) is int
    return run if whole else None


def _recorded(log: Path) -> str:
    run = _load(log)
    return run.outcome if run else ""


def _read(log: Path) -> Run | None:
    run = _load(log)
    if run is None:
        return None
    if run.outcome == "running" and not _locked(log):
        return replace(run, outcome="interrupted", why="vizdash was killed")
    return run


def _locked(log: Path) -> bool:
    try:
        with log.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
