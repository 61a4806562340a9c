"""A command that runs for long: its output comes line by line, its stdin is held open.

What it runs is to end when its stdin does: so it ends with us, however we end, on this machine
and on any other that ssh(1) or srun(1) leads to.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from vizdash.errors import Unreachable

#: A line that is longer is cut: some tools draw their progress without ever ending a line.
_LONGEST = 64 * 1024
_CHUNK = 1 << 16
_ENDS = re.compile(rb"\r\n|\n|\r")
#: Seconds that a command gets to end by itself after the end of its stdin, then after SIGTERM.
_GRACE_S = 30.0
_TERM_S = 5.0


class Stream(Protocol):
    """A command that runs."""

    def lines(self) -> AsyncIterator[str]:
        """Its stdout and stderr, by lines, to their end."""
        ...

    async def finish(self) -> int:
        """End its stdin, wait for its end (in the last resort enforced); its exit code."""
        ...


class Streamer(Protocol):
    """Starts such commands."""

    async def open(self, argv: Sequence[str], script: str) -> Stream:
        """Start ``argv`` with ``script`` as the beginning of its stdin, which stays open.

        Raises Unreachable when it can't be started.
        """
        ...


class LocalStream:
    """A process of this machine, in a session of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def lines(self) -> AsyncIterator[str]:
        """See Stream.lines. A carriage return ends a line too: progress bars are written so."""
        assert self._process.stdout is not None
        kept = b""
        while chunk := await self._process.stdout.read(_CHUNK):
            *whole, kept = _ENDS.split(kept + chunk)
            for line in whole:
                yield line.decode("utf-8", "replace")
            if len(kept) > _LONGEST:
                yield kept.decode("utf-8", "replace")
                kept = b""
        if kept:
            yield kept.decode("utf-8", "replace")

    async def finish(self) -> int:
        """See Stream.finish."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        drain = asyncio.create_task(self._drain())
        try:
            for seconds, number in ((_GRACE_S, signal.SIGTERM), (_TERM_S, signal.SIGKILL)):
                try:
                    return await asyncio.wait_for(self._process.wait(), seconds)
                except TimeoutError:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(self._process.pid, number)
            return await self._process.wait()
        finally:
            drain.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await drain

    async def _drain(self) -> None:
        """Read on, so that what it still has to say does not keep it from ending."""
        assert self._process.stdout is not None
        with contextlib.suppress(RuntimeError):  # someone reads the lines still
            while await self._process.stdout.read(_CHUNK):
                pass


class LocalStreamer:
    """Starts commands of this machine; ssh(1) and srun(1) are such."""

    async def open(self, argv: Sequence[str], script: str) -> LocalStream:
        """See Streamer.open."""
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except FileNotFoundError as e:
            raise Unreachable(argv[0], "no such program on this machine") from e
        except OSError as e:
            raise Unreachable(argv[0], e.strerror or str(e)) from e
        assert process.stdin is not None
        process.stdin.write(script.encode("utf-8", "surrogateescape"))
        with contextlib.suppress(ConnectionError):  # it says why in its output
            await process.stdin.drain()
        return LocalStream(process)
