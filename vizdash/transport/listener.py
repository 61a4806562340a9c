"""A TCP listener on 127.0.0.1 that leads every connection to a far socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from vizdash.errors import VizdashError
from vizdash.transport.base import Reader, Writer

_CHUNK = 1 << 16

Dial = Callable[[], Awaitable[tuple[Reader, Writer]]]


class Listener:
    """Listens on a free port of 127.0.0.1 (``port``) from ``start`` to ``close``.

    ``dial`` makes each far connection, or is the path of a Unix socket. The port is kept however
    often the far side is lost, so that a browser finds its desktop again at the same address.
    """

    def __init__(self, dial: Dial | str, port: int = 0) -> None:
        self._dial = dial
        self.port = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to listen; raises OSError when an asked-for port is taken."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop, and end every connection that runs."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        ends: list[Writer] = [writer]
        # A cancelled relay ends quietly: the server would report it as an error otherwise.
        with contextlib.suppress(asyncio.CancelledError, OSError, VizdashError):
            far_reader, far_writer = await self._far()
            ends.append(far_writer)
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        for end in ends:
            end.close()

    async def _far(self) -> tuple[Reader, Writer]:
        if isinstance(self._dial, str):
            return await asyncio.open_unix_connection(self._dial)
        return await self._dial()


async def _pump(reader: Reader, writer: Writer) -> None:
    """Copy until the end of input, then pass the end on."""
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()
