"""A driver for terminals that are slow, stop reading, or close."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from textual.app import App
from textual.drivers.linux_driver import LinuxDriver
from typing_extensions import override

#: Characters of frames that may wait to be written: a few whole screens. As many again of control
#: sequences that are no part of a frame.
MAX_PENDING_CHARS = 1 << 16
#: Bytes of one write(2): a terminal that is read slowly takes at least these once in a while.
_CHUNK = 1024
#: Seconds that the last output gets to reach the terminal, and seconds after which a terminal that
#: took nothing is not read.
_LAST_OUTPUT_S, _NOT_READ_S = 3.0, 1.0
#: Seconds that the last output gets after what was not read has been discarded.
_DISCARDED_S = 0.3
#: Ends what a frame may have begun: a control sequence (CAN), a string (ST), a synchronised update.
_ABORT = "\x18\x1b\\\x1b[?2026l\x1b[0m"


class TerminalWriter:
    """Writes to a file descriptor from its own thread, so that no caller waits for the terminal.

    ``on_closed`` is called, from that thread, when the terminal can't be written to any more (a
    closed one gives EIO, see tty_ioctl(4)). ``on_overflow`` is called when the terminal takes
    output again after more than ``MAX_PENDING_CHARS`` of frames waited: those and all later ones
    have been dropped, and the whole screen has to be drawn.
    """

    def __init__(
        self, fd: int, on_closed: Callable[[], None], on_overflow: Callable[[], None]
    ) -> None:
        self._fd = fd
        self._on_closed = on_closed
        self._on_overflow = on_overflow
        self._frames: list[str] = []
        self._controls: deque[str] = deque()
        self._behind = self._closed = self._idle = False
        self._writes_frame = self._aborted = False
        self._taken_at = time.monotonic()
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="terminal", daemon=True)
        self._thread.start()

    @property
    def is_behind(self) -> bool:
        """Whether frames are dropped: no reason to draw one before ``on_overflow``."""
        return self._behind

    def write(self, text: str) -> None:
        """Write a control sequence, before the frames that wait; returns at once."""
        with self._change:
            while self._controls and sum(map(len, self._controls)) > MAX_PENDING_CHARS:
                self._controls.popleft()
            self._add(self._controls, text)

    def write_frame(self, text: str) -> None:
        """Write what changed on the screen, unless the terminal is behind; returns at once."""
        with self._change:
            if sum(map(len, self._frames)) > MAX_PENDING_CHARS:
                self._frames.clear()
                self._behind = True
            if not self._behind:
                self._add(self._frames, text)

    def _add(self, pending: list[str] | deque[str], text: str) -> None:
        if text and not self._closed:
            if self._idle:
                self._taken_at = time.monotonic()
            pending.append(text)
            self._idle = False
            self._change.notify_all()

    def drop_frames(self) -> None:
        """Drop the frames that wait, and the rest of the one that is being written."""
        with self._change:
            self._frames.clear()
            self._behind = False
            self._aborted = self._writes_frame

    def drain(self, seconds: float = _LAST_OUTPUT_S) -> None:
        """Wait until everything is written, at most ``seconds``.

        When the terminal is not read, what it holds is discarded to make space for the rest.
        """
        until = time.monotonic() + seconds
        with self._change:
            while not (self._idle or self._closed):
                left = min(until, self._taken_at + _NOT_READ_S) - time.monotonic()
                if left <= 0:
                    break
                self._change.wait(left)
            else:
                return
            self._aborted = True
        _discard_output(self._fd)
        with self._change:
            self._change.wait_for(lambda: self._idle or self._closed, _DISCARDED_S)

    def _run(self) -> None:
        try:
            while True:
                data = memoryview(self._next().encode(errors="replace"))
                while data and not (self._aborted and self._writes_frame):
                    data = data[os.write(self._fd, data[:_CHUNK]) :]
                    self._taken_at = time.monotonic()
        except OSError:
            with self._change:
                self._closed = True
                self._change.notify_all()
            self._on_closed()

    def _next(self) -> str:
        """What to write next: control sequences first, as they must not wait for a redraw."""
        with self._change:
            self._writes_frame = False
            if not self._frames and self._behind:
                self._behind = False
                self._on_overflow()
            self._idle = not (self._controls or self._frames)
            self._change.notify_all()
            self._change.wait_for(lambda: self._controls or self._frames)
            self._writes_frame = not self._controls
            pending = self._controls or self._frames
            text = (_ABORT if self._aborted else "") + "".join(pending)
            self._aborted = False
            pending.clear()
            return text


def _discard_output(fd: int) -> None:
    """Discard what a terminal has not read yet, and have a blocked write(2) notice the space.

    tcflush(3) alone wakes no writer of a pty (Linux); restarting the output does.
    """
    with contextlib.suppress(termios.error, OSError):
        if os.tcgetpgrp(fd) == os.getpgrp():  # in the background this would stop vizdash (SIGTTOU)
            termios.tcflush(fd, termios.TCOFLUSH)
            termios.tcflow(fd, termios.TCOOFF)
            termios.tcflow(fd, termios.TCOON)


class TerminalDriver(LinuxDriver):
    """Textual's driver with a writing thread that never blocks the event loop.

    Textual's own (8.2) queues thirty writes. When its writing thread ended with the terminal, or
    stopped with it, the event loop waited for ever: no signal was handled, no route closed, and the
    reading thread used a whole core.
    """

    def __init__(self, app: App[Any], **options: Any) -> None:
        super().__init__(app, **options)
        loop = asyncio.get_running_loop()
        self._terminal_app = app
        self._thread_id = threading.get_ident()
        self._frame: list[str] | None = None
        self._writer = TerminalWriter(
            (sys.__stderr__ or sys.stderr).fileno(),
            on_closed=lambda: _call_soon(loop, app.exit),
            on_overflow=lambda: _call_soon(loop, app.refresh),
        )

    @override
    def _get_terminal_size(self) -> tuple[int, int]:
        # Some containers and expect(1) report 0×0. Textual assumes one size here and another one
        # elsewhere, and would lay the screen out for ever: take the one that is used elsewhere.
        with contextlib.suppress(OSError):
            if all(os.get_terminal_size(self.fileno)):
                return super()._get_terminal_size()
        width, height = self._terminal_app.console.size
        return width, height

    @property
    def is_behind(self) -> bool:
        """Whether a frame would be dropped."""
        return self._writer.is_behind

    @contextlib.contextmanager
    def frame(self) -> Iterator[None]:
        """Make one frame of all that is written in this block."""
        parts: list[str] = []
        self._frame = parts
        try:
            yield
        finally:
            self._frame = None
            self._writer.write_frame("".join(parts))

    @override
    def write(self, data: str) -> None:
        if self._frame is not None and threading.get_ident() == self._thread_id:
            self._frame.append(data)
        else:
            self._writer.write(data)

    @override
    def stop_application_mode(self) -> None:
        self._writer.drop_frames()
        super().stop_application_mode()

    @override
    def close(self) -> None:
        self._writer.drain()
        super().close()


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Call from the writing thread, unless the loop is closed already."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)
