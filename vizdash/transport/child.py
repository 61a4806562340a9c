"""Processes of this machine, whose end is noticed while a process that they left holds a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import time
from asyncio.subprocess import Process, SubprocessStreamProtocol
from pathlib import Path
from typing import Any

from typing_extensions import override

#: asyncio's default for StreamReader, in bytes.
LIMIT = 1 << 16
#: Programs write 4 KiB at a time, each of which would wake the event loop. Of a process that writes
#: much, more than so many bytes, output gathers in the pipe for so many seconds.
_MUCH, _GATHER_S = 1 << 16, 0.005
#: Bytes that a pipe then holds, where the kernel allows it (pipe(7)), and the limit for a
#: StreamReader that lets it gather.
_PIPE_BYTES = GATHER_LIMIT = 1 << 20
#: Seconds for a process to end after a signal.
_KILL_S = 2.0
#: Seconds in which the last output of a process that has ended is read: what it has left behind may
#: hold its stderr open.
LAST_S = 2.0
#: Seconds in which a signal usually ends a process.
_QUICK_S = 0.2


class Child(Process):
    """A process that ``start`` has started.

    A process may leave others behind that hold its stdout or stderr, as ssh(1) does with those of a
    ProxyCommand. asyncio waits for these pipes, too: before Python 3.12.5 its ``wait`` did not
    return, and the pipes stay open. Call ``close`` unless they are read to their end.
    """

    def __init__(
        self,
        transport: asyncio.SubprocessTransport,
        protocol: _PipesProtocol,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(transport, protocol, loop)
        self._subprocess = transport
        self._pipes = protocol
        self._owner = os.getpid()

    @property
    def group_ended(self) -> bool:
        """Whether the process group that it led is known to have ended: another one may have its
        number.
        """
        return self._pipes.group_ended

    def note_group(self) -> None:
        """Look whether its process group has ended."""
        self._pipes.note_group()

    @property
    def is_reported(self) -> bool:
        """Whether its end is reported here: not in a fork of the process that started it."""
        return self._owner == os.getpid()

    @override
    async def wait(self) -> int:
        """Wait for its end, not for that of its pipes; return its exit code."""
        await self._pipes.exited.wait()
        assert self.returncode is not None
        return self.returncode

    async def close(self) -> None:
        """Close the pipes, and kill it if it still runs. May be called again."""
        with contextlib.suppress(PermissionError):  # sudo(8) runs as root
            self._subprocess.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._pipes.closed.wait(), _KILL_S)


class _PipesProtocol(SubprocessStreamProtocol):
    """Tells the end of a process from the end of its pipes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, *, gather: bool) -> None:
        super().__init__(limit=limit, loop=loop)
        self.exited, self.closed = asyncio.Event(), asyncio.Event()
        self.group_ended = False
        self._pid = 0
        self._open: set[int] = set()
        self._gather, self._received = gather, 0
        self._subprocess: asyncio.SubprocessTransport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._subprocess = transport
        self._pid = transport.get_pid() or 0
        self._open = {fd for fd in range(3) if transport.get_pipe_transport(fd) is not None}
        if self._gather and (output := transport.get_pipe_transport(1)) is not None:
            # Linux alone has it; the pipe of a program that ended at once is closed (ValueError).
            with contextlib.suppress(OSError, AttributeError, ValueError):
                fcntl.fcntl(output.get_extra_info("pipe"), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    @override
    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        super().pipe_data_received(fd, data)
        self._received += len(data)
        if self._gather and fd == 1 and self._received > _MUCH and self._subprocess is not None:
            pipe = self._subprocess.get_pipe_transport(fd)
            assert isinstance(pipe, asyncio.ReadTransport)
            pipe.pause_reading()
            asyncio.get_running_loop().call_later(_GATHER_S, self._resume, fd, pipe)

    def _resume(self, fd: int, pipe: asyncio.ReadTransport) -> None:
        if fd in self._open:
            pipe.resume_reading()

    @override
    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        # Whoever waited for the end of stdin may have been cancelled, and asyncio's future with it.
        with contextlib.suppress(asyncio.InvalidStateError):
            super().pipe_connection_lost(fd, exc)
        self._open.discard(fd)
        self._check_closed()

    @override
    def process_exited(self) -> None:
        super().process_exited()
        self.note_group()
        self.exited.set()
        self._check_closed()

    def note_group(self) -> None:
        self.group_ended |= not _exists(-self._pid)

    def _check_closed(self) -> None:
        if self.exited.is_set() and not self._open:
            self.closed.set()


async def start(
    *argv: str | Path, limit: int = LIMIT, gather: bool = False, **options: Any
) -> Child:
    """Start a process with the options of asyncio.create_subprocess_exec. Raises OSError.

    With ``gather``, much output is read in larger pieces, each up to 5 ms later. If the caller is
    cancelled meanwhile, the process is killed, and with ``start_new_session`` all that it started.
    """
    loop = asyncio.get_running_loop()

    async def begin() -> Child:
        transport, protocol = await loop.subprocess_exec(
            lambda: _PipesProtocol(loop, limit, gather=gather), *argv, **options
        )
        return Child(transport, protocol, loop)

    # asyncio's own way would kill the process alone, and wait for who else holds its pipes.
    beginning = asyncio.create_task(begin())
    try:
        return await asyncio.shield(beginning)
    except asyncio.CancelledError:
        ending = asyncio.create_task(
            _end_started(beginning, whole=options.get("start_new_session", False))
        )
        while not ending.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({ending})
        raise


async def read_output(process: Child) -> tuple[bytes, bytes]:
    """Return the stdout and stderr of a process when it has ended, as ``communicate`` does, though
    what it has left behind may hold stderr open. Call ``close`` afterwards.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    errors = bytearray()
    reading = asyncio.create_task(_read_into(errors, process.stderr))
    try:
        output = await process.stdout.read()
        await process.wait()
        await asyncio.wait({reading}, timeout=LAST_S)
    finally:
        reading.cancel()
        await asyncio.wait({reading})
    return output, bytes(errors)


async def _read_into(data: bytearray, stream: asyncio.StreamReader) -> None:
    while piece := await stream.read(LIMIT):
        data += piece


async def _end_started(beginning: asyncio.Task[Child], *, whole: bool) -> None:
    """Kill a process that nobody waits for, with ``whole`` its process group, once it has begun."""
    await asyncio.wait({beginning})
    if beginning.cancelled() or beginning.exception() is not None:
        return
    process = beginning.result()
    if whole:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _KILL_S)
    await process.close()


async def end_group(process: Child, first: signal.Signals = signal.SIGTERM) -> None:
    """Stop a process that leads its group, and the rest of it even if that one has ended.

    It gets the signal ``first``, and SIGKILL 2 s later. ssh(1) leaves behind what a ProxyCommand
    has started in the background; that keeps the connection, and the login of the user, open.
    """
    for number in (first, signal.SIGKILL):
        # While anything is left of the group, no process gets its number.
        if process.group_ended or (process.returncode is not None and _exists(process.pid)):
            break
        with contextlib.suppress(ProcessLookupError, PermissionError):  # sudo(8) runs as root
            os.killpg(process.pid, number)
        ended = await _wait_group_ended(process)
        process.note_group()
        if ended:
            break
    if process.stdin is not None:
        process.stdin.close()


async def _wait_group_ended(process: Child) -> bool:
    """Wait 2 s for the end of a process group; return whether it has ended."""
    began = time.monotonic()
    looking: asyncio.Future[bool] | None = None
    while (waits := process.returncode is None and process.is_reported) or _exists(-process.pid):
        waited = time.monotonic() - began
        if waited > _KILL_S:
            return False
        if waited < _QUICK_S or waits:
            await asyncio.sleep(0.02)
            continue
        # In a thread, though all of them may be held by file systems that hang.
        if looking is None:
            looking = asyncio.get_running_loop().run_in_executor(None, _are_zombies, process.pid)
        await asyncio.wait({looking}, timeout=_QUICK_S)
        if looking.done():
            if looking.result():
                return True
            looking = None
            await asyncio.sleep(_QUICK_S)
    return True


def _exists(pid: int) -> bool:
    """Whether there is such a process; for ``-pid``, such a process group (kill(2))."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _are_zombies(group: int) -> bool:
    """Whether all that is left of a process group are zombies (proc(5), stat): the first process of
    a container may never wait for what a killed parent left to it.
    """
    stats = list(Path("/proc").glob("[0-9]*/stat"))  # none where there is no such /proc
    return bool(stats) and not any(_is_running(stat, group) for stat in stats)


def _is_running(stat: Path, group: int) -> bool:
    try:
        fields = stat.read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    # A zombie may have threads that live on.
    return int(fields[2]) == group and (fields[0] not in {"Z", "X"} or int(fields[17]) > 1)
