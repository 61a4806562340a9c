"""How vizdash ends on a signal, and which terminals a dashboard can be drawn on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
import termios
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from vizdash.errors import UsageError

#: Seconds in which a second SIGTERM is taken for the first (timeout(1) sends two), and seconds
#: that an orderly end still gets after it.
_SAME_S, _LAST_S = 1.0, 5.0
#: xterm's control sequences: main screen, cursor, no mouse, no pasted brackets, colours as usual.
_RESTORE = b"\x1b[?1049l\x1b[?25h\x1b[?1000;1002;1003;1006;1015;2004;1004l\x1b[<u\x1b[0m"


def require_terminal() -> None:
    """Raises UsageError where no dashboard can be drawn: stdin or stdout is no terminal, or one
    that can't move its cursor: of the types dumb and unknown (terminfo(5)), to which Rich also
    gives a size of its own, whatever it is.
    """
    if not sys.stdout.isatty() or not sys.stdin.isatty():
        raise UsageError("the dashboard needs a terminal", "", "scripts use the verbs: see --help")
    kind = os.environ.get("TERM", "")
    if kind.lower() in {"dumb", "unknown"}:
        why = f"TERM={kind} cannot move its cursor"
        raise UsageError("the dashboard", why, "set TERM, or use the verbs: see --help")


class TerminalSettings:
    """The terminal's settings as they were before the dashboard, for an end in the middle of it."""

    def __init__(self) -> None:
        self._settings: list[Any] = []
        with contextlib.suppress(termios.error, OSError, ValueError):
            self._settings = termios.tcgetattr(sys.stdin.fileno())

    def restore(self) -> None:
        """Put them back, as far as the terminal takes it: one that reads nothing is not waited
        for.
        """
        with contextlib.suppress(termios.error, OSError, ValueError):
            if self._settings:
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, self._settings)
            if select.select([], [sys.stderr], [], 0)[1]:
                os.write(sys.stderr.fileno(), _RESTORE)


def on_signals(end: Callable[[], object], restore: Callable[[], None] = lambda: None) -> None:
    """A closed terminal or a kill ends vizdash as Ctrl-C does: routes are closed first. A second
    SIGTERM ends it at once, also when the event loop does not run; ``restore`` is called before.
    """
    loop = asyncio.get_running_loop()
    asked_at: float | None = None

    def end_at_once(number: int, frame: FrameType | None) -> None:
        restore()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked_at
        now = time.monotonic()
        if asked_at is None:
            asked_at = now
            try:
                loop.call_soon_threadsafe(end)
            except RuntimeError:  # the loop is closed: what is left is the interpreter's end
                end_at_once(number, frame)
        elif number == signal.SIGTERM and now - asked_at >= _SAME_S:
            end_at_once(number, frame)
        elif number == signal.SIGTERM:
            signal.signal(signal.SIGALRM, end_at_once)
            signal.setitimer(signal.ITIMER_REAL, _LAST_S)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)
