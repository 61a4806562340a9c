"""The client side of the RFB protocol (RFC 6143), as far as a preview needs it.

It is view-only: it sends no input, and logs in with the view-only password. Pixels are requested
in 16 bits (5 red, 6 green, 5 blue), ZRLE-encoded, one update at a time.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from vizdash.errors import TimedOut, Unreachable
from vizdash.transport.base import Reader, Writer

#: Bits, depth, big-endian, true colour, maxima, shifts (RFC 6143, 7.4).
_RGB565 = struct.pack(">BBBBHHHBBB3x", 16, 16, 0, 1, 31, 63, 31, 11, 5, 0)
_RAW, _ZRLE, _DESKTOP_SIZE = 0, 16, -223
_VNC_AUTH = 2
_TILE = 64
#: More than a desktop of 7680x4320; a server that announces more is not one.
_MOST_PIXELS = 40_000_000
_MOST_BYTES = 4 * _MOST_PIXELS
#: Seconds within which the server must answer.
_ANSWER_S = 15.0


_CHUNK = 1 << 16

#: Opens a connection to the desktop's socket.
Dial = Callable[[], Awaitable[tuple[Reader, Writer]]]
#: A rectangle: x, y, width, height.
Area = tuple[int, int, int, int]


class BadServer(Unreachable):
    """The server does not speak RFB, or not as RFC 6143 defines it."""

    def __init__(self, why: str) -> None:
        super().__init__("the desktop's picture", why)


@dataclass(slots=True)
class Framebuffer:
    """The desktop's pixels, two bytes each, little-endian RGB565, row by row."""

    width: int
    height: int
    pixels: bytearray = field(repr=False)

    @classmethod
    def black(cls, width: int, height: int) -> Framebuffer:
        """Raises BadServer for a size that no desktop has."""
        if not 0 < width * height <= _MOST_PIXELS:
            raise BadServer(f"a desktop of {width}x{height} pixels")
        return cls(width, height, bytearray(width * height * 2))

    def put(self, x: int, y: int, width: int, height: int, pixels: bytes | memoryview) -> None:
        """Draw a rectangle. Raises BadServer where it lies outside the desktop."""
        if x + width > self.width or y + height > self.height:
            raise BadServer("a rectangle outside the desktop")
        if not width:
            return
        step, row = self.width * 2, width * 2
        at = (y * self.width + x) * 2
        for begin in range(0, height * row, row):
            self.pixels[at : at + row] = pixels[begin : begin + row]
            at += step


class RfbClient:
    """A connection to a desktop; ``screen`` is what it last showed, ``received`` counts bytes."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer
        self._ahead = b""
        self._inflate = zlib.decompressobj()
        self.screen = Framebuffer.black(1, 1)
        self.received = 0

    @classmethod
    async def connect(cls, dial: Dial, password: str) -> RfbClient:
        """Log in at the desktop that ``dial`` leads to.

        Raises Unreachable where nothing listens or the password is wrong, TimedOut without an
        answer.
        """
        try:
            reader, writer = await dial()
        except OSError as e:
            raise Unreachable("the desktop's picture", e.strerror or str(e)) from e
        client = cls(reader, writer)
        try:
            async with asyncio.timeout(_ANSWER_S):
                await client._log_in(password)
        except TimeoutError as e:
            await client.close()
            raise TimedOut("the desktop's picture", f"no answer in {_ANSWER_S:g} s") from e
        except BaseException:
            await client.close()
            raise
        return client

    async def close(self) -> None:
        """Close the connection; the desktop keeps running."""
        self._writer.close()

    async def _log_in(self, password: str) -> None:
        await authenticate(self._read, self._writer, password)
        self._writer.write(b"\x01")  # the others stay
        width, height = struct.unpack(">HH16x", await self._read(20))
        await self._text()
        self.screen = Framebuffer.black(width, height)
        self._writer.write(struct.pack(">B3x", 0) + _RGB565)
        encodings = (_ZRLE, _RAW, _DESKTOP_SIZE)
        self._writer.write(struct.pack(">BxH3i", 2, len(encodings), *encodings))

    async def ask(self, *, whole: bool) -> None:
        """Request the whole desktop, or the changes since the last update."""
        size = (self.screen.width, self.screen.height)
        self._writer.write(struct.pack(">BBHHHH", 3, not whole, 0, 0, *size))
        try:
            await self._writer.drain()
        except OSError as e:
            raise Unreachable("the desktop's picture", e.strerror or str(e)) from e

    async def update(self) -> bool:
        """Wait for an update and draw it; False when the desktop took another size instead, so
        that the whole of it has to be asked for. Raises BadServer, Unreachable.
        """
        while True:
            kind = (await self._read(1))[0]
            if kind == 0:
                return await self._rectangles()
            await self._skip(kind)

    async def _skip(self, kind: int) -> None:
        """Messages that say nothing of the picture: colours, the bell, the clipboard."""
        if kind == 1:
            (count,) = struct.unpack(">3xH", await self._read(5))
            await self._read(6 * count)
        elif kind == 3:
            await self._read(3)
            await self._text()
        elif kind != 2:
            raise BadServer(f"a message of the unknown kind {kind}")

    async def _rectangles(self) -> bool:
        same = True
        (count,) = struct.unpack(">xH", await self._read(3))
        for _ in range(count):
            x, y, width, height, encoding = struct.unpack(">HHHHi", await self._read(12))
            if encoding == _DESKTOP_SIZE:
                self.screen = Framebuffer.black(width, height)
                same = False
            elif encoding == _RAW:
                self.screen.put(x, y, width, height, await self._read(width * height * 2))
            elif encoding == _ZRLE:
                (size,) = struct.unpack(">I", await self._read(4))
                data = await self._read(size)
                await asyncio.to_thread(self._draw, (x, y, width, height), data)
            else:
                raise BadServer(f"the unknown encoding {encoding}")
        return same

    def _draw(self, area: Area, data: bytes) -> None:
        # No tile needs more than three bytes for each of its pixels, and one.
        most = 3 * (area[2] + _TILE) * (area[3] + _TILE)
        try:
            plain = self._inflate.decompress(data, most)
        except zlib.error as e:
            raise BadServer(f"its data can't be unpacked: {e}") from e
        draw_zrle(self.screen, area, plain)

    async def _text(self) -> str:
        return await _read_text(self._read)

    async def _read(self, size: int) -> bytes:
        if size > _MOST_BYTES:
            raise BadServer(f"an answer of {size} bytes")
        parts, got = [self._ahead], len(self._ahead)
        while got < size:
            try:
                part = await self._reader.read(max(_CHUNK, size - got))
            except OSError:
                part = b""
            if not part:
                raise Unreachable("the desktop's picture", "the desktop closed the connection")
            parts.append(part)
            got += len(part)
        data = b"".join(parts)
        data, self._ahead = data[:size], data[size:]
        self.received += size
        return data


async def authenticate(
    read: Callable[[int], Awaitable[bytes]], writer: Writer, password: str
) -> None:
    """Log in to a server with VNC Authentication (RFC 6143, 7.1): all that comes before ClientInit.
    ``read`` returns exactly as many bytes. Raises BadServer.
    """
    version = await read(12)
    if not version.startswith(b"RFB 003."):
        raise BadServer(f"it greets with {version!r}")
    if version < b"RFB 003.008":
        raise BadServer(f"it speaks {version.decode(errors='replace').strip()} only")
    writer.write(b"RFB 003.008\n")
    kinds = await read((await read(1))[0])
    if not kinds:
        raise BadServer(f"it refuses: {await _read_text(read)}")
    if _VNC_AUTH not in kinds:
        raise BadServer(f"it wants to be logged in by {list(kinds)}, not by VncAuth")
    writer.write(bytes([_VNC_AUTH]))
    writer.write(answer(password, await read(16)))
    if struct.unpack(">I", await read(4))[0] != 0:
        raise BadServer(f"it refuses: {await _read_text(read)}")


async def _read_text(read: Callable[[int], Awaitable[bytes]]) -> str:
    """A length and as many bytes."""
    (size,) = struct.unpack(">I", await read(4))
    return (await read(size)).decode(errors="replace")


def answer(password: str, challenge: bytes) -> bytes:
    """VNC Authentication's answer (RFC 6143, 7.2.2): DES of the challenge, the password's first
    eight bytes being the key, the bits of each mirrored.
    """
    padded = password.encode("latin-1", errors="replace")[:8].ljust(8, b"\0")
    return encrypt_des(padded, challenge)


def encrypt_des(key: bytes, data: bytes) -> bytes:
    """DES as VNC uses it, for whole blocks of eight bytes: the bits of each byte of the key are
    mirrored.
    """
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

    mirrored = bytes(int(f"{byte:08b}"[::-1], 2) for byte in key)
    # Three times the same key is DES itself. ECB is what the protocol says.
    cipher = Cipher(TripleDES(mirrored * 3), modes.ECB())  # noqa: S305
    return cipher.encryptor().update(data)


def draw_zrle(screen: Framebuffer, area: Area, data: bytes) -> None:
    """Draw a rectangle from unpacked ZRLE data (RFC 6143, 7.7.6), tile by tile.

    Raises BadServer for data that break off or that RFC 6143 does not know.
    """
    x, y, width, height = area
    at = 0
    try:
        for top in range(0, height, _TILE):
            tall = min(_TILE, height - top)
            for left in range(0, width, _TILE):
                wide = min(_TILE, width - left)
                tile, at = _tile(data, at, wide, tall)
                if len(tile) != wide * tall * 2:
                    raise BadServer("an incomplete tile")
                screen.put(x + left, y + top, wide, tall, tile)
    except IndexError as e:
        raise BadServer("an incomplete tile") from e


def _tile(data: bytes, at: int, wide: int, tall: int) -> tuple[bytes, int]:
    """One tile's pixels, and where the next tile begins."""
    kind, at = data[at], at + 1
    count = wide * tall
    if kind == 0:
        return data[at : at + count * 2], at + count * 2
    if kind == 1:
        return data[at : at + 2] * count, at + 2
    if kind == 128:
        return _runs(data, at, count)
    size = kind - 128 if kind > 129 else kind
    palette = [data[at + 2 * i : at + 2 * i + 2] for i in range(size)]
    at += 2 * size
    if kind > 129:
        return _palette_runs(data, at, count, palette)
    if kind <= 16:
        return _packed(data, at, wide, tall, palette)
    raise BadServer(f"a tile of the unknown kind {kind}")


def _packed(data: bytes, at: int, wide: int, tall: int, palette: list[bytes]) -> tuple[bytes, int]:
    """Indices of 1, 2 or 4 bits; each row begins at a new byte."""
    bits = 1 if len(palette) == 2 else 2 if len(palette) <= 4 else 4
    row = (wide * bits + 7) // 8
    known: dict[int, bytes] = {}
    rows = []
    for begin in range(at, at + row * tall, row):
        line = data[begin : begin + row]
        for byte in set(line) - known.keys():
            known[byte] = _unpack(byte, bits, palette)
        rows.append(b"".join([known[byte] for byte in line])[: wide * 2])
    return b"".join(rows), at + row * tall


def _unpack(byte: int, bits: int, palette: list[bytes]) -> bytes:
    """The pixels of one byte; the rest of a row's last byte may hold anything."""
    indices = [(byte >> shift) & ((1 << bits) - 1) for shift in range(8 - bits, -1, -bits)]
    return b"".join(palette[i] if i < len(palette) else palette[0] for i in indices)


def _length(data: bytes, at: int, most: int) -> tuple[int, int]:
    """A run's length: a byte of 255 continues it, the sum is one less. ``most`` is the limit."""
    length = 1
    while data[at] == 255:
        length, at = length + 255, at + 1
    length += data[at]
    if length > most:
        raise BadServer("a run that goes beyond its tile")
    return length, at + 1


def _runs(data: bytes, at: int, count: int) -> tuple[bytes, int]:
    parts, done = [], 0
    while done < count:
        pixel = data[at : at + 2]
        length, at = _length(data, at + 2, count - done)
        parts.append(pixel * length)
        done += length
    return b"".join(parts), at


def _palette_runs(data: bytes, at: int, count: int, palette: list[bytes]) -> tuple[bytes, int]:
    parts, done = [], 0
    while done < count:
        index, at = data[at], at + 1
        length = 1
        if index >= 128:
            length, at = _length(data, at, count - done)
        parts.append(palette[index & 127] * length)
        done += length
    return b"".join(parts), at
