"""How long a command's answer is awaited, how long it may be, and what stderr had by then."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vizdash.errors import CommandFailed, TimedOut, last_line
from vizdash.transport.base import RETRY_S, Command, Reader

#: Bytes of a command's answer, stderr included: squeue's about 100,000 jobs are a third of it.
ANSWER_LIMIT = 128 << 20


class Stderr:
    """What a command prints on stderr while its answer is awaited, until ``limit``."""

    def __init__(self, command: Command, limit: asyncio.Timeout) -> None:
        self._data = bytearray()
        #: Seconds that the command has; 0 once it retries.
        self.limit_s = command.timeout_s
        self._retries = tuple(os.fsencode(text) for text in command.retries)
        self._limit = limit
        self._room = ANSWER_LIMIT
        #: Whether it printed more than an answer may have.
        self.too_long = False

    @property
    def data(self) -> bytes:
        """All that came."""
        return bytes(self._data)

    def add(self, data: bytes) -> None:
        """Take what came. Words that say that it keeps retrying shorten the wait."""
        self.count(len(data))
        self._data += data
        when = self._limit.when()
        if when is None or not any(text in self._data for text in self._retries):
            return
        soon = asyncio.get_running_loop().time() + RETRY_S
        if soon < when:
            self._limit.reschedule(soon)
            self.limit_s = 0.0
            self._retries = ()

    def count(self, size: int) -> None:
        """Note that ``size`` more bytes came, on stdout or stderr; too many end the wait."""
        self._room -= size
        if self._room < 0 and not self.too_long:
            self.too_long = True
            self._limit.reschedule(asyncio.get_running_loop().time())


@asynccontextmanager
async def answer_limit(command: Command, what: str, mark: bytes = b"") -> AsyncIterator[Stderr]:
    """The time in which ``command`` has to answer. Raises TimedOut, with its last line on stderr,
    once that is over, and CommandFailed for an answer of more than ANSWER_LIMIT bytes: the command
    itself is for the caller to end. Its stderr begins after the line ``mark``, if one is given.
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
            why = f"it printed more than {ANSWER_LIMIT >> 20} MiB and was ended"
            raise CommandFailed(command.argv[0], 1, why) from e
        text = os.fsdecode(stderr.data.partition(mark + b"\n")[2] if mark else stderr.data)
        why = f"{what} {stderr.limit_s:g} s" if stderr.limit_s else "it keeps retrying"
        words = f": {line}" if (line := last_line(text)) else ""
        raise TimedOut(command.argv[0], f"{why}{words}", stderr=text) from e


async def read_all(stream: Reader, stderr: Stderr) -> None:
    """Read a command's stderr to its end, as it comes."""
    while data := await stream.read(4096):
        stderr.add(data)


async def read_answer(stream: Reader, stderr: Stderr) -> bytes:
    """Read a command's stdout to its end. What is too long is cut off: see ``answer_limit``."""
    parts: list[bytes] = []
    while data := await stream.read(1 << 16):
        stderr.count(len(data))
        if not stderr.too_long:
            parts.append(data)
    return b"".join(parts)
