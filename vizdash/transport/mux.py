"""Many byte streams over one pipe: this machine's end of assets/nodes/relay.py."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from vizdash.errors import Unreachable, VizdashError
from vizdash.resources import node_script
from vizdash.transport.base import Pipe, PipeRunner, Reader, Writer

_HEAD = struct.Struct(">IBI")
_COUNT = struct.Struct(">I")
_OPEN, _DATA, _END, _CLOSED, _HELLO, _CREDIT = range(6)
#: Bytes of one direction of a stream that are on their way or wait to be read; relay.py's too.
WINDOW = 1 << 20
#: Bytes that a stream sends in one frame, so that no other waits long for its turn.
_CHUNK = 1 << 15
#: Seconds that a new pipe has to say that it is there.
_HELLO_S = 40.0
#: Failures in a row after which a way is given up.
_FAILURES = 3
#: What a command of this machine goes through.
_HERE = object()

#: The node's Python, wherever it is; EL8 hides one.
_FIND = (
    "for p in python3 /usr/libexec/platform-python; do "
    'command -v "$p" >/dev/null 2>&1 && exec "$p" -c "$1" "$2"; done; '
    "echo 'the node has no python3' >&2; exit 127"
)


class Channel:
    """One stream: see Reader and Writer. One that nobody reads, at either end, holds up itself
    alone: each direction has a window of WINDOW bytes.
    """

    def __init__(self, number: int, mux: Mux) -> None:
        self._number = number
        self._mux = mux
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._read_bytes = 0
        self._came = asyncio.Event()
        self._ended = self._shut = False
        self._credit = WINDOW
        self._unsent = bytearray()
        self._end_due = False
        self._sent = asyncio.Event()
        self._sent.set()

    def feed(self, data: bytes) -> None:
        """Take in what came. A far end that sends more than its window is cut off."""
        if self._shut or self._ended:
            return
        self._chunks.append(data)
        self._held += len(data)
        if self._held > WINDOW:
            self.close()
        self._came.set()

    def end(self) -> None:
        """No more will come; what has come can still be read."""
        self._ended = True
        self._came.set()

    def cut(self) -> None:
        """Nothing will come and nothing can be sent any more."""
        self.end()
        self._unsent.clear()
        self._sent.set()

    def allow(self, count: int) -> None:
        """The far end has taken out ``count`` bytes: as many more may be sent."""
        self._credit += count
        self._flush()

    async def read(self, n: int = -1, /) -> bytes:
        """See Reader.read."""
        while not self._chunks:
            if self._ended:
                return b""
            self._came.clear()
            await self._came.wait()
        data = self._chunks.popleft()
        if 0 <= n < len(data):
            self._chunks.appendleft(data[n:])
            data = data[:n]
        self._held -= len(data)
        self._read_bytes += len(data)
        # Not for every little read: a quarter of the window at a time keeps it filled.
        if self._read_bytes >= WINDOW // 4:
            self._mux.send(self._number, _CREDIT, _COUNT.pack(self._read_bytes))
            self._read_bytes = 0
        return data

    def write(self, data: bytes, /) -> None:
        """See Writer.write."""
        if not self._shut:
            self._unsent += data
            self._flush()

    def _flush(self) -> None:
        """Send what the window has room for."""
        while self._unsent and self._credit:
            size = min(self._credit, _CHUNK)
            data = bytes(self._unsent[:size])
            del self._unsent[:size]
            self._credit -= len(data)
            self._mux.send(self._number, _DATA, data)
        if self._unsent:
            self._sent.clear()
            return
        self._sent.set()
        if self._end_due:
            self._end_due = False
            self._mux.send(self._number, _END)

    async def drain(self) -> None:
        """See Writer.drain."""
        await self._sent.wait()
        await self._mux.drain()

    def can_write_eof(self) -> bool:
        """See Writer.can_write_eof."""
        return True

    def write_eof(self) -> None:
        """See Writer.write_eof."""
        self._end_due = True
        self._flush()

    def close(self) -> None:
        """See Writer.close. What was written and fits into the window is sent; the rest is lost."""
        if not self._shut:
            self._shut = True
            self._chunks.clear()
            self.cut()
            self._mux.drop(self._number)


class Mux:
    """The streams of one pipe, which it owns."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._channels: dict[int, Channel] = {}
        self._last = 0
        self._hello = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @property
    def alive(self) -> bool:
        """Whether the pipe is there."""
        return not self._reading.done()

    async def ready(self) -> None:
        """Wait for the far end. Raises Unreachable with its last word."""
        hello = asyncio.create_task(self._hello.wait())
        try:
            both: set[asyncio.Task[object]] = {hello, self._reading}
            await asyncio.wait(both, timeout=_HELLO_S, return_when=asyncio.FIRST_COMPLETED)
            if not self._hello.is_set():
                why = f"no answer in {_HELLO_S:g} s" if self.alive else await self._pipe.wait()
                raise Unreachable("srun", why)
        finally:
            hello.cancel()

    def dial(self) -> tuple[Reader, Writer]:
        """A new stream."""
        if not self.alive:
            raise ConnectionResetError("the pipe to the node is gone")
        self._last += 1
        channel = Channel(self._last, self)
        self._channels[self._last] = channel
        self.send(self._last, _OPEN)
        return channel, channel

    def send(self, number: int, kind: int, data: bytes = b"") -> None:
        """Put a frame into the pipe. Where that is gone, whoever reads learns of it."""
        if self.alive and (number in self._channels or kind == _CLOSED):
            with contextlib.suppress(OSError):
                self._pipe.writer.write(_HEAD.pack(number, kind, len(data)) + data)

    async def drain(self) -> None:
        """Wait until the pipe has room."""
        if not self.alive:
            raise ConnectionResetError("the pipe to the node is gone")
        await self._pipe.writer.drain()

    def drop(self, number: int) -> None:
        """Forget a stream."""
        if self._channels.pop(number, None) is not None:
            self.send(number, _CLOSED)

    async def wait(self) -> str:
        """Return with the cause once the pipe is gone."""
        await asyncio.wait({self._reading})
        return await self._pipe.wait()

    async def close(self) -> None:
        """End it."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._pipe.close()

    async def _read(self) -> None:
        try:
            while True:
                number, kind, length = _HEAD.unpack(await self._take(_HEAD.size))
                data = await self._take(length)
                if kind == _HELLO:
                    self._hello.set()
                elif channel := self._channels.get(number):
                    _deliver(channel, kind, data)
        except (OSError, EOFError, struct.error):
            return
        finally:
            for channel in self._channels.values():
                channel.cut()

    async def _take(self, count: int) -> bytes:
        if count > WINDOW:
            raise OSError(f"a frame of {count} bytes")
        parts = []
        while count:
            data = await self._pipe.reader.read(count)
            if not data:
                raise EOFError
            parts.append(data)
            count -= len(data)
        return b"".join(parts)


def _deliver(channel: Channel, kind: int, data: bytes) -> None:
    if kind == _DATA:
        channel.feed(data)
    elif kind == _CREDIT:
        channel.allow(*_COUNT.unpack(data))
    elif kind == _END:
        channel.end()
    else:
        channel.cut()


class Step(Protocol):
    """Wraps a command so that it runs beside a job, on one of its nodes."""

    def __call__(self, job_id: str, node: str, argv: Sequence[str], /) -> tuple[str, ...]:
        """The command line."""
        ...


class StepForward:
    """See Forward: one job step for all connections, made again when it is gone.

    ``connection`` gives what ``start`` goes through, None while that is lost: a failure for which
    it is to blame does not count against the way.
    """

    def __init__(
        self, start: Callable[[], Awaitable[Pipe]], connection: Callable[[], object | None]
    ) -> None:
        self._start = start
        self._connection = connection
        self._mux: Mux | None = None
        self._lock = asyncio.Lock()
        self._failures = 0
        self._dead: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def dial(self) -> tuple[Reader, Writer]:
        """See Forward.dial."""
        async with self._lock:
            if self._mux is None or not self._mux.alive:
                await self._make()
            assert self._mux is not None
            return self._mux.dial()

    async def _make(self) -> None:
        if self._mux is not None:
            await self._mux.close()
            self._mux = None
        connection = self._connection()
        try:
            mux = Mux(await self._start())
            try:
                await mux.ready()
            except BaseException:
                await asyncio.shield(mux.close())
                raise
        except VizdashError as e:
            if connection is None or connection is not self._connection():
                raise
            self._failures += 1
            if self._failures >= _FAILURES and not self._dead.done():
                self._dead.set_result(e.why or e.what)
            raise
        self._failures = 0
        self._mux = mux

    async def wait_lost(self) -> str:
        """See Forward.wait_lost."""
        return await asyncio.shield(self._dead)

    async def close(self) -> None:
        """See Forward.close."""
        self._dead.cancel()
        if self._mux is not None:
            await self._mux.close()


class StepForwarder:
    """Where nodes take no user's ssh: a step of the session's own job (srun(1), --overlap).

    ``connection`` is as StepForward has it, for a runner of another host.
    """

    def __init__(
        self,
        runner: PipeRunner,
        step: Step,
        connection: Callable[[], object | None] = lambda: _HERE,
    ) -> None:
        self._runner = runner
        self._step = step
        self._connection = connection

    async def open(self, node: str, socket: str, *, job_id: str = "") -> StepForward:
        """See PortForwarder.open."""
        text = node_script("relay.py").read_text(encoding="utf-8")
        argv = self._step(job_id, node, ("sh", "-c", _FIND, "sh", text, socket))

        return StepForward(lambda: self._runner.pipe(argv), self._connection)
