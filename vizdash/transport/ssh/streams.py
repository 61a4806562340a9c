"""asyncssh's streams with the errors of everybody else's."""

from __future__ import annotations

import asyncssh

from vizdash.transport.base import Reader, Writer


class SshReader:
    """See Reader: a broken connection is a ConnectionResetError."""

    def __init__(self, reader: asyncssh.SSHReader[bytes]) -> None:
        self._reader = reader

    async def read(self, n: int = -1, /) -> bytes:
        """See Reader.read."""
        try:
            return await self._reader.read(n)
        except asyncssh.Error as e:
            raise ConnectionResetError(str(e)) from e


class SshWriter:
    """See Writer: a broken connection is a ConnectionResetError."""

    def __init__(self, writer: asyncssh.SSHWriter[bytes]) -> None:
        self._writer = writer

    def write(self, data: bytes, /) -> None:
        """See Writer.write."""
        try:
            self._writer.write(data)
        except asyncssh.Error as e:
            raise ConnectionResetError(str(e)) from e

    async def drain(self) -> None:
        """See Writer.drain."""
        try:
            await self._writer.drain()
        except asyncssh.Error as e:
            raise ConnectionResetError(str(e)) from e

    def can_write_eof(self) -> bool:
        """See Writer.can_write_eof."""
        return True

    def write_eof(self) -> None:
        """See Writer.write_eof."""
        try:
            self._writer.write_eof()
        except asyncssh.Error as e:
            raise ConnectionResetError(str(e)) from e

    def close(self) -> None:
        """See Writer.close."""
        self._writer.close()


async def unix_stream(conn: asyncssh.SSHClientConnection, path: str) -> tuple[Reader, Writer]:
    """A connection to a Unix socket of the host behind ``conn``. Raises asyncssh.Error."""
    reader, writer = await conn.open_unix_connection(path)
    return SshReader(reader), SshWriter(writer)


async def tcp_stream(
    conn: asyncssh.SSHClientConnection, host: str, port: int
) -> tuple[Reader, Writer]:
    """A connection from the host behind ``conn`` to a TCP port. Raises asyncssh.Error."""
    reader, writer = await conn.open_connection(host, port)
    return SshReader(reader), SshWriter(writer)
