"""Commands of this machine."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from vizdash.errors import CommandFailed, TimedOut, Unreachable, last_line
from vizdash.transport.base import KEPT, Command, Reader, Result, Writer
from vizdash.transport.timeouts import answer_limit, read_all, read_answer

#: Runs a command until its own end, or that of the pipe on stdin, whose other end is ours.
_GUARD = """
exec 3<&0
"$@" </dev/null 3<&- &
command=$!
{ read -r _ <&3; kill "$command" 2>/dev/null; } >/dev/null 2>&1 &
wait "$command"
code=$?
kill $! 2>/dev/null
exit $code
"""
#: Seconds a command gets to end after SIGTERM before SIGKILL.
_GRACE_S = 2.0
#: Pipes to commands that may still end in an error that nobody needs to hear of.
_PIPES: set[asyncio.Task[None]] = set()


class LocalPipe:
    """See Pipe."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.reader: Reader = process.stdout
        self.writer: Writer = process.stdin
        self._process = process
        self._said = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self._said = last_line(line.decode(errors="replace")) or self._said

    async def wait(self) -> str:
        """See Pipe.wait."""
        code = await self._process.wait()
        await self._reading
        return self._said or f"it ended with code {code}"

    async def close(self) -> None:
        """See Pipe.close. An end of input comes first: most commands end by it."""
        with contextlib.suppress(OSError):
            self.writer.close()
        if self._process.returncode is None:
            await _end(self._process)
        await self._reading


class LocalRunner:
    """Runs commands here, each in a process group of its own, never through a shell."""

    async def run(self, command: Command) -> Result:
        """See CommandRunner.run. A cancelled call ends its command first."""
        process = await _start(command)
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with answer_limit(command, "no answer in") as stderr:
                out, *_ = await asyncio.gather(
                    read_answer(process.stdout, stderr),
                    read_all(process.stderr, stderr),
                    _feed(process, command.input),
                    process.wait(),
                )
        except (TimedOut, CommandFailed):
            await _end(process)
            raise
        except asyncio.CancelledError:
            await asyncio.shield(_end(process))
            raise
        return Result(process.returncode or 0, os.fsdecode(out), os.fsdecode(stderr.data))

    async def follow(self, command: Command, on_output: Callable[[str], None]) -> Result:
        """See Follower.follow. A cancelled call ends its command first, and so does our own end,
        whatever it is: a command that takes long must not go on behind a vizdash that was killed.
        """
        if not self.has(command.argv[0]):
            raise Unreachable(command.argv[0], "no such program on this machine")
        guarded = replace(command, argv=("bash", "--norc", "-c", _GUARD, "vizdash", *command.argv))
        process = await _start(guarded if command.input is None else command, hold=True)
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            out, err, *_ = await asyncio.wait_for(
                asyncio.gather(
                    _follow(process.stdout, on_output),
                    _follow(process.stderr, on_output),
                    _feed(process, command.input),
                    process.wait(),
                ),
                command.timeout_s,
            )
        except TimeoutError as e:
            await _end(process)
            raise TimedOut(command.argv[0], f"not done after {command.timeout_s:g} s") from e
        except asyncio.CancelledError:
            await asyncio.shield(_end(process))
            raise
        return Result(process.returncode or 0, out, err)

    async def pipe(self, argv: Sequence[str]) -> LocalPipe:
        """See PipeRunner.pipe."""
        process = await _start(Command(tuple(argv), input=""))
        _ignore_broken_pipe(process)
        return LocalPipe(process)

    def has(self, program: str) -> bool:
        """Whether ``program`` is on PATH."""
        return shutil.which(program) is not None


async def _start(command: Command, *, hold: bool = False) -> asyncio.subprocess.Process:
    """Start it, with a stdin for its input; ``hold`` makes one that says when we are gone."""
    program = command.argv[0]
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    try:
        return await asyncio.create_subprocess_exec(
            *command.argv,
            stdin=nothing if command.input is None and not hold else pipe,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
        )
    except FileNotFoundError as e:
        raise Unreachable(program, "no such program on this machine") from e
    except OSError as e:
        raise Unreachable(program, e.strerror or str(e)) from e


async def _feed(process: asyncio.subprocess.Process, text: str | None) -> None:
    if process.stdin is None or text is None:
        return  # held open
    _ignore_broken_pipe(process)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(os.fsencode(text))
        await process.stdin.drain()
    process.stdin.close()


def _ignore_broken_pipe(process: asyncio.subprocess.Process) -> None:
    """A command that ends without reading all of its input is no error; asyncio would print one
    (with a traceback, whenever the pipe is forgotten).
    """

    async def closed(writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    assert process.stdin is not None
    task = asyncio.get_running_loop().create_task(closed(process.stdin))
    _PIPES.add(task)
    task.add_done_callback(_PIPES.discard)


async def _follow(stream: asyncio.StreamReader, tell: Callable[[str], None]) -> str:
    """Tell a stream's text as it comes; returns its end."""
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
    kept = ""
    while data := await stream.read(KEPT):
        if text := decode(data):
            kept = (kept + text)[-KEPT:]
            tell(text)
    return kept + decode(b"", final=True)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process group, its leader or not: TERM, then KILL for whoever is left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # sudo(8) runs as root
            os.killpg(process.pid, number)
        deadline = time.monotonic() + _GRACE_S
        while process.returncode is None or _lives(process.pid):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.02)
    if process.stdin is not None:
        process.stdin.close()
    # Its pipes' ends are met here, or the loop would be left with transports that nobody closed.
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stream.read(), _GRACE_S)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
