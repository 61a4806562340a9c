"""Commands of this machine: run to the end, followed, piped, or streamed line by line."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from typing_extensions import override

from vizdash.errors import CommandFailed, TimedOut, Unreachable, last_line
from vizdash.transport import child
from vizdash.transport.base import (
    KEPT,
    Command,
    Follower,
    Pipe,
    PipeRunner,
    Reader,
    Result,
    Writer,
)
from vizdash.transport.timeouts import answer_limit, read_all, read_answer

#: Runs a command, and stops it when the pipe on stdin closes; vizdash holds the other end. A site's
#: TMOUT would end bash's read.
_GUARD = """
unset -v TMOUT
exec 3<&0
"$@" </dev/null 3<&- &
command=$!
{ read -r _ <&3; kill "$command" 2>/dev/null; } >/dev/null 2>&1 &
wait "$command"
code=$?
kill $! 2>/dev/null
exit $code
"""
#: Seconds for a process that has ended to close its pipes.
_GRACE_S = 2.0
#: Tasks that wait for a closed stdin, so that its error is not logged.
_PIPES: set[asyncio.Task[None]] = set()


class LocalPipe(Pipe):
    """A running process of this machine with its standard input and output."""

    def __init__(self, process: child.Child) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._reader, self._writer = process.stdout, process.stdin
        self._process = process
        self._last_line = ""
        self._closed = False
        self._reading = asyncio.create_task(self._read())

    @property
    @override
    def reader(self) -> Reader:
        return self._reader

    @property
    @override
    def writer(self) -> Writer:
        return self._writer

    async def _read(self) -> None:
        assert self._process.stderr is not None
        while True:
            try:
                if not (line := await self._process.stderr.readline()):
                    return
            except ValueError:  # a line beyond asyncio's limit, which it has dropped
                continue
            self._last_line = last_line(line.decode(errors="replace")) or self._last_line

    @override
    async def wait(self) -> str:
        try:
            code = await asyncio.wait_for(self._process.wait(), _GRACE_S if self._closed else None)
        except TimeoutError:
            return self._last_line or "it could not be stopped"
        await asyncio.wait({self._reading}, timeout=_GRACE_S)
        return self._last_line or f"it ended with code {code}"

    @override
    async def close(self) -> None:
        """Close its stdin first, which ends most commands; then terminate it.

        A process that does not end is left behind: one that only root may kill, such as a stopped
        sudo(8), or one that waits for a file system.
        """
        self._closed = True
        with contextlib.suppress(OSError):
            self._writer.close()
        ran = self._process.returncode is None
        await child.end_group(self._process)
        if ran:
            await _drain(self._process.stdout)
        # A process that it has left behind may hold stderr open.
        await asyncio.wait({self._reading}, timeout=_GRACE_S)
        await self._process.close()
        await asyncio.wait({self._reading}, timeout=_GRACE_S)
        self._reading.cancel()


class LocalRunner(PipeRunner, Follower):
    """Runs commands on this machine, each in its own process group, never through a shell."""

    @override
    async def run(self, command: Command) -> Result:
        """Run a command; a cancelled call stops its command first."""
        process = await _start(command, gather=True)
        assert process.stdout is not None
        assert process.stderr is not None
        reading: asyncio.Task[None] | None = None
        try:
            async with answer_limit(command, "no answer in") as stderr:
                reading = asyncio.create_task(read_all(process.stderr, stderr))
                out, *_ = await asyncio.gather(
                    read_answer(process.stdout, stderr),
                    _feed(process, command.input),
                    process.wait(),
                )
            await _end_reading(process, reading)
        except (TimedOut, CommandFailed):
            await _end(process, reading)
            raise
        except asyncio.CancelledError:
            await asyncio.shield(_end(process, reading))
            raise
        return Result(process.returncode or 0, os.fsdecode(out), os.fsdecode(stderr.data))

    @override
    async def follow(self, command: Command, on_output: Callable[[str], None]) -> Result:
        """Follow a command. A cancelled call stops its command first. The command also stops when
        vizdash dies: a long command must not outlive a vizdash that was killed.
        """
        if not self.has(command.argv[0]):
            raise Unreachable(command.argv[0], "no such program on this machine")
        argv = ("bash", "--norc", "-p", "-c", _GUARD, "vizdash", *command.argv)
        guarded = replace(command, argv=argv)
        process = await _start(guarded if command.input is None else command, hold=True)
        assert process.stdout is not None
        assert process.stderr is not None
        reading = asyncio.create_task(_follow(process.stderr, on_output))
        try:
            async with asyncio.timeout(command.timeout_s):
                out, *_ = await asyncio.gather(
                    _follow(process.stdout, on_output),
                    _feed(process, command.input),
                    process.wait(),
                )
            await _end_reading(process, reading)
        except TimeoutError as e:
            await _end(process, reading)
            raise TimedOut(command.argv[0], f"not done after {command.timeout_s:g} s") from e
        except asyncio.CancelledError:
            await asyncio.shield(_end(process, reading))
            raise
        return Result(process.returncode or 0, out, await reading)

    @override
    async def pipe(self, argv: Sequence[str]) -> LocalPipe:
        process = await _start(Command(tuple(argv), input=""))
        _ignore_broken_pipe(process)
        return LocalPipe(process)

    @override
    def has(self, program: str) -> bool:
        return shutil.which(program) is not None


async def _start(command: Command, *, hold: bool = False, gather: bool = False) -> child.Child:
    """Start a command; with ``hold``, its stdin is a pipe that closes when vizdash dies. ``gather``
    as in child.start.
    """
    program = command.argv[0]
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    try:
        return await child.start(
            *command.argv,
            stdin=nothing if command.input is None and not hold else pipe,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
            gather=gather,
            limit=child.GATHER_LIMIT if gather else child.LIMIT,
        )
    except FileNotFoundError as e:
        raise Unreachable(program, "no such program on this machine") from e
    except OSError as e:
        raise Unreachable(program, e.strerror or str(e)) from e


async def _feed(process: child.Child, text: str | None) -> None:
    if process.stdin is None or text is None:
        return  # held open
    _ignore_broken_pipe(process)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(os.fsencode(text))
        await process.stdin.drain()
    process.stdin.close()


def _ignore_broken_pipe(process: child.Child) -> None:
    """Ignore a command that ends before it has read all of its input. asyncio would print a
    traceback when the pipe is garbage-collected.
    """

    async def closed(writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    assert process.stdin is not None
    task = asyncio.get_running_loop().create_task(closed(process.stdin))
    _PIPES.add(task)
    task.add_done_callback(_PIPES.discard)


async def _follow(stream: asyncio.StreamReader, report: Callable[[str], None]) -> str:
    """Pass a stream's text to ``report`` as it arrives; return the last KEPT characters."""
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
    kept = ""
    while data := await stream.read(KEPT):
        if text := decode(data):
            kept = (kept + text)[-KEPT:]
            report(text)
    return kept + decode(b"", final=True)


async def _end_reading(process: child.Child, reading: asyncio.Task[Any]) -> None:
    """Wait for the end of what reads stderr when a command has ended: what a ProxyCommand of ssh
    has left running may hold it.
    """
    await asyncio.wait({reading}, timeout=child.LAST_S)
    if not reading.done():
        await process.close()


async def _end(process: child.Child, reading: asyncio.Task[Any] | None = None) -> None:
    """Stop a process group, and read what it has left in its pipes; ``reading`` reads stderr."""
    if reading is not None:
        reading.cancel()
        await asyncio.wait({reading})
    await child.end_group(process)
    for stream in (process.stdout, process.stderr):
        await _drain(stream)
    await process.close()


async def _drain(stream: asyncio.StreamReader | None) -> None:
    """Read the rest of a pipe."""
    if stream is not None:
        with contextlib.suppress(TimeoutError, RuntimeError):  # it is still being read
            await asyncio.wait_for(stream.read(), _GRACE_S)


#: Bytes after which a line is split: some tools draw their progress without any line end.
_LONGEST = 64 * 1024
_CHUNK = 1 << 16
_ENDS = re.compile(rb"\r\n|\n|\r")
#: Seconds between the end of stdin and SIGTERM, and from there to SIGKILL.
_STREAM_GRACE_S = 30.0
_STREAM_TERM_S = 5.0


class Stream(Protocol):
    """A long-running command whose output is read line by line and whose stdin is held open.

    The command is expected to end when its stdin closes: then it ends with vizdash, on this machine
    and on any host that it reaches by ssh(1) or srun(1).
    """

    def lines(self) -> AsyncIterator[str]:
        """The lines of its stdout and stderr, to the end."""

    async def finish(self) -> int:
        """Close its stdin, wait for its end (after a time by SIGTERM and SIGKILL), and return its
        exit code.
        """


class Streamer(Protocol):
    """Starts commands as streams."""

    async def open(self, argv: Sequence[str], script: str) -> Stream:
        """Start ``argv``, write ``script`` to its stdin, and keep that open.

        Raises Unreachable when it cannot be started.
        """


class LocalStream(Stream):
    """A process of this machine, in its own session (setsid(2))."""

    def __init__(self, process: child.Child) -> None:
        self._process = process

    @override
    async def lines(self) -> AsyncIterator[str]:
        """Read by lines; a carriage return ends one too, since progress bars are drawn with it."""
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

    @override
    async def finish(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        drain = asyncio.create_task(self._drain())
        try:
            for seconds, number in (
                (_STREAM_GRACE_S, signal.SIGTERM),
                (_STREAM_TERM_S, signal.SIGKILL),
            ):
                try:
                    return await asyncio.wait_for(self._process.wait(), seconds)
                except TimeoutError:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.killpg(self._process.pid, number)
            try:
                return await asyncio.wait_for(self._process.wait(), _STREAM_TERM_S)
            except TimeoutError:  # as in LocalPipe.close
                return -signal.SIGKILL
        finally:
            await child.end_group(self._process)
            # A process that it has left behind may hold stdout open.
            await asyncio.wait({drain}, timeout=_GRACE_S)
            drain.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await drain
            await self._process.close()

    async def _drain(self) -> None:
        """Read the remaining output, so that a full pipe does not keep the command from ending."""
        assert self._process.stdout is not None
        with contextlib.suppress(RuntimeError):  # lines() is still being read
            while await self._process.stdout.read(_CHUNK):
                pass


class LocalStreamer(Streamer):
    """Starts commands of this machine, ssh(1) and srun(1) among them."""

    @override
    async def open(self, argv: Sequence[str], script: str) -> LocalStream:
        try:
            process = await child.start(
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
        with contextlib.suppress(ConnectionError):  # its output says why
            await process.stdin.drain()
        return LocalStream(process)
