"""Listeners that lead every connection to a far socket."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from vizdash.errors import VizdashError
from vizdash.files import private_folder
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
            first = await self._first(reader, writer)
            if first is not None:
                far_reader, far_writer = await self._far()
                ends.append(far_writer)
                far_writer.write(first)
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        for end in ends:
            end.close()

    async def _first(self, reader: Reader, writer: asyncio.StreamWriter) -> bytes | None:
        """What was read already and is to be passed on; None when it was answered here."""
        return b""

    async def _far(self) -> tuple[Reader, Writer]:
        if isinstance(self._dial, str):
            return await asyncio.open_unix_connection(self._dial)
        return await self._dial()


class SocketListener(Listener):
    """The same on a Unix socket (``path``) in a folder of its own that only we can enter: on a
    host that others share, a port of 127.0.0.1 would be theirs to connect to as well.
    """

    def __init__(self, dial: Dial | str) -> None:
        super().__init__(dial)
        self._folder: Path | None = None
        self.path = ""

    async def start(self) -> None:
        """Begin to listen. Raises OSError, or Refused where no folder can be made."""
        self._folder = await asyncio.to_thread(private_folder)
        self.path = str(self._folder / "s")
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        Path(self.path).chmod(0o600)

    async def close(self) -> None:
        """Stop, end every connection, and remove the folder."""
        await super().close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


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
