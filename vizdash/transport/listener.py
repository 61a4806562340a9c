"""Local listeners that relay each connection to a session's socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from typing_extensions import override

from vizdash.errors import VizdashError
from vizdash.transport.base import Reader, Writer
from vizdash.util.files import private_folder, remove_private_folder

_CHUNK = 1 << 16

Dial = Callable[[], Awaitable[tuple[Reader, Writer]]]


class Listener:
    """Listens on ``port`` of 127.0.0.1 (0: a free one) from ``start`` to ``close``.

    ``dial`` connects to the session's socket, or is the path of a Unix socket. The port stays the
    same when the route is lost, so that a browser reconnects at the same address.
    """

    def __init__(self, dial: Dial | str, port: int = 0) -> None:
        self._dial = dial
        self.port = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start to listen. Raises OSError when the port is in use."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and close every connection."""
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
        # Without this, asyncio's server logs a cancelled relay as an error.
        with contextlib.suppress(asyncio.CancelledError, OSError, VizdashError):
            first = await self._handle_first(reader, writer)
            if first is not None:
                remote_reader, remote_writer = await self._connect()
                ends.append(remote_writer)
                remote_writer.write(first)
                await asyncio.gather(_pump(reader, remote_writer), _pump(remote_reader, writer))
        for end in ends:
            end.close()

    async def _handle_first(self, reader: Reader, writer: asyncio.StreamWriter) -> bytes | None:
        """Return the bytes already read, to be passed on; None for a request answered here."""
        return b""

    async def _connect(self) -> tuple[Reader, Writer]:
        if isinstance(self._dial, str):
            return await asyncio.open_unix_connection(self._dial)
        return await self._dial()


class SocketListener(Listener):
    """A listener on a Unix socket (``path``) in a private folder: on a shared host, every user can
    connect to a port of 127.0.0.1.
    """

    def __init__(self, dial: Dial | str) -> None:
        super().__init__(dial)
        self._folder: Path | None = None
        self.path = ""

    @override
    async def start(self) -> None:
        """Start to listen. Raises OSError, or Refused where no folder can be made."""
        self._folder = await asyncio.to_thread(private_folder)
        self.path = str(self._folder / "s")
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        Path(self.path).chmod(0o600)

    @override
    async def close(self) -> None:
        """Stop listening, close every connection, and remove the folder."""
        try:
            await super().close()
        finally:
            if self._folder is not None:
                remove_private_folder(self._folder)


async def _pump(reader: Reader, writer: Writer) -> None:
    """Copy to the end of input, then close the writer's direction."""
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()
