"""Limits of a command's answer: its time and its size."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vizdash.errors import CommandFailed, TimedOut, last_line
from vizdash.transport.base import RETRY_S, Command, Reader


class Stderr:
    """Collects a command's stderr while its answer is awaited, until ``limit``."""

    def __init__(self, command: Command, limit: asyncio.Timeout) -> None:
        self._data = bytearray()
        #: Seconds for the command; 0 once it repeats a failing step.
        self.limit_s = command.timeout_s
        self._retries = tuple(os.fsencode(text) for text in command.retries)
        self._limit = limit
        self._bytes_left = command.limit_bytes
        #: Whether the answer is larger than the command's limit.
        self.too_long = False
        #: Whether the answer is no longer awaited.
        self.closed = False

    @property
    def data(self) -> bytes:
        """All of it so far."""
        return bytes(self._data)

    def add(self, data: bytes) -> None:
        """Add a piece. A text of Command.retries shortens the time limit."""
        self.count(len(data))
        if self.closed and self._bytes_left < 0:
            return
        self._data += data
        when = self._limit.when()
        # What was searched before is not searched again: an answer may have many pieces.
        recent = self._data[-len(data) - max(map(len, self._retries), default=0) :]
        if self.closed or when is None or not any(text in recent for text in self._retries):
            return
        soon = asyncio.get_running_loop().time() + RETRY_S
        if soon < when:
            self._limit.reschedule(soon)
            self.limit_s = 0.0
            self._retries = ()

    def count(self, size: int) -> None:
        """Count ``size`` more bytes of stdout or stderr; too many end the wait."""
        self._bytes_left -= size
        if self._bytes_left < 0 and not self.too_long and not self.closed:
            self.too_long = True
            self._limit.reschedule(asyncio.get_running_loop().time())


@asynccontextmanager
async def answer_limit(command: Command, what: str, mark: bytes = b"") -> AsyncIterator[Stderr]:
    """Limit the time and size of the answer of ``command``.

    Raises TimedOut with its last line on stderr, and CommandFailed for an answer of more than
    its limit in bytes; the caller then stops the command. Its stderr begins after the line
    ``mark``, if one is given.
    """
    limit = asyncio.timeout(command.timeout_s)
    stderr = Stderr(command, limit)
    try:
        async with limit:
            yield stderr
    except TimeoutError as e:
        if not limit.expired():
            raise
        if stderr.too_long:
            why = f"it printed more than {command.limit_bytes >> 20} MiB and was stopped"
            raise CommandFailed(command.argv[0], 1, why) from e
        text = os.fsdecode(stderr.data.partition(mark + b"\n")[2] if mark else stderr.data)
        why = f"{what} {stderr.limit_s:g} s" if stderr.limit_s else "it keeps retrying"
        words = f": {line}" if (line := last_line(text)) else ""
        raise TimedOut(command.argv[0], f"{why}{words}", stderr=text) from e
    finally:
        stderr.closed = True


async def read_all(stream: Reader, stderr: Stderr) -> None:
    """Read a command's stderr to its end, piece by piece."""
    while data := await stream.read(4096):
        stderr.add(data)


async def read_answer(stream: Reader, stderr: Stderr) -> bytes:
    """Read a command's stdout to its end; drop what exceeds its limit."""
    parts: list[bytes] = []
    while data := await stream.read(1 << 16):
        stderr.count(len(data))
        if not stderr.too_long:
            parts.append(data)
    return b"".join(parts)
