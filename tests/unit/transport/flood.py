"""A server behind a tunnel that sends without end, or reads nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path


async def read_exactly(reader: object, count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        data = await reader.read(65536)  # type: ignore[attr-defined]
        if not data:
            break
        parts += data
    return parts


class Flood:
    """Sends without end to whoever says ``flood``, reads nothing from whoever says ``deaf``, and
    answers others with what they say.
    """

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.sent = 0

    async def __aenter__(self) -> Flood:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        word = await reader.readline()
        try:
            while word == b"flood\n":
                writer.write(bytes(65536))
                await writer.drain()
                self.sent += 65536
            while word == b"deaf\n" and not reader.at_eof():
                await asyncio.sleep(0.05)
            writer.write(word)
            await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
