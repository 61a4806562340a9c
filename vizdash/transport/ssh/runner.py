"""Commands of the login host, over the one connection."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import asyncssh

from vizdash.errors import CommandFailed, ConnectionLost, TimedOut, Unreachable, last_line
from vizdash.transport.base import KEPT, Command, Pipe, Reader, Result, Writer
from vizdash.transport.ssh import greeting
from vizdash.transport.ssh.greeting import Greeting
from vizdash.transport.ssh.link import SshLink
from vizdash.transport.ssh.shell import Framed, after, framed, streamed
from vizdash.transport.ssh.streams import SshReader, SshWriter
from vizdash.transport.timeouts import Stderr, answer_limit, read_all, read_answer

#: Sessions opened at once on one connection; sshd's default for MaxSessions is 10.
_SESSIONS = 8
#: Times that a session is asked for again while none of ours is open: the last one may not have
#: ended at the other end yet.
_AGAIN = 10
_GRACE_S = 2.0
#: Seconds in which a command that is left running has to start.
_START_S = 30.0


class Slots:
    """Sessions in use, and how many sshd allows: found out by its refusals."""

    def __init__(self, limit: int = _SESSIONS) -> None:
        self.limit = limit
        self.used = 0
        self._changed = asyncio.Condition()

    async def take(self) -> None:
        """Wait for a free one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.used < self.limit)
            self.used += 1

    async def free(self) -> None:
        """Give it back."""
        async with self._changed:
            self.used -= 1
            self._changed.notify_all()

    def refused(self) -> bool:
        """One was refused; True when others of ours are the reason."""
        if self.used <= 1:
            return False
        self.limit = self.used - 1
        return True


class SshPipe:
    """See Pipe."""

    def __init__(
        self, process: asyncssh.SSHClientProcess[bytes], slots: Slots, mark: bytes
    ) -> None:
        self._process = process
        self._slots = slots
        self._mark = mark
        self._said = b""
        self._reading = asyncio.create_task(self._read())
        self._closed = False

    @property
    def reader(self) -> Reader:
        """Its standard output."""
        return SshReader(self._process.stdout)

    @property
    def writer(self) -> Writer:
        """Its standard input."""
        return SshWriter(self._process.stdin)

    async def _read(self) -> None:
        with contextlib.suppress(OSError, asyncssh.Error):
            while data := await self._process.stderr.read(4096):
                self._said = (self._said + data)[-4096:]

    async def wait(self) -> str:
        """See Pipe.wait."""
        await self._process.wait_closed()
        await asyncio.wait({self._reading})
        if self.last_words:
            return self.last_words
        if self._process.exit_status is None:
            return "the connection broke"
        return f"it ended with code {self._process.exit_status}"

    @property
    def last_words(self) -> str:
        """The last line that it has printed on stderr."""
        said = after(self._mark, self._said)
        return last_line((self._said if said is None else said).decode(errors="replace"))

    async def close(self) -> None:
        """See Pipe.close."""
        if self._closed:
            return
        self._closed = True
        await _end(self._process)
        self._reading.cancel()
        await self._slots.free()


class SshRunner:
    """See CommandRunner and PipeRunner."""

    def __init__(self, link: SshLink) -> None:
        self.link = link
        self._slots = Slots()
        self._greeting: Greeting | None = None
        self._greeting_lock = asyncio.Lock()

    async def greet(self) -> Greeting:
        """Who we are there; asked once."""
        async with self._greeting_lock:
            if self._greeting is None:
                mark = os.urandom(12).hex()
                result = await self._run(Command(greeting.argv(mark)), {})
                self._greeting = greeting.parse(result.check("sh").stdout)
        return self._greeting

    async def run(self, command: Command) -> Result:
        """See CommandRunner.run.

        Raises ConnectionLost when the connection broke after the command was sent: it may have
        run. It's never sent twice.
        """
        return await self._run(command, (await self.greet()).environ)

    async def follow(self, command: Command, on_output: Callable[[str], None]) -> Result:
        """See Follower.follow; what is lost and raised is as ``run`` has it."""
        environ = (await self.greet()).environ
        frame = framed(command.argv, command.input, environ=environ)
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

    def has(self, program: str) -> bool:
        """Whether the login host has ``program``; assumed before it was asked."""
        return self._greeting is None or program in self._greeting.programs

    async def pipe(self, argv: Sequence[str]) -> Pipe:
        """See PipeRunner.pipe. It takes one of the sessions that sshd allows."""
        frame = streamed(argv, environ=(await self.greet()).environ)
        if self._slots.limit < 2:
            raise Unreachable(
                self.link.link.host,
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
            raise Unreachable(argv[0], pipe.last_words or f"no answer in {_START_S:g} s") from e
        except (asyncio.IncompleteReadError, OSError, asyncssh.Error) as e:
            await asyncio.shield(pipe.close())
            raise Unreachable(argv[0], await pipe.wait()) from e
        except BaseException:
            await asyncio.shield(pipe.close())
            raise
        return pipe

    async def _run(self, command: Command, environ: Mapping[str, str]) -> Result:
        frame = framed(command.argv, command.input, environ=environ)
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
        frame: Framed,
        talk: Callable[[Stderr], Awaitable[tuple[bytes, bytes]]],
    ) -> tuple[bytes, bytes]:
        """What it says, in its time; it's ended when that is over, or nobody wants it."""
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
        frame: Framed,
        program: str,
        out: bytes,
        err: bytes,
    ) -> Result:
        code = process.exit_status
        if code is None and process.exit_signal is None:
            raise self._lost(program)
        stdout, stderr = after(frame.mark, out), after(frame.mark, err)
        if stdout is None:
            word = last_line((err or out).decode(errors="replace")) or f"exit code {code}"
            mend = "does `ssh HOST sh -c true` work there?"
            raise Unreachable(
                self.link.link.host, f"its login shell runs no commands: {word}", mend
            )
        text = os.fsdecode(err if stderr is None else stderr)
        return Result(128 if code is None else code, os.fsdecode(stdout), text)

    def _lost(self, program: str) -> ConnectionLost:
        host = self.link.link.host
        return ConnectionLost(program, f"the connection to {host} broke while it ran")

    @contextlib.asynccontextmanager
    async def _session(
        self, frame: Framed, wait_s: float
    ) -> AsyncIterator[asyncssh.SSHClientProcess[bytes]]:
        await self._slots.take()
        try:
            yield await self._open(frame, wait_s)
        finally:
            await self._slots.free()

    async def _open(self, frame: Framed, wait_s: float) -> asyncssh.SSHClientProcess[bytes]:
        """A session with the command started; nothing of its program is sent yet."""
        host = self.link.link.host
        for _ in range(_AGAIN):
            conn = await self.link.connection(wait_s)
            try:
                return await conn.create_process(frame.line, encoding=None)
            except asyncssh.ChannelOpenError as e:
                why = e.reason
                # A connection that has just broken refuses too, and is closed a moment later.
                await asyncio.sleep(0)
                if conn.is_closed():
                    await asyncio.sleep(0.1)
                elif self._slots.refused():
                    # sshd allows fewer than we have open: wait for one of ours to end.
                    await self._slots.free()
                    await self._slots.take()
                else:
                    await asyncio.sleep(0.1)
            except (OSError, asyncssh.Error) as e:
                # Nothing was sent: the next connection will do.
                why = str(e)
                await asyncio.sleep(0.1)
        raise Unreachable(host, f"its sshd opens no session: {why}", "does MaxSessions allow one?")


async def _follow(
    stream: asyncssh.SSHReader[bytes], mark: bytes, tell: Callable[[str], None]
) -> bytes:
    """Tell a stream's text after the mark as it comes; returns the mark's line and the end."""
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
    head, found, kept = b"", False, b""
    while data := await stream.read(KEPT):
        if not found:
            head += data
            rest = after(mark, head)
            if rest is None:
                continue
            found, data = True, rest
        kept = (kept + data)[-KEPT:]
        if text := decode(data):
            tell(text)
    return mark + b"\n" + kept if found else head


async def _end(process: asyncssh.SSHClientProcess[bytes]) -> None:
    """End the remote command: sshd passes the signal on to its process group."""
    with contextlib.suppress(OSError, asyncssh.Error):
        process.terminate()
    process.close()
    with contextlib.suppress(TimeoutError, OSError, asyncssh.Error):
        async with asyncio.timeout(_GRACE_S):
            await process.wait_closed()
