"""Byte streams over one pipe to a node: this machine's end of what a job step runs there.

assets/nodes/relay.py leads to the node, assets/nodes/share.py in the other direction.

"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from typing_extensions import override

from vizdash.errors import Unreachable, VizdashError
from vizdash.transport.base import Forward, Pipe, PipeRunner, PortForwarder, Reader, Writer
from vizdash.util.assets import EXEC_PYTHON, node_script

_HEAD = struct.Struct(">IBI")
_COUNT = struct.Struct(">I")
_OPEN, _DATA, _END, _CLOSED, _HELLO, _CREDIT = range(6)
#: Bytes in flight or unread in one direction of a stream; the same as in relay.py.
WINDOW = 1 << 20
#: Bytes of a frame, so that no stream waits long for its turn.
_CHUNK = 1 << 15
#: Seconds in which a new pipe has to send its first frame.
_HELLO_S = 40.0
#: Failures in a row after which a route counts as lost.
_FAILURES = 3
#: Stands for the connection of a command of this machine.
_HERE = object()

_RUN = EXEC_PYTHON + "echo 'the node has no python3' >&2; exit 127"


class RelayStream(Reader, Writer):
    """A stream of a relay. Each direction has a window of WINDOW bytes, so that a stream whose
    reader is slow holds up no other.
    """

    def __init__(self, number: int, relay: Relay) -> None:
        self._number = number
        self._relay = relay
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._unacknowledged = 0
        self._arrived = asyncio.Event()
        self._ended = self._shut = False
        self._credit = WINDOW
        self._unsent = bytearray()
        self._end_due = False
        self._sent = asyncio.Event()
        self._sent.set()

    def feed(self, data: bytes) -> None:
        """Add data from the node. A sender that exceeds its window is disconnected."""
        if self._shut or self._ended:
            return
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > WINDOW:
            self.close()
        self._arrived.set()

    def end(self) -> None:
        """Note the end of input; what has arrived can still be read."""
        self._ended = True
        self._arrived.set()

    def cut(self) -> None:
        """Close both directions: the stream is gone."""
        self.end()
        self._unsent.clear()
        self._sent.set()

    def allow(self, count: int) -> None:
        """Note that the node has read ``count`` bytes: as many more may be sent."""
        self._credit += count
        self._flush()

    @override
    async def read(self, n: int = -1, /) -> bytes:
        while not self._chunks:
            if self._ended:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        data = self._chunks.popleft()
        if 0 <= n < len(data):
            self._chunks.appendleft(data[n:])
            data = data[:n]
        self._buffered -= len(data)
        self._unacknowledged += len(data)
        # A frame for every quarter of the window keeps it filled.
        if self._unacknowledged >= WINDOW // 4:
            self._relay.send(self._number, _CREDIT, _COUNT.pack(self._unacknowledged))
            self._unacknowledged = 0
        return data

    @override
    def write(self, data: bytes, /) -> None:
        if not self._shut:
            self._unsent += data
            self._flush()

    def _flush(self) -> None:
        """Send as much as the window allows."""
        while self._unsent and self._credit:
            size = min(self._credit, _CHUNK)
            data = bytes(self._unsent[:size])
            del self._unsent[:size]
            self._credit -= len(data)
            self._relay.send(self._number, _DATA, data)
        if self._unsent:
            self._sent.clear()
            return
        self._sent.set()
        if self._end_due:
            self._end_due = False
            self._relay.send(self._number, _END)

    @override
    async def drain(self) -> None:
        await self._sent.wait()
        await self._relay.drain()

    @override
    def can_write_eof(self) -> bool:
        return True

    @override
    def write_eof(self) -> None:
        self._end_due = True
        self._flush()

    @override
    def close(self) -> None:
        """Close both directions. Data beyond the window is lost."""
        if not self._shut:
            self._shut = True
            self._chunks.clear()
            self.cut()
            self._relay.drop(self._number)


class Relay:
    """The streams over one pipe to relay.py; it owns the pipe.

    ``what`` names the program at its other end in errors. ``accept`` gets each stream that the
    other end opens, and the data that came with it. ``hello`` are the data of its first frame.
    """

    def __init__(
        self,
        pipe: Pipe,
        *,
        what: str = "srun",
        accept: Callable[[RelayStream, bytes], None] | None = None,
    ) -> None:
        self._pipe = pipe
        self._what = what
        self._accept = accept
        self.hello = b""
        self._streams: dict[int, RelayStream] = {}
        self._last = 0
        self._hello = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @property
    def alive(self) -> bool:
        """Whether the pipe is open."""
        return not self._reading.done()

    async def wait_ready(self) -> None:
        """Wait for relay.py. Raises Unreachable with its last line on stderr."""
        hello = asyncio.create_task(self._hello.wait())
        try:
            both: set[asyncio.Task[object]] = {hello, self._reading}
            await asyncio.wait(both, timeout=_HELLO_S, return_when=asyncio.FIRST_COMPLETED)
            if not self._hello.is_set():
                why = f"no answer in {_HELLO_S:g} s" if self.alive else await self._pipe.wait()
                raise Unreachable(self._what, why)
        finally:
            hello.cancel()

    def dial(self) -> tuple[Reader, Writer]:
        """Open a stream."""
        if not self.alive:
            raise ConnectionResetError("the pipe to the node is gone")
        self._last += 1
        stream = RelayStream(self._last, self)
        self._streams[self._last] = stream
        self.send(self._last, _OPEN)
        return stream, stream

    def send(self, number: int, kind: int, data: bytes = b"") -> None:
        """Send a frame. Without a pipe nothing happens: the readers see the end of input."""
        if self.alive and (number in self._streams or kind == _CLOSED):
            with contextlib.suppress(OSError):
                self._pipe.writer.write(_HEAD.pack(number, kind, len(data)) + data)

    async def drain(self) -> None:
        """Wait until the pipe takes more."""
        if not self.alive:
            raise ConnectionResetError("the pipe to the node is gone")
        await self._pipe.writer.drain()

    def drop(self, number: int) -> None:
        """Forget a stream."""
        if self._streams.pop(number, None) is not None:
            self.send(number, _CLOSED)

    async def wait(self) -> str:
        """Wait until the pipe is closed, and return the cause."""
        await asyncio.wait({self._reading})
        return await self._pipe.wait()

    async def close(self) -> None:
        """Close every stream and the pipe."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._pipe.close()

    async def _read(self) -> None:
        try:
            while True:
                number, kind, length = _HEAD.unpack(await self._take(_HEAD.size))
                data = await self._take(length)
                if kind == _HELLO:
                    self.hello = data
                    self._hello.set()
                elif kind == _OPEN and self._accept is not None and number not in self._streams:
                    self._streams[number] = RelayStream(number, self)
                    self._accept(self._streams[number], data)
                elif stream := self._streams.get(number):
                    _handle_frame(stream, kind, data)
        except (OSError, EOFError, struct.error):
            return
        finally:
            for stream in self._streams.values():
                stream.cut()

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


def _handle_frame(stream: RelayStream, kind: int, data: bytes) -> None:
    if kind == _DATA:
        stream.feed(data)
    elif kind == _CREDIT:
        stream.allow(*_COUNT.unpack(data))
    elif kind == _END:
        stream.end()
    else:
        stream.cut()


class JobStepCommand(Protocol):
    """Makes the command line of a job step: a command on one of a job's nodes (srun(1))."""

    def __call__(self, job_id: str, node: str, argv: Sequence[str], /) -> tuple[str, ...]:
        """Return the command line."""
        ...


class JobStepForward(Forward):
    """A route by one job step for all connections; the step is started again when it ends.

    ``start`` starts it. ``connection`` returns the connection to the cluster that it uses, None
    while that is lost: a failure of the connection does not count as one of the route.
    """

    def __init__(
        self, start: Callable[[], Awaitable[Pipe]], connection: Callable[[], object | None]
    ) -> None:
        self._start_pipe = start
        self._connection = connection
        self._relay: Relay | None = None
        self._lock = asyncio.Lock()
        self._failures = 0
        self._dead: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @override
    async def dial(self) -> tuple[Reader, Writer]:
        async with self._lock:
            if self._relay is None or not self._relay.alive:
                await self._start_relay()
            assert self._relay is not None
            return self._relay.dial()

    async def _start_relay(self) -> None:
        if self._relay is not None:
            await self._relay.close()
            self._relay = None
        connection = self._connection()
        try:
            relay = Relay(await self._start_pipe())
            try:
                await relay.wait_ready()
            except BaseException:
                await asyncio.shield(relay.close())
                raise
        except VizdashError as e:
            if connection is None or connection is not self._connection():
                raise
            self._failures += 1
            if self._failures >= _FAILURES and not self._dead.done():
                self._dead.set_result(e.why or e.what)
            raise
        self._failures = 0
        self._relay = relay

    @override
    async def wait_lost(self) -> str:
        return await asyncio.shield(self._dead)

    @override
    async def close(self) -> None:
        self._dead.cancel()
        if self._relay is not None:
            await self._relay.close()


class JobStepForwarder(PortForwarder):
    """Opens routes by a step of the session's job (srun(1), --overlap), for nodes that take no ssh
    of users. ``connection`` is that of JobStepForward.
    """

    def __init__(
        self,
        runner: PipeRunner,
        step: JobStepCommand,
        connection: Callable[[], object | None] = lambda: _HERE,
    ) -> None:
        self._runner = runner
        self._step = step
        self._connection = connection

    @override
    async def open(self, node: str, socket: str, *, job_id: str = "") -> JobStepForward:
        text = node_script("relay.py").read_text(encoding="utf-8")
        argv = self._step(job_id, node, ("sh", "-c", _RUN, "sh", text, socket))

        return JobStepForward(lambda: self._runner.pipe(argv), self._connection)
