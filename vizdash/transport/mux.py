"""Many byte streams over one pipe: this machine's end of assets/nodes/relay.py."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from vizdash.errors import Unreachable, VizdashError
from vizdash.resources import node_script
from vizdash.transport.base import Pipe, PipeRunner, Reader, Writer

_HEAD = struct.Struct(">IBI")
_OPEN, _DATA, _END, _CLOSED, _HELLO = range(5)
#: Chunks that wait for a slow reader before the pipe waits too.
_WAITING = 16
#: Seconds that a new pipe has to say that it is there.
_HELLO_S = 40.0
#: Failures in a row after which a way is given up.
_FAILURES = 3

#: The node's Python, wherever it is; EL8 hides one.
_FIND = (
    "for p in python3 /usr/libexec/platform-python; do "
    'command -v "$p" >/dev/null 2>&1 && exec "$p" -c "$1" "$2"; done; '
    "echo 'the node has no python3' >&2; exit 127"
)


class Channel:
    """One stream: see Reader and Writer."""

    def __init__(self, number: int, mux: Mux) -> None:
        self._number = number
        self._mux = mux
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(_WAITING)
        self._left = b""
        self._ended = self._shut = False

    async def feed(self, data: bytes) -> None:
        """What came; nothing for the end."""
        if not self._shut:
            await self._chunks.put(data)

    def cut(self) -> None:
        """No more will come. What a closed stream still holds goes whole: one free place would be
        the end mark's, and who waits in ``feed`` would wait for ever, with all other streams.
        """
        if self._shut or self._chunks.full():
            while not self._chunks.empty():
                self._chunks.get_nowait()
        self._chunks.put_nowait(b"")

    async def read(self, n: int = -1, /) -> bytes:
        """See Reader.read."""
        if not self._left and not self._ended:
            self._left = await self._chunks.get()
            self._ended = not self._left
        size = len(self._left) if n < 0 else n
        data, self._left = self._left[:size], self._left[size:]
        return data

    def write(self, data: bytes, /) -> None:
        """See Writer.write."""
        self._mux.send(self._number, _DATA, data)

    async def drain(self) -> None:
        """See Writer.drain."""
        await self._mux.drain()

    def can_write_eof(self) -> bool:
        """See Writer.can_write_eof."""
        return True

    def write_eof(self) -> None:
        """See Writer.write_eof."""
        self._mux.send(self._number, _END)

    def close(self) -> None:
        """See Writer.close."""
        if not self._shut:
            self._shut = True
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
        """Put a frame into the pipe."""
        if self.alive and (number in self._channels or kind == _CLOSED):
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
                    await channel.feed(data if kind == _DATA else b"")
        except (OSError, EOFError):
            return
        finally:
            for channel in self._channels.values():
                channel.cut()

    async def _take(self, count: int) -> bytes:
        parts = []
        while count:
            data = await self._pipe.reader.read(count)
            if not data:
                raise EOFError
            parts.append(data)
            count -= len(data)
        return b"".join(parts)


class Step(Protocol):
    """Wraps a command so that it runs beside a job, on one of its nodes."""

    def __call__(self, job_id: str, node: str, argv: Sequence[str], /) -> tuple[str, ...]:
        """The command line."""
        ...


class StepForward:
    """See Forward: one job step for all connections, made again when it is gone."""

    def __init__(self, start: Callable[[], Awaitable[Pipe]]) -> None:
        self._start = start
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
        try:
            mux = Mux(await self._start())
            try:
                await mux.ready()
            except BaseException:
                await asyncio.shield(mux.close())
                raise
        except VizdashError as e:
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
    """Where nodes take no user's ssh: a step of the session's own job (srun(1), --overlap)."""

    def __init__(self, runner: PipeRunner, step: Step) -> None:
        self._runner = runner
        self._step = step

    async def open(self, node: str, socket: str, *, job_id: str = "") -> StepForward:
        """See PortForwarder.open."""
        text = node_script("relay.py").read_text(encoding="utf-8")
        argv = self._step(job_id, node, ("sh", "-c", _FIND, "sh", text, socket))

        return StepForward(lambda: self._runner.pipe(argv))
