"""The log of commands: each verb and each command with its time, duration and outcome.

A thread writes it from ``start`` to ``stop``, so that a hanging home directory delays nothing.
"""

from __future__ import annotations

import os
import queue
import shlex
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import platformdirs

from vizdash.errors import shorten
from vizdash.util.error_log import append, redact

#: Bytes at which the log is rotated to commands.log.1.
_MOST = 1024 * 1024
#: Most entries that wait to be written; more are dropped.
_QUEUED = 1000
#: Seconds that vizdash waits for the last entries when it ends.
_LAST_S = 2.0


class _Log:
    """The writer of one process. A forked process needs a new one."""

    def __init__(self) -> None:
        self.live: TextIO | None = None
        self.pid = os.getpid()
        self._entries: queue.SimpleQueue[tuple[Path, str] | threading.Event | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._write, name="commandlog", daemon=True)
        self._thread.start()

    def add(self, path: Path, entry: str) -> None:
        if self._entries.qsize() < _QUEUED:
            self._entries.put((path, entry))

    def flush(self) -> None:
        written = threading.Event()
        self._entries.put(written)
        written.wait(_LAST_S)

    def stop(self) -> None:
        self._entries.put(None)
        self._thread.join(_LAST_S)

    def _write(self) -> None:
        while (one := self._entries.get()) is not None:
            if isinstance(one, threading.Event):
                one.set()
            else:
                append(*one, _MOST)


_logs: list[_Log] = []


def log_file() -> Path:
    """The path: commands.log in platformdirs' log folder."""
    return Path(platformdirs.user_log_dir("vizdash")) / "commands.log"


def start() -> None:
    """Start to write the log."""
    stop()
    _logs.append(_Log())


def show(live: TextIO) -> None:
    """Also print each entry to ``live``, while the log is written."""
    for log in _logs:
        log.live = live


def flush() -> None:
    """Write the waiting entries, for at most two seconds."""
    for log in _logs:
        log.flush()


def stop() -> None:
    """Write the waiting entries, for at most two seconds, and stop the log."""
    while _logs:
        _logs.pop().stop()


def record(argv: Sequence[str] | str, outcome: str, took_s: float | None = None) -> None:
    """Add an entry, if the log is written. ``outcome`` is one line. Secrets are removed from both
    as far as they can be recognised.
    """
    if not _logs:
        return
    if _logs[0].pid != os.getpid():
        _logs[:] = [_Log()]  # a fork has no threads, and no terminal
    text = argv if isinstance(argv, str) else shlex.join(argv)
    took = "" if took_s is None else f"{took_s:.3f} s "
    line = redact(" ".join(f"{took}{outcome}: {shorten(text, 2000)}".split()))
    at = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    log = _logs[0]
    log.add(log_file(), f"{at} pid {log.pid} {line}\n")
    if log.live is not None:
        shown = "".join(c if c.isprintable() else "?" for c in line)
        print(f"vizdash: {shown}", file=log.live, flush=True)
