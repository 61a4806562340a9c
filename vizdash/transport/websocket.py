"""A byte stream through a WebSocket (RFC 6455), as websockify offers it in front of a VNC server.

A native viewer speaks RFB without a WebSocket. It is connected through websockify all the same, so
that a session counts it like a browser, and reaches it on every route. ``accept_websocket`` is the
server's end, for the guests of a shared desktop.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import struct
from collections.abc import Awaitable, Callable

from vizdash.errors import Unreachable
from vizdash.transport.base import Reader, Writer

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
#: RFC 6455, 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CHUNK = 1 << 16
#: The longest head of an answer, and the longest frame, in bytes.
_HEAD_LIMIT, _FRAME_LIMIT = 16 << 10, 16 << 20
#: Seconds in which the server has to accept the WebSocket.
_OPEN_S = 30.0
_WHAT = "the desktop's WebSocket"


def through_websocket(
    dial: Callable[[], Awaitable[tuple[Reader, Writer]]], path: str = "/websockify"
) -> Callable[[], Awaitable[tuple[Reader, Writer]]]:
    """A dial that connects by ``dial`` and opens a WebSocket on the connection.

    The dial raises Unreachable where the server does not accept it.
    """

    async def connect() -> tuple[Reader, Writer]:
        reader, writer = await dial()
        try:
            async with asyncio.timeout(_OPEN_S):
                ahead = await _open(reader, writer, path)
        except TimeoutError as e:
            writer.close()
            raise Unreachable(_WHAT, f"no answer in {_OPEN_S:g} s") from e
        except BaseException:
            writer.close()
            raise
        out = _FrameWriter(writer)
        return _FrameReader(reader, out, ahead), out

    return connect


async def _open(reader: Reader, writer: Writer, path: str) -> bytes:
    """Shake hands; the bytes after the answer's head. Raises Unreachable."""
    key = base64.b64encode(secrets.token_bytes(16))
    writer.write(
        b"GET " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n"
        b"Sec-WebSocket-Protocol: binary\r\n\r\n"
    )
    data = b""
    try:
        await writer.drain()
        while b"\r\n\r\n" not in data and len(data) < _HEAD_LIMIT:
            part = await reader.read(_CHUNK)
            if not part:
                break
            data += part
    except OSError as e:
        raise Unreachable(_WHAT, e.strerror or str(e)) from e
    head, _, rest = data.partition(b"\r\n\r\n")
    status, *fields = head.split(b"\r\n")
    values = header_values(fields)
    if b" 101 " not in status + b" " or values.get(b"sec-websocket-accept") != _accepted(key):
        answer = status.decode(errors="replace")[:80] or "nothing"
        raise Unreachable(_WHAT, f"the server answered {answer!r}")
    return rest


def header_values(fields: list[bytes]) -> dict[bytes, bytes]:
    """The header fields of a request or an answer, by their names in lower case."""
    pairs = (field.partition(b":") for field in fields)
    return {name.strip().lower(): text.strip() for name, _, text in pairs}


def _accepted(key: bytes) -> bytes:
    """The answer to a client's key (RFC 6455, 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def accept_websocket(
    values: dict[bytes, bytes], reader: Reader, writer: Writer, ahead: bytes
) -> tuple[Reader, Writer] | None:
    """Accept the WebSocket that a request asks for, and return its streams; None where it asks for
    none. ``values`` are the request's header fields, ``ahead`` what followed its head.
    """
    key = values.get(b"sec-websocket-key", b"")
    if values.get(b"upgrade", b"").lower() != b"websocket" or not key:
        return None
    offered = [one.strip() for one in values.get(b"sec-websocket-protocol", b"").split(b",")]
    protocol = b"Sec-WebSocket-Protocol: binary\r\n" if b"binary" in offered else b""
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + _accepted(key) + b"\r\n" + protocol + b"\r\n"
    )
    out = _FrameWriter(writer, masked=False)
    return _FrameReader(reader, out, ahead, masked=True), out


def _frame(kind: int, data: bytes, *, masked: bool = True) -> bytes:
    """One frame (RFC 6455, 5.2 and 5.3). A client's frames are masked."""
    size, bit = len(data), 0x80 if masked else 0
    if size < 126:
        head = struct.pack(">BB", 0x80 | kind, bit | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", 0x80 | kind, bit | 126, size)
    else:
        head = struct.pack(">BBQ", 0x80 | kind, bit | 127, size)
    if not masked:
        return head + data
    mask = secrets.token_bytes(4)
    return head + mask + _masked(data, mask)


def _masked(data: bytes, mask: bytes) -> bytes:
    size = len(data)
    stream = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")


class _FrameWriter:
    """A Writer whose bytes become frames, ``masked`` as a client's are."""

    def __init__(self, writer: Writer, *, masked: bool = True) -> None:
        self._writer = writer
        self._masked = masked
        self._closed = False

    def write(self, data: bytes, /) -> None:
        for at in range(0, len(data), _CHUNK):
            part = data[at : at + _CHUNK]
            self._writer.write(_frame(_BINARY, part, masked=self._masked))

    def answer_ping(self, data: bytes) -> None:
        """Answer a ping: without, websockify ends the connection."""
        self._writer.write(_frame(_PONG, data, masked=self._masked))

    async def drain(self) -> None:
        await self._writer.drain()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Close the WebSocket: it has no end of one direction alone."""
        if not self._closed:
            self._closed = True
            self._writer.write(_frame(_CLOSE, struct.pack(">H", 1000), masked=self._masked))

    def close(self) -> None:
        self._writer.close()


class _FrameReader:
    """A Reader of the bytes in the frames of the other end, ``masked`` where that is a client."""

    def __init__(
        self, reader: Reader, writer: _FrameWriter, ahead: bytes, *, masked: bool = False
    ) -> None:
        self._reader = reader
        self._masked = masked
        self._writer = writer
        self._raw = bytearray(ahead)
        self._data = bytearray()
        self._ended = False

    async def read(self, n: int = -1, /) -> bytes:
        """As Reader.read does. Raises OSError for what is no WebSocket frame."""
        while not self._data and not self._ended:
            while self._next_frame():
                pass
            if self._data or self._ended:
                break
            part = await self._reader.read(_CHUNK)
            if not part:
                self._ended = True
            self._raw += part
        size = len(self._data) if n < 0 else n
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken

    def _next_frame(self) -> bool:
        """Take one frame out of the bytes so far; False where they hold no whole one."""
        raw = self._raw
        if self._ended or len(raw) < 2:
            return False
        kind, size, at = raw[0] & 15, raw[1] & 127, 2
        if bool(raw[1] & 128) != self._masked:
            raise OSError("only a client's frames are masked (RFC 6455, 5.1)")
        extra = {126: 2, 127: 8}.get(size, 0)
        if len(raw) < at + extra:
            return False
        if extra:
            size = int.from_bytes(raw[at : at + extra], "big")
            at += extra
        if size > _FRAME_LIMIT:
            raise OSError(f"a frame of {size} bytes")
        mask_at, at = at, at + (4 if self._masked else 0)
        if len(raw) < at + size:
            return False
        data = bytes(raw[at : at + size])
        if self._masked:
            data = _masked(data, bytes(raw[mask_at:at]))
        del raw[: at + size]
        if kind == _PING:
            self._writer.answer_ping(data)
        elif kind == _CLOSE:
            self._ended = True
        elif kind in {0, _TEXT, _BINARY}:
            self._data += data
        return True
