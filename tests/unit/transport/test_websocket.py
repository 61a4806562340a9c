"""Bytes through a WebSocket: frames of every size, however they arrive."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizdash.errors import Unreachable
from vizdash.transport.base import Reader, Writer
from vizdash.transport.websocket import _FrameReader, _FrameWriter, through_websocket

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Pieces:
    """A Reader of given pieces, and a Writer that keeps what it gets."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.written = b""
        self.closed = False

    async def read(self, n: int = -1, /) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    def write(self, data: bytes, /) -> None:
        self.written += data

    async def drain(self) -> None:
        return

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        return

    def close(self) -> None:
        self.closed = True


def server_frame(kind: int, data: bytes, *, last: bool = True) -> bytes:
    size = len(data)
    head = bytes([(0x80 if last else 0) | kind])
    if size < 126:
        return head + bytes([size]) + data
    if size < 1 << 16:
        return head + bytes([126]) + size.to_bytes(2, "big") + data
    return head + bytes([127]) + size.to_bytes(8, "big") + data


def unmasked(frame: bytes) -> tuple[int, bytes]:
    """Kind and data of one frame of a client (RFC 6455, 5.2)."""
    assert frame[1] & 128
    size, at = frame[1] & 127, 2
    if size > 125:
        extra = 2 if size == 126 else 8
        size, at = int.from_bytes(frame[2 : 2 + extra], "big"), 2 + extra
    mask, data = frame[at : at + 4], frame[at + 4 : at + 4 + size]
    assert len(frame) == at + 4 + size
    return frame[0], bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


async def read_all(reader: Reader, size: int) -> bytes:
    found = b""
    while part := await reader.read(size):
        assert len(part) <= size
        found += part
    return found


@given(
    st.lists(st.binary(max_size=300), max_size=5),
    st.lists(st.integers(1, 200), min_size=1, max_size=40),
    st.integers(1, 500),
)
def test_data_arrives_whole_however_it_is_cut(
    datas: list[bytes], cuts: list[int], size: int
) -> None:
    stream = b"".join(server_frame(2, data) for data in datas) + server_frame(8, b"\x03\xe8")
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(stream[at : at + cut])
        at += cut
    pieces = [piece for piece in [*pieces, stream[at:]] if piece]
    played = Pieces(*pieces)
    reader = _FrameReader(played, _FrameWriter(played), b"")
    assert asyncio.run(read_all(reader, size)) == b"".join(datas)


def test_long_frames_and_fragments() -> None:
    long, longer = b"a" * 70_000, b"b" * 400
    frames = server_frame(2, long, last=False) + server_frame(0, longer)
    played = Pieces(frames)
    reader = _FrameReader(played, _FrameWriter(played), b"")
    assert asyncio.run(read_all(reader, 1 << 20)) == long + longer


def test_a_ping_is_answered_and_is_no_data() -> None:
    played = Pieces(server_frame(9, b"still there?") + server_frame(2, b"x"))
    reader = _FrameReader(played, _FrameWriter(played), b"")
    assert asyncio.run(read_all(reader, 10)) == b"x"
    assert unmasked(played.written) == (0x8A, b"still there?")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_what_is_written_is_one_masked_frame(size: int) -> None:
    played = Pieces()
    writer = _FrameWriter(played)
    writer.write(bytes(i % 251 for i in range(size)))
    if not size:
        assert played.written == b""
        return
    assert unmasked(played.written) == (0x82, bytes(i % 251 for i in range(size)))


@pytest.mark.parametrize("bad", [b"\x82\x81abcd!", b"\x82\x7f" + b"\xff" * 8])
def test_what_is_no_frame_of_a_server_is_an_error(bad: bytes) -> None:
    played = Pieces(bad)
    with pytest.raises(OSError, match="frame"):
        asyncio.run(_FrameReader(played, _FrameWriter(played), b"").read(1))


async def _dial_answered(answer: bytes, *, accepts: bool = True) -> tuple[bytes, Pieces]:
    """What the dial reads first, from a server that answers so."""
    played = Pieces()

    class WebSocketServer(Pieces):
        async def read(self, n: int = -1, /) -> bytes:
            if played.pieces or not played.written:
                return await played.read(n)
            key = played.written.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
            digest = hashlib.sha1(key + GUID, usedforsecurity=False).digest()
            accepted = base64.b64encode(digest if accepts else b"x" * 20)
            played.written = b""
            return answer.replace(b"ACCEPT", accepted)

    async def dial() -> tuple[Reader, Writer]:
        return WebSocketServer(), played

    reader, _ = await through_websocket(dial)()
    return await reader.read(100), played


def test_the_server_may_send_data_with_its_answer() -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n"
    data = server_frame(2, b"RFB 003.008\n")
    assert asyncio.run(_dial_answered(answer + data))[0] == b"RFB 003.008\n"


@pytest.mark.parametrize(
    ("answer", "accepts"),
    [
        (b"HTTP/1.1 405 Method Not Allowed\r\n\r\n", True),
        (b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH\r\n", True),
        (b"", True),
    ],
)
def test_a_server_that_does_not_accept_it_is_named(answer: bytes, *, accepts: bool) -> None:
    with pytest.raises(Unreachable, match="the server answered"):
        asyncio.run(_dial_answered(answer, accepts=accepts))
