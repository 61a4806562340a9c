"""Servers on Unix sockets for tunnels to lead to: one that floods, one that echoes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self


async def read_exactly(reader: object, count: int) -> bytes:
    """``count`` bytes of a stream, or fewer where it ends."""
    parts = b""
    while len(parts) < count:
        data = await reader.read(65536)  # type: ignore[attr-defined]
        if not data:
            break
        parts += data
    return parts


class UnixServer(ABC):
    """Serves a Unix socket inside of ``async with``; ``open`` counts its connections."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.open = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._handle, self.path)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            await self._serve(reader, writer)
        except OSError:
            pass
        finally:
            self.open -= 1
            writer.close()

    @abstractmethod
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...


class FloodServer(UnixServer):
    """Sends without end to a client that says ``flood``, reads nothing from one that says
    ``deaf``, and echoes the first line of others. ``sent`` counts the bytes of floods.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.sent = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        word = await reader.readline()
        while word == b"flood\n":
            writer.write(bytes(65536))
            await writer.drain()
            self.sent += 65536
        while word == b"deaf\n" and not reader.at_eof():
            await asyncio.sleep(0.05)
        writer.write(word)
        await writer.drain()


class UppercaseServer(UnixServer):
    """Answers with what it reads, in capitals."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data.upper())
            await writer.drain()
