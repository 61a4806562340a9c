"""The log of what vizdash ran: each verb and each command, when, for how long, to what end.

It is kept from ``start`` to ``stop``, by a thread of its own: nobody waits for a home that hangs.
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

from vizdash.errorlog import append, safe
from vizdash.errors import shortened

#: Bytes from which on the log is begun again; the one before is kept as commands.log.1.
_MOST = 1024 * 1024
#: Entries that wait to be written; more are dropped.
_WAITING = 1000
#: Seconds that the end of vizdash waits for the last entries.
_LAST_S = 2.0


class _Log:
    """One process's writer. A process that was forked needs one of its own."""

    def __init__(self) -> None:
        self.live: TextIO | None = None
        self.pid = os.getpid()
        self._entries: queue.SimpleQueue[tuple[Path, str] | threading.Event | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._write, name="commandlog", daemon=True)
        self._thread.start()

    def add(self, path: Path, entry: str) -> None:
        if self._entries.qsize() < _WAITING:
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
    """Where it is: commands.log in platformdirs' log folder."""
    return Path(platformdirs.user_log_dir("vizdash")) / "commands.log"


def start() -> None:
    """Keep the log from now on."""
    stop()
    _logs.append(_Log())


def show(live: TextIO) -> None:
    """Show each entry on ``live``, too, while the log is kept."""
    for log in _logs:
        log.live = live


def flush() -> None:
    """Write what waits, for two seconds at most."""
    for log in _logs:
        log.flush()


def stop() -> None:
    """Write what waits, for two seconds at most, and keep it no longer."""
    while _logs:
        _logs.pop().stop()


def record(argv: Sequence[str] | str, outcome: str, took_s: float | None = None) -> None:
    """One entry; nothing where the log is not kept. ``outcome`` is one line for people; secrets
    are in neither, as far as they can be known.
    """
    if not _logs:
        return
    if _logs[0].pid != os.getpid():
        _logs[:] = [_Log()]  # a fork has no threads, and no terminal
    text = argv if isinstance(argv, str) else shlex.join(argv)
    took = "" if took_s is None else f"{took_s:.3f} s "
    line = safe(" ".join(f"{took}{outcome}: {shortened(text, 2000)}".split()))
    at = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    log = _logs[0]
    log.add(log_file(), f"{at} pid {log.pid} {line}\n")
    if log.live is not None:
        shown = "".join(c if c.isprintable() else "?" for c in line)
        print(f"vizdash: {shown}", file=log.live, flush=True)
