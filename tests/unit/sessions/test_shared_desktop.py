"""What a guest's viewer may send, and one at a real Xvnc."""

from __future__ import annotations

import asyncio
import struct
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.waiting import wait_until
from vizdash.errors import VizdashError
from vizdash.sessions.rfb import RfbClient
from vizdash.sessions.shared_desktop import BadGuest, InputFilter, serve_guest
from vizdash.sessions.viewer import obfuscate

FULL, VIEW, GUEST = "fullpass", "viewpass", "guestpas"
FORMAT = struct.pack(">B3x", 0) + bytes(16)
ASK = struct.pack(">BBHHHH", 3, 0, 0, 0, 100, 100)
KEY = struct.pack(">BBxxI", 4, 1, 0x61)
POINTER = struct.pack(">BBHH", 5, 1, 10, 10)
CUT = struct.pack(">B3xI5s", 6, 5, b"hello")
EXTENDED_CUT = struct.pack(">B3xi4s", 6, -4, b"\0\0\0\1")
CONTINUOUS = struct.pack(">BBHHHH", 150, 1, 0, 0, 9, 9)
FENCE = struct.pack(">B3xIB3s", 248, 0, 3, b"abc")
XVP = struct.pack(">BBBB", 250, 0, 1, 2)
RESIZE = struct.pack(">BxHHBx", 251, 800, 600, 1) + bytes(16)
CODE = struct.pack(">BBHII", 255, 0, 1, 0x61, 30)
PICTURE, INPUT, NEVER = (
    (FORMAT, ASK, CONTINUOUS, FENCE),
    (KEY, POINTER, CUT, EXTENDED_CUT, CODE),
    (XVP, RESIZE),
)


def encodings(*codes: int) -> bytes:
    return struct.pack(f">BxH{len(codes)}i", 2, len(codes), *codes)


@given(
    st.lists(st.sampled_from((*PICTURE, *INPUT, *NEVER)), max_size=12),
    st.lists(st.integers(1, 30), min_size=1, max_size=20),
    st.booleans(),
)
def test_only_what_a_guest_may_send_is_passed_on(
    sent: list[bytes], cuts: list[int], control: bool
) -> None:
    """However its bytes arrive."""
    messages = InputFilter(control=control)
    data, passed, at = b"".join(sent), b"", 0
    while at < len(data):
        size = cuts[at % len(cuts)]
        passed += messages.feed(data[at : at + size])
        at += size
    kept = {*PICTURE, *INPUT} if control else set(PICTURE)
    assert passed == b"".join(one for one in sent if one in kept)


def test_a_viewer_is_not_offered_what_it_may_not_send() -> None:
    clipboard = 0xC0A1E5CE - (1 << 32)
    offered = encodings(7, 16, -223, -258, -308, -312, -316, -309, -305, clipboard)
    assert InputFilter(control=False).feed(offered) == encodings(7, 16, -223, -308, -312)
    control = InputFilter(control=True).feed(offered)
    assert control == encodings(7, 16, -223, -258, -308, -312, clipboard)


@pytest.mark.parametrize(
    "message",
    [b"\x01", b"\xfd\x00", b"\xff\x01", struct.pack(">B3xI", 6, 1 << 30), b"\x06\0\0\0\x80\0\0\0"],
)
def test_what_has_no_known_length_ends_the_connection(message: bytes) -> None:
    with pytest.raises(BadGuest):
        InputFilter(control=True).feed(message)


@given(st.binary(max_size=300))
def test_no_bytes_bring_input_through(data: bytes) -> None:
    """What is passed on is again a series of messages without input."""
    messages = InputFilter(control=False)
    try:
        passed = messages.feed(data)
    except BadGuest:
        return
    assert InputFilter(control=False).feed(passed) == passed


# ---- a real Xvnc ----


@pytest.fixture
def xvnc(tmp_path: Path) -> str:
    """The socket of an Xvnc with a full and a view-only password."""
    (tmp_path / "passwd").write_bytes(obfuscate(FULL) + obfuscate(VIEW))
    return str(tmp_path / "rfb")


@asynccontextmanager
async def desktop(socket: str) -> AsyncIterator[str]:
    """Run Xvnc; yields its display."""
    folder = Path(socket).parent
    with (folder / "display").open("wb") as shown:
        process = subprocess.Popen(
            ["Xvnc", "-displayfd", "1", "-rfbport", "-1", "-rfbunixpath", socket, "-depth", "24",
             "-geometry", "320x200", "-PasswordFile", str(folder / "passwd"), "-nolisten", "tcp",
             "-UseBlacklist=0", "-wr"],
            stdout=shown, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        await asyncio.to_thread(
            wait_until, lambda: (folder / "display").read_text().endswith("\n"), "Xvnc", 120
        )
        yield ":" + (folder / "display").read_text().strip()
    finally:
        process.terminate()
        process.wait()


async def _pointer(display: str) -> str:
    """Where the pointer is."""
    look = ["xdotool", "getmouselocation"]
    done = await asyncio.to_thread(
        subprocess.run, look, env={"DISPLAY": display, "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.rpartition(" screen")[0]


@asynccontextmanager
async def shared(
    socket: str, folder: Path, *, control: bool, counts: list[int]
) -> AsyncIterator[str]:
    """The socket of a share of ``socket``."""
    path = str(folder / f"share-{control}")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve_guest(
                (reader, writer), GUEST, lambda: asyncio.open_unix_connection(socket),
                FULL if control else VIEW, control=control, watches=counts.append,
            )  # fmt: skip
        except (OSError, VizdashError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield path
    finally:
        server.close()


async def _connect(path: str, password: str = GUEST) -> RfbClient:
    return await RfbClient.connect(lambda: asyncio.open_unix_connection(path), password)


async def _point(client: RfbClient, x: int, y: int) -> None:
    """Move the pointer, and wait until the desktop has handled all that was sent before."""
    client._writer.write(struct.pack(">BBHH", 5, 0, x, y))
    await client.ask(whole=True)
    await client.update()


async def test_a_guest_sees_and_moves_nothing_but_with_control(xvnc: str, tmp_path: Path) -> None:
    counts: list[int] = []
    async with desktop(xvnc) as display:
        async with shared(xvnc, tmp_path, control=False, counts=counts) as path:
            before = await _pointer(display)
            client = await _connect(path)
            assert (client.screen.width, client.screen.height) == (320, 200)
            await _point(client, 33, 44)
            assert any(client.screen.pixels)
            assert await _pointer(display) == before
            assert counts == [1]
            await client.close()
        async with shared(xvnc, tmp_path, control=True, counts=counts) as path:
            client = await _connect(path)
            await _point(client, 33, 44)
            assert await _pointer(display) == "x:33 y:44"
            await client.close()


async def test_the_desktop_itself_ignores_a_guest_without_control(
    xvnc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second lock: if the messages were passed on, the view-only password would stop them."""
    monkeypatch.setattr(InputFilter, "feed", lambda self, data: data)
    async with desktop(xvnc) as display, shared(xvnc, tmp_path, control=False, counts=[]) as path:
        before = await _pointer(display)
        client = await _connect(path)
        await _point(client, 33, 44)
        assert await _pointer(display) == before
        await client.close()


@pytest.mark.parametrize("password", [FULL, VIEW, "", "wrongone"])
async def test_only_the_password_of_the_share_is_taken(
    xvnc: str, tmp_path: Path, password: str
) -> None:
    counts: list[int] = []
    async with desktop(xvnc), shared(xvnc, tmp_path, control=True, counts=counts) as path:
        with pytest.raises(VizdashError, match="wrong password"):
            await _connect(path, password)
        assert counts == []


async def test_a_desktop_that_is_gone_is_named(xvnc: str, tmp_path: Path) -> None:
    async with shared(xvnc, tmp_path, control=True, counts=[]) as path:
        with pytest.raises(VizdashError, match="the desktop does not answer"):
            await _connect(path)
