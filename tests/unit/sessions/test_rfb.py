"""A desktop's picture by RFC 6143, and servers that violate it."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vizdash.errors import Unreachable
from vizdash.sessions.preview import scale_down
from vizdash.sessions.rfb import BadServer, Dial, Framebuffer, RfbClient, answer, draw_zrle

PASSWORD = "v13w0n1y"


def pixel(number: int) -> bytes:
    return struct.pack("<H", number * 257 % 65536)


# ---- an encoder of each kind of tile, written from RFC 6143, 7.7.6 ----


def length(count: int) -> bytes:
    whole, rest = divmod(count - 1, 255)
    return b"\xff" * whole + bytes([rest])


def runs(numbers: list[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][0] == number:
            found[-1] = (number, found[-1][1] + 1)
        else:
            found.append((number, 1))
    return found


def raw(numbers: list[int], wide: int) -> bytes:
    return b"\0" + b"".join(map(pixel, numbers))


def plain_runs(numbers: list[int], wide: int) -> bytes:
    return b"\x80" + b"".join(pixel(n) + length(c) for n, c in runs(numbers))


def palette_runs(numbers: list[int], wide: int) -> bytes:
    palette = sorted(set(numbers) | {0, 1})
    body = b"".join(
        bytes([palette.index(n)]) if c == 1 else bytes([palette.index(n) | 128]) + length(c)
        for n, c in runs(numbers)
    )
    return bytes([128 + len(palette)]) + b"".join(map(pixel, palette)) + body


def packed(numbers: list[int], wide: int) -> bytes:
    palette = sorted(set(numbers) | {0, 1})
    bits = 1 if len(palette) == 2 else 2 if len(palette) <= 4 else 4
    body = b""
    for begin in range(0, len(numbers), wide):
        row = "".join(f"{palette.index(n):0{bits}b}" for n in numbers[begin : begin + wide])
        row = row.ljust(-(-len(row) // 8) * 8, "0")
        body += int(row, 2).to_bytes(len(row) // 8, "big")
    return bytes([len(palette)]) + b"".join(map(pixel, palette)) + body


ENCODERS = [raw, plain_runs, palette_runs, packed]


@pytest.mark.parametrize("encode", ENCODERS)
@settings(max_examples=40)
@given(data=st.data())
def test_every_kind_of_tile(encode: Callable[[list[int], int], bytes], data: st.DataObject) -> None:
    wide = data.draw(st.integers(1, 64))
    tall = data.draw(st.integers(1, 64))
    few = data.draw(st.integers(1, 15))
    numbers = data.draw(
        st.lists(st.integers(0, few), min_size=wide * tall, max_size=wide * tall)
        if wide * tall < 200
        else st.builds(
            lambda seed, run: [(seed * (i // run)) % (few + 1) for i in range(wide * tall)],
            st.integers(1, 99),
            st.integers(1, 700),
        )
    )
    screen = Framebuffer.black(wide, tall)
    draw_zrle(screen, (0, 0, wide, tall), encode(numbers, wide))
    assert bytes(screen.pixels) == b"".join(map(pixel, numbers))


def test_tiles_lie_where_they_belong() -> None:
    screen = Framebuffer.black(200, 150)
    # 130 x 70 pixels: 3 tiles across, 2 down, each of one colour.
    draw_zrle(screen, (10, 20, 130, 70), b"".join(b"\x01" + pixel(n) for n in range(1, 7)))

    def at(x: int, y: int) -> bytes:
        return bytes(screen.pixels[(y * 200 + x) * 2 :][:2])

    assert at(9, 20) == at(10, 19) == at(140, 20) == at(10, 90) == b"\0\0"
    assert (at(10, 20), at(74, 20), at(139, 20)) == (pixel(1), pixel(2), pixel(3))
    assert (at(10, 84), at(137, 89), at(139, 89)) == (pixel(4), pixel(5), pixel(6))


@given(st.binary(max_size=400))
def test_no_data_do_harm(data: bytes) -> None:
    screen = Framebuffer.black(70, 70)
    with suppress(BadServer):
        draw_zrle(screen, (0, 0, 70, 70), data)
    assert len(screen.pixels) == 70 * 70 * 2


def test_a_rectangle_outside_is_refused() -> None:
    with pytest.raises(BadServer):
        draw_zrle(Framebuffer.black(10, 10), (5, 5, 6, 1), b"\x01\0\0")


def test_vnc_authentication() -> None:
    """A known answer: DES of sixteen zero bytes, the key's bits mirrored."""
    assert answer("", bytes(16)).hex() == "8ca64de9c1b123a7" * 2
    assert answer("longer than eight", bytes(16)) == answer("longer t", bytes(16))
    assert answer("a", bytes(16)) != answer("b", bytes(16))


# ---- pictures ----


def test_a_picture_keeps_the_desktops_shape() -> None:
    picture = scale_down(Framebuffer.black(1280, 720), 80, 50)
    assert (picture.width, picture.height) == (80, 45)
    assert len(picture.rgb) == 80 * 45 * 3
    assert picture.desktop == (1280, 720)


def test_white_is_white_and_halves_stay_halves() -> None:
    screen = Framebuffer.black(100, 60)
    screen.put(50, 0, 50, 60, b"\xff\xff" * 50 * 60)
    picture = scale_down(screen, 20, 12)
    assert picture.at(0, 0) == (0, 0, 0)
    assert picture.at(19, 11) == (255, 255, 255)


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3), (40, 2)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    picture = scale_down(Framebuffer.black(33, 500), *size)
    assert picture.width <= max(1, size[0])
    assert picture.height <= max(1, size[1])
    assert len(picture.rgb) == picture.width * picture.height * 3


# ---- servers ----

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(folder: Path, serve: Serve) -> AsyncIterator[str]:
    path = str(folder / "s")

    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(whole, path)
    try:
        yield path
    finally:
        server.close()


def at(path: str) -> Dial:
    return lambda: asyncio.open_unix_connection(path)


def says(*parts: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return serve


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ((b"HTTP/1.1 400",), "greets with"),
        ((b"RFB 003.003\n",), "speaks RFB 003.003 only"),
        ((b"RFB 003.008\n", b"\x01\x01"), "not by VncAuth"),
        ((b"RFB 003.008\n", b"\0", b"\0\0\0\4busy"), "it refuses: busy"),
        ((b"RFB 003.008\n", b"\0", b"\xff\xff\xff\xff"), "an answer of 4294967295 bytes"),
        ((b"RFB 0",), "closed the connection"),
        ((b"RFB 003.008\n", b"\x01\x02", bytes(16), b"\0\0\0\1\0\0\0\3bad"), "it refuses: bad"),
        (
            (b"RFB 003.008\n", b"\x01\x02", bytes(16), b"\0\0\0\0", b"\xff" * 20, b"\0\0\0\0"),
            "a desktop of 65535x65535 pixels",
        ),
    ],
)
async def test_what_is_no_desktop(tmp_path: Path, output: tuple[bytes, ...], why: str) -> None:
    async with serving(tmp_path, says(*output)) as path:
        with pytest.raises(Unreachable, match=why):
            await RfbClient.connect(at(path), PASSWORD)


async def test_no_server_at_the_socket(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        await RfbClient.connect(at(str(tmp_path / "nosuch")), PASSWORD)


GREETING = (
    b"RFB 003.008\n",
    b"\x01\x02",
    bytes(16),
    b"\0\0\0\0",
    struct.pack(">HH16xI4s", 8, 4, 4, b"desk"),
)


async def test_messages_that_say_nothing_are_skipped(tmp_path: Path) -> None:
    data = zlib.compress(b"\x01" + pixel(9))
    update = struct.pack(">BxHHHHHiI", 0, 1, 0, 0, 8, 4, 16, len(data)) + data
    bell, clipboard = b"\x02", struct.pack(">B3xI5s", 3, 5, b"hello")
    colours = struct.pack(">BxHH", 1, 0, 2) + bytes(12)
    output = (*GREETING, bell, clipboard, colours, update)
    async with serving(tmp_path, says(*output)) as path:
        client = await RfbClient.connect(at(path), PASSWORD)
        assert await client.update()
        assert bytes(client.screen.pixels) == pixel(9) * 32
        await client.close()


async def test_another_size_is_requested_whole(tmp_path: Path) -> None:
    resize = struct.pack(">BxHHHHHi", 0, 1, 0, 0, 20, 10, -223)
    async with serving(tmp_path, says(*GREETING, resize)) as path:
        client = await RfbClient.connect(at(path), PASSWORD)
        assert not await client.update()
        assert (client.screen.width, client.screen.height) == (20, 10)
        await client.close()


@pytest.mark.parametrize(
    "update",
    [
        struct.pack(">BxHHHHHiI", 0, 1, 0, 0, 8, 4, 16, 4) + b"junk",
        struct.pack(">BxHHHHHi", 0, 1, 0, 0, 8, 4, 7),
        struct.pack(">BxHHHHHi", 0, 1, 9, 0, 8, 4, 0) + bytes(64),
        b"\x99",
    ],
)
async def test_a_bad_update_is_refused(tmp_path: Path, update: bytes) -> None:
    async with serving(tmp_path, says(*GREETING, update)) as path:
        client = await RfbClient.connect(at(path), PASSWORD)
        with pytest.raises(BadServer):
            await client.update()
        await client.close()
