"""The user's builds: their logs, their outcomes, and the duration of each phase.

They are kept in the user's state folder (platformdirs: ~/.local/state/vizdash/builds/APP), a log
and a JSON record for each. A log is locked while its build runs.
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
from vizdash.util import checked_json
from vizdash.util.files import make_private, read_own, write_whole

#: Logs kept for each app.
_KEPT_LOGS = 20
#: Maximum bytes of one log; of a longer one, the beginning and the end are kept, with a note
#: between them.
MOST = 16 << 20
_LEFT_OUT = b"[vizdash: "


@dataclass(frozen=True, slots=True)
class BuildRun:
    """One build.

    ``outcome`` is running, ok, failed, cancelled, or interrupted (vizdash was killed); ``phases``
    maps each phase to its seconds.
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


class BuildRunLog:
    """The open log of a running build, and the record that is written when it ends."""

    def __init__(self, run: BuildRun, file: IO[str]) -> None:
        self.run = run
        self._file = file
        self._left_out, self._note_bytes = 0, 1  # one newline until there is a note

    def write(self, line: str) -> None:
        """Write one line of the log and flush it."""
        self._file.write(line + "\n")
        self._file.flush()
        if os.fstat(self._file.fileno()).st_size > MOST:
            self._shorten()

    def _shorten(self) -> None:
        """Keep a quarter of MOST at each end, in place, since the file is locked."""
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
        """Change fields of the record and save it."""
        self.run = replace(self.run, **changes)  # type: ignore[arg-type]
        _write(self.run)


def runs_folder(app: str) -> Path:
    """Return the folder of an app's builds."""
    return Path(platformdirs.user_state_dir("vizdash")) / "builds" / app


@contextmanager
def start_run(app: str, version: str, where: str) -> Iterator[BuildRunLog]:
    """Open the log of a new build, and delete all but the latest twenty. Raises OSError."""
    folder = runs_folder(app)
    make_private(folder)
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    log = folder / f"{name}.log"
    run = BuildRun(name, app, version, where, started_at=int(time.time()), log=str(log))
    with log.open("w+", encoding="utf-8", errors="backslashreplace") as file:
        log.chmod(0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        writer = BuildRunLog(run, file)
        _write(run)
        for old in list_runs(app)[_KEPT_LOGS:]:
            Path(old.log).unlink(missing_ok=True)
            Path(old.log).with_suffix(".json").unlink(missing_ok=True)
        yield writer


def list_runs(app: str) -> tuple[BuildRun, ...]:
    """List an app's builds, the latest first."""
    logs = sorted(runs_folder(app).glob("*.log"), reverse=True)
    return tuple(run for run in map(_read, logs) if run is not None)


def record_interrupted(app: str) -> tuple[BuildRun, ...]:
    """Record builds whose vizdash was killed as interrupted; returns each of them once."""
    interrupted = []
    for run in list_runs(app):
        if run.outcome == "interrupted" and _recorded_outcome(Path(run.log)) == "running":
            _write(run)
            interrupted.append(run)
    return tuple(interrupted)


def last_successful(app: str) -> BuildRun | None:
    """Return the last successful build of an app, or None."""
    return next((run for run in list_runs(app) if run.outcome == "ok"), None)


def find_run(app: str, version: str = "") -> BuildRun:
    """Return the latest build of an app, or of that version of it. Raises NotFound."""
    for run in list_runs(app):
        if version in {"", run.version}:
            return run
    what = f"build of {app} {version}".strip()
    raise NotFound(what, "you have not run any", f"vizdash build {app}")


def _write(run: BuildRun) -> None:
    path = Path(run.log).with_suffix(".json")
    with contextlib.suppress(OSError):  # a full disk must not fail a build because of its record
        write_whole(path, json.dumps(asdict(run)))


def _load(log: Path) -> BuildRun | None:
    run = checked_json.parse(read_own(log.with_suffix(".json")), BuildRun)
    return replace(run, log=str(log)) if run else None


def _recorded_outcome(log: Path) -> str:
    run = _load(log)
    return run.outcome if run else ""


def _read(log: Path) -> BuildRun | None:
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
