"""The terminal that the dashboard writes to: it may be slow, stand still, or go away."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from textual.drivers.linux_driver import LinuxDriver

#: What may wait to be written, in characters: a few whole screens.
ROOM = 1 << 16
#: Seconds in which a terminal takes what is last written to it, or never does.
_LAST_S = 3.0


class Output:
    """Writes to a file descriptor from a thread of its own, so that nobody waits for a terminal.

    ``gone`` is called, from that thread, when it can't be written to any more (a closed terminal
    gives EIO, see tty_ioctl(4)); ``behind`` when more was to be written than there is room for:
    the oldest of it is then forgotten, and the screen has to be drawn whole.
    """

    def __init__(self, fd: int, gone: Callable[[], None], behind: Callable[[], None]) -> None:
        self._fd = fd
        self._gone = gone
        self._behind = behind
        self._waiting: list[str] = []
        self._size = 0
        self._missed = self._closed = self._idle = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="terminal", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Soon, after all that waits already."""
        with self._change:
            if self._closed:
                return
            if self._size > ROOM:
                self._waiting.clear()
                self._size, self._missed = 0, True
            self._waiting.append(text)
            self._size += len(text)
            self._idle = False
            self._change.notify_all()

    def drain(self, seconds: float = _LAST_S) -> None:
        """Wait until all is written, no longer than ``seconds``."""
        with self._change:
            self._change.wait_for(lambda: self._idle or self._closed, seconds)

    def _run(self) -> None:
        try:
            while True:
                data = self._next().encode(errors="replace")
                while data:
                    data = data[os.write(self._fd, data) :]
        except OSError:
            with self._change:
                self._closed = True
                self._change.notify_all()
            self._gone()

    def _next(self) -> str:
        with self._change:
            if not self._waiting and self._missed:
                self._missed = False
                self._behind()
            self._idle = not self._waiting
            self._change.notify_all()
            self._change.wait_for(lambda: self._waiting)
            text = "".join(self._waiting)
            self._waiting.clear()
            self._size = 0
            return text


class TerminalDriver(LinuxDriver):
    """Textual's own driver (8.2) keeps thirty writes for its writing thread. When that thread died
    with the terminal, or stood still with it, the event loop waited for ever: no signal, no route
    and no exit was worked off, and the reading thread went round and round.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        loop, app = self._loop, self._app
        self._output = Output(
            (self._file or sys.stderr).fileno(),
            gone=lambda: _tell(loop.call_soon_threadsafe, app.exit),
            behind=lambda: _tell(loop.call_soon_threadsafe, app.refresh),
        )

    def _get_terminal_size(self) -> tuple[int, int]:
        """Of one that tells none (0×0, as some containers and expect(1) give it), what the rest of
        Textual takes it for: two notions of it had the screen laid out anew for ever.
        """
        with contextlib.suppress(OSError):
            if all(os.get_terminal_size(self.fileno)):
                return super()._get_terminal_size()
        width, height = self._app.console.size
        return width, height

    def write(self, data: str) -> None:
        """To the terminal, when it takes it."""
        self._output.write(data)

    def close(self) -> None:
        """All is written, as far as the terminal takes it."""
        self._output.drain()
        super().close()


def _tell(soon: Callable[[Callable[[], object]], object], what: Callable[[], object]) -> None:
    """From the writing thread, unless the program is over."""
    with contextlib.suppress(RuntimeError):
        soon(what)
