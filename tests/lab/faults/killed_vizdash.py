"""Runs vizdash and kills it at its nth step: ``killed_vizdash.py N STEPS WORDS...``

Runs on a lab host with vizdash's own Python. A step is whatever others can see of it: a program
that is started, before and after, a file or folder that is made, opened for writing, renamed or
removed, a socket that is bound. Steps are written to the file STEPS.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

#: Python's audit events that change something outside the process.
_CHANGES = {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "os.symlink", "os.chmod",
            "os.truncate", "socket.bind"}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Steps:
    """Counts steps, and kills this process at the chosen one."""

    def __init__(self, kill_at: int, path: str) -> None:
        self._left = kill_at
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._pid = os.getpid()

    def take(self, text: str) -> None:
        """One step. A forked child takes part: it carries on with the work."""
        os.write(self._file, f"{text}\n".encode(errors="backslashreplace"))
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, args: tuple[object, ...]) -> None:
        """An audit hook (sys.addaudithook): a step is taken before its effect."""
        changes = event in _CHANGES or (event == "open" and _writes(args))
        # The log of commands is written by a thread, at any time, by descriptor.
        if event == "subprocess.Popen":
            self.take(f"starts {args[1]}"[:200])
        elif changes and not isinstance(args[0], int) and not _is_left_out(str(args[0])):
            self.take(f"{event} {args[0]}")


def _writes(args: tuple[object, ...]) -> bool:
    return isinstance(args[2], int) and bool(args[2] & _WRITING)


def _is_left_out(path: str) -> bool:
    return any(part in path for part in ("/dev/", "/log", ".pyc", "/proc/"))


def main() -> None:
    kill_at, path, *words = sys.argv[1:]
    steps = Steps(int(kill_at), path)
    from vizdash.cli import main as vizdash

    start = subprocess.Popen._execute_child  # type: ignore[attr-defined]

    def started(self: object, *args: object, **named: object) -> object:
        result = start(self, *args, **named)
        steps.take("it is started")
        return result

    subprocess.Popen._execute_child = started  # type: ignore[attr-defined]
    sys.argv = ["vizdash", *words]
    sys.addaudithook(steps.audit)
    vizdash()


main()
