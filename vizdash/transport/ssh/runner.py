"""Runs commands on the login host over the SSH connection, whatever its login shell prints."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import secrets
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import asyncssh
from typing_extensions import override

from vizdash.errors import CommandFailed, ConnectionLost, TimedOut, Unreachable, last_line
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
from vizdash.transport.ssh import remote_info
from vizdash.transport.ssh.connection import SshConnection
from vizdash.transport.ssh.remote_info import RemoteInfo
from vizdash.transport.timeouts import Stderr, answer_limit, read_all, read_answer

_WHOLE = "exec /bin/sh -c 's=$(cat); case $s in (*end{mark}) eval \"$s\";; (*) exit 125;; esac'"
_STREAM = "exec /bin/sh -c 'eval \"$(dd bs=1 count={size} 2>/dev/null)\"'"


@dataclass(frozen=True, slots=True)
class FramedCommand:
    """A command for a login shell: ``line`` is its command line, ``program`` goes to its stdin.

    The output begins after the line ``mark``.
    """

    line: str
    program: bytes
    mark: bytes


def frame_command(
    argv: Sequence[str], data: str | None = None, *, environ: Mapping[str, str] | None = None
) -> FramedCommand:
    """Frame a command with all of its input in ``data`` (None: no input)."""
    mark = secrets.token_hex(12)
    run = shlex.join(argv)
    body = f"exec {run} </dev/null" if data is None else f"printf %s {shlex.quote(data)} | {run}"
    program = f"{_head(mark, environ or {})}{body}\n#end{mark}"
    return FramedCommand(_WHOLE.format(mark=mark), os.fsencode(program), mark.encode())


def frame_stream(argv: Sequence[str], *, environ: Mapping[str, str] | None = None) -> FramedCommand:
    """Frame a command whose input is a stream that follows the program."""
    mark = secrets.token_hex(12)
    program = os.fsencode(f"{_head(mark, environ or {})}exec {shlex.join(argv)}\n")
    return FramedCommand(_STREAM.format(size=len(program)), program, mark.encode())


def text_after(mark: bytes, output: bytes) -> bytes | None:
    """Return the output after the mark's line; None without a mark."""
    _, marked, rest = output.partition(mark + b"\n")
    return rest if marked else None


def _head(mark: str, environ: Mapping[str, str]) -> str:
    assign = "".join(f"{k}={shlex.quote(v)}; export {k}; " for k, v in environ.items())
    return f"printf '%s\\n' {mark}; printf '%s\\n' {mark} >&2; {assign}"


class SshReader(Reader):
    """A Reader over asyncssh. A broken connection raises ConnectionResetError."""

    def __init__(self, reader: asyncssh.SSHReader[bytes]) -> None:
        self._reader = reader

    @override
    async def read(self, n: int = -1, /) -> bytes:
        try:
            return await self._reader.read(n)
        except asyncssh.Error as e:
            raise ConnectionResetError(str(e)) from e


class SshWriter(Writer):
    """A Writer over asyncssh. A broken connection raises ConnectionResetError."""

    def __init__(self, writer: asyncssh.SSHWriter[bytes]) -> None:
        self._writer = writer

    @override
    def write(self, data: bytes, /) -> None:
        try:
            self._writer.write(data)
        except asyncssh.Error as e:
            raise ConnectionResetError(str(e)) from e

    @override
    async def drain(self) -> None:
        try:
            await self._writer.drain()
        except asyncssh.Error as e:
            raise ConnectionResetError(str(e)) from e

    @override
    def can_write_eof(self) -> bool:
        return True

    @override
    def write_eof(self) -> None:
        try:
            self._writer.write_eof()
        except asyncssh.Error as e:
            raise ConnectionResetError(str(e)) from e

    @override
    def close(self) -> None:
        self._writer.close()


async def unix_stream(conn: asyncssh.SSHClientConnection, path: str) -> tuple[Reader, Writer]:
    """Connect to a Unix socket of the host behind ``conn``. Raises asyncssh.Error."""
    reader, writer = await conn.open_unix_connection(path)
    return SshReader(reader), SshWriter(writer)


async def tcp_stream(
    conn: asyncssh.SSHClientConnection, host: str, port: int
) -> tuple[Reader, Writer]:
    """Connect from the host behind ``conn`` to a TCP port. Raises asyncssh.Error."""
    reader, writer = await conn.open_connection(host, port)
    return SshReader(reader), SshWriter(writer)


#: Sessions open at once on one connection; sshd's default for MaxSessions is 10.
_SESSIONS = 8
#: Attempts to open a session while none is open: the server may not have closed the last one yet.
_ATTEMPTS = 10
_GRACE_S = 2.0
#: Seconds in which a command of a pipe has to start.
_START_S = 30.0


class SessionSlots:
    """Counts open sessions, and learns from refusals how many sshd allows (MaxSessions)."""

    def __init__(self, limit: int = _SESSIONS) -> None:
        self.limit = limit
        self.used = 0
        self._changed = asyncio.Condition()

    async def take(self) -> None:
        """Wait for a free session."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.used < self.limit)
            self.used += 1

    async def free(self) -> None:
        """Release a session."""
        async with self._changed:
            self.used -= 1
            self._changed.notify_all()

    def note_refusal(self) -> bool:
        """Note that a session was refused; return whether other open sessions are the reason."""
        if self.used <= 1:
            return False
        self.limit = self.used - 1
        return True


class SshPipe(Pipe):
    """A running command of the login host with its standard input and output."""

    def __init__(
        self, process: asyncssh.SSHClientProcess[bytes], slots: SessionSlots, mark: bytes
    ) -> None:
        self._process = process
        self._slots = slots
        self._mark = mark
        self._stderr = b""
        self._reading = asyncio.create_task(self._read())
        self._closed = False

    @property
    @override
    def reader(self) -> Reader:
        return SshReader(self._process.stdout)

    @property
    @override
    def writer(self) -> Writer:
        return SshWriter(self._process.stdin)

    async def _read(self) -> None:
        with contextlib.suppress(OSError, asyncssh.Error):
            while data := await self._process.stderr.read(4096):
                self._stderr = (self._stderr + data)[-4096:]

    @override
    async def wait(self) -> str:
        await self._process.wait_closed()
        await asyncio.wait({self._reading})
        if self.last_line:
            return self.last_line
        if self._process.exit_status is None:
            return "the connection broke"
        return f"it ended with code {self._process.exit_status}"

    @property
    def last_line(self) -> str:
        """The last line of its stderr so far."""
        stderr = text_after(self._mark, self._stderr)
        return last_line((self._stderr if stderr is None else stderr).decode(errors="replace"))

    @override
    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await _end(self._process)
        self._reading.cancel()
        await self._slots.free()


class SshRunner(PipeRunner, Follower):
    """Runs commands on the login host of ``connection``."""

    def __init__(self, connection: SshConnection) -> None:
        self.connection = connection
        self._slots = SessionSlots()
        self._remote_info: RemoteInfo | None = None
        self._remote_info_lock = asyncio.Lock()

    async def query_remote_info(self) -> RemoteInfo:
        """Query the user, home and programs on the login host; once."""
        async with self._remote_info_lock:
            if self._remote_info is None:
                mark = os.urandom(12).hex()
                result = await self._run(Command(remote_info.query_command(mark)), {})
                self._remote_info = remote_info.parse_answer(result.check("sh").stdout)
        return self._remote_info

    @override
    async def run(self, command: Command) -> Result:
        """Run a command. Raises ConnectionLost when the connection breaks after the command was
        sent: it may have run. It is never sent twice.
        """
        return await self._run(command, (await self.query_remote_info()).environ)

    @override
    async def follow(self, command: Command, on_output: Callable[[str], None]) -> Result:
        """Follow a command. Raises ConnectionLost as ``run`` does."""
        environ = (await self.query_remote_info()).environ
        frame = frame_command(command.argv, command.input, environ=environ)
        async with self._session(frame, command.timeout_s) as process:

            async def talk(_: Stderr) -> tuple[bytes, bytes]:
                process.stdin.write(frame.program)
                process.stdin.write_eof()
                streams = (process.stdout, process.stderr)
                both = (_follow(stream, frame.mark, on_output) for stream in streams)
                out, err = await asyncio.gather(*both)
                await process.wait_closed()
                return out, err

            out, err = await self._within(command, process, frame, talk)
        return self._result(process, frame, command.argv[0], out, err)

    @override
    def has(self, program: str) -> bool:
        """Whether the login host has ``program``; True while that is not known."""
        return self._remote_info is None or program in self._remote_info.programs

    @override
    async def pipe(self, argv: Sequence[str]) -> Pipe:
        """Start a command. It uses one of the sessions that sshd allows."""
        frame = frame_stream(argv, environ=(await self.query_remote_info()).environ)
        if self._slots.limit < 2:
            raise Unreachable(
                self.connection.status.host,
                "its sshd allows one session at a time (MaxSessions 1)",
                "ask its administrators for more, or set `tunnel: ssh`",
            )
        await self._slots.take()
        try:
            process = await self._open(frame, _START_S)
            pipe = SshPipe(process, self._slots, frame.mark)
        except BaseException:
            await self._slots.free()
            raise
        try:
            process.stdin.write(frame.program)
            async with asyncio.timeout(_START_S):
                await process.stdout.readuntil(frame.mark + b"\n")
        except TimeoutError as e:
            await asyncio.shield(pipe.close())
            raise Unreachable(argv[0], pipe.last_line or f"no answer in {_START_S:g} s") from e
        except (asyncio.IncompleteReadError, OSError, asyncssh.Error) as e:
            await asyncio.shield(pipe.close())
            raise Unreachable(argv[0], await pipe.wait()) from e
        except BaseException:
            await asyncio.shield(pipe.close())
            raise
        return pipe

    async def _run(self, command: Command, environ: Mapping[str, str]) -> Result:
        frame = frame_command(command.argv, command.input, environ=environ)
        async with self._session(frame, command.timeout_s) as process:

            async def talk(stderr: Stderr) -> tuple[bytes, bytes]:
                process.stdin.write(frame.program)
                process.stdin.write_eof()
                out = read_answer(process.stdout, stderr)
                answer, _ = await asyncio.gather(out, read_all(process.stderr, stderr))
                await process.wait_closed()
                return answer, stderr.data

            out, err = await self._within(command, process, frame, talk)
        return self._result(process, frame, command.argv[0], out, err)

    async def _within(
        self,
        command: Command,
        process: asyncssh.SSHClientProcess[bytes],
        frame: FramedCommand,
        talk: Callable[[Stderr], Awaitable[tuple[bytes, bytes]]],
    ) -> tuple[bytes, bytes]:
        """Run ``talk`` within the command's limits; a time-out or a cancel stops the command."""
        try:
            async with answer_limit(command, "no answer in", mark=frame.mark) as stderr:
                return await talk(stderr)
        except (TimedOut, CommandFailed):
            await _end(process)
            raise
        except asyncio.CancelledError:
            await asyncio.shield(_end(process))
            raise
        except (OSError, asyncssh.Error) as e:
            raise self._lost(command.argv[0]) from e

    def _result(
        self,
        process: asyncssh.SSHClientProcess[bytes],
        frame: FramedCommand,
        program: str,
        out: bytes,
        err: bytes,
    ) -> Result:
        code = process.exit_status
        if code is None and process.exit_signal is None:
            raise self._lost(program)
        stdout, stderr = text_after(frame.mark, out), text_after(frame.mark, err)
        if stdout is None:
            word = last_line((err or out).decode(errors="replace")) or f"exit code {code}"
            fix = "does `ssh HOST sh -c true` work there?"
            raise Unreachable(
                self.connection.status.host, f"its login shell runs no commands: {word}", fix
            )
        text = os.fsdecode(err if stderr is None else stderr)
        return Result(128 if code is None else code, os.fsdecode(stdout), text)

    def _lost(self, program: str) -> ConnectionLost:
        host = self.connection.status.host
        return ConnectionLost(program, f"the connection to {host} broke while it ran")

    @contextlib.asynccontextmanager
    async def _session(
        self, frame: FramedCommand, wait_s: float
    ) -> AsyncIterator[asyncssh.SSHClientProcess[bytes]]:
        await self._slots.take()
        try:
            yield await self._open(frame, wait_s)
        finally:
            await self._slots.free()

    async def _open(self, frame: FramedCommand, wait_s: float) -> asyncssh.SSHClientProcess[bytes]:
        """Open a session and start the login shell; its program is not sent yet."""
        host = self.connection.status.host
        for _ in range(_ATTEMPTS):
            conn = await self.connection.connect(wait_s)
            try:
                return await conn.create_process(frame.line, encoding=None)
            except asyncssh.ChannelOpenError as e:
                why = e.reason
                # A connection that has just broken refuses, too; asyncssh closes it a moment later.
                await asyncio.sleep(0)
                if conn.is_closed():
                    await asyncio.sleep(0.1)
                elif self._slots.note_refusal():
                    # sshd allows fewer sessions than are open: wait for one to end.
                    await self._slots.free()
                    await self._slots.take()
                else:
                    await asyncio.sleep(0.1)
            except (OSError, asyncssh.Error) as e:
                # Nothing was sent: try the next connection.
                why = str(e)
                await asyncio.sleep(0.1)
        raise Unreachable(host, f"its sshd opens no session: {why}", "does MaxSessions allow one?")


async def _follow(
    stream: asyncssh.SSHReader[bytes], mark: bytes, report: Callable[[str], None]
) -> bytes:
    """Pass the text after the mark to ``report`` as it arrives; return the mark's line and the
    last KEPT bytes.
    """
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
    head, marked, kept = b"", False, b""
    while data := await stream.read(KEPT):
        if not marked:
            head += data
            rest = text_after(mark, head)
            if rest is None:
                continue
            marked, data = True, rest
        kept = (kept + data)[-KEPT:]
        if text := decode(data):
            report(text)
    return mark + b"\n" + kept if marked else head


async def _end(process: asyncssh.SSHClientProcess[bytes]) -> None:
    """Stop the remote command: sshd sends the signal to its process group."""
    with contextlib.suppress(OSError, asyncssh.Error):
        process.terminate()
    process.close()
    with contextlib.suppress(TimeoutError, OSError, asyncssh.Error):
        async with asyncio.timeout(_GRACE_S):
            await process.wait_closed()
