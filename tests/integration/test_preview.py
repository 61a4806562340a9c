"""The preview of a real desktop, from a real Xvnc."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest

from vizdash.errors import Unreachable
from vizdash.sessions import preview, rfb
from vizdash.sessions.folder import Connection
from vizdash.sessions.preview import Picture, pictures
from vizdash.sessions.rfb import RfbClient
from vizdash.transport.base import Reader, Writer
from vizdash.transport.forwarders import LocalForwarder

FULL, VIEW = "fullpass", "viewonly"


@dataclass
class BareDesktop:
    """A running Xvnc with nothing on it."""

    folder: Path
    display: str
    process: subprocess.Popen[bytes]

    @property
    def connection(self) -> Connection:
        socket = str(self.folder / "rfb")
        return Connection("1", "here", "", 0, "", FULL, VIEW, socket)

    async def dial(self) -> tuple[Reader, Writer]:
        return await asyncio.open_unix_connection(self.folder / "rfb")

    @property
    def env(self) -> dict[str, str]:
        return {"DISPLAY": self.display, "PATH": os.environ["PATH"], "HOME": str(self.folder)}

    def run(self, *argv: str) -> None:
        subprocess.run(argv, env=self.env, check=True, timeout=180, capture_output=True)


@pytest.fixture
def desktop(can_run: None, tmp_path: Path) -> Iterator[BareDesktop]:
    passwords = f"{FULL}\n{VIEW}\n".encode()
    packed = subprocess.run(["vncpasswd", "-f"], input=passwords, capture_output=True, check=True)
    (tmp_path / "passwd").write_bytes(packed.stdout)
    read, write = os.pipe()
    argv = ["Xvnc", "-displayfd", str(write), "-rfbport", "-1", "-rfbunixpath"]
    argv += [str(tmp_path / "rfb"), "-SecurityTypes", "VncAuth", "-PasswordFile"]
    argv += [str(tmp_path / "passwd"), "-UseBlacklist=0", "-AlwaysShared", "-geometry", "640x360"]
    words = tmp_path / "xvnc.log"
    with words.open("wb") as log:
        process = subprocess.Popen(argv, pass_fds=[write], stdout=log, stderr=log)
    os.close(write)
    try:
        with os.fdopen(read) as pipe:
            display = pipe.readline().strip()
        assert display, f"Xvnc did not start: {words.read_text(errors='replace')}"
        yield BareDesktop(tmp_path, f":{display}", process)
    finally:
        process.terminate()
        process.wait(timeout=180)


def close(seen: tuple[int, int, int], wanted: tuple[int, int, int]) -> bool:
    """The same but for what 5 or 6 bits can't tell."""
    return all(abs(a - b) <= 8 for a, b in zip(seen, wanted, strict=True))


def preview_of(desktop: BareDesktop) -> AsyncGenerator[Picture, None]:
    return pictures(desktop.connection, LocalForwarder(), lambda: (64, 40))


async def test_the_picture_has_the_desktops_colour(desktop: BareDesktop) -> None:
    desktop.run("xsetroot", "-solid", "#a03010")
    async with asyncio.timeout(180), aclosing(preview_of(desktop)) as found:
        picture = await anext(found)
        assert (picture.width, picture.height) == (64, 36)
        assert picture.desktop == (640, 360)
        assert close(picture.at(1, 1), (0xA0, 0x30, 0x10))
        assert close(picture.at(63, 35), (0xA0, 0x30, 0x10))
        desktop.run("xsetroot", "-solid", "#2060c0")
        while not close((await anext(found)).at(10, 10), (0x20, 0x60, 0xC0)):
            pass


async def test_another_preview_size_needs_no_change_of_the_desktop(desktop: BareDesktop) -> None:
    room = [(64, 40)]
    wanted = pictures(desktop.connection, LocalForwarder(), lambda: room[0])
    async with asyncio.timeout(180), aclosing(wanted) as found:
        await anext(found)
        room[0] = (320, 200)
        while (picture := await anext(found)).width != 320:
            pass
        assert (picture.width, picture.height) == (320, 180)


async def test_it_follows_another_size(desktop: BareDesktop) -> None:
    async with asyncio.timeout(180), aclosing(preview_of(desktop)) as found:
        await anext(found)
        desktop.run("xrandr", "--fb", "800x800")
        while (picture := await anext(found)).desktop != (800, 800):
            pass
        assert (picture.width, picture.height) == (40, 40)


async def test_packed_and_plain_pixels_are_the_same(
    desktop: BareDesktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ZRLE against Raw, on text and colours of many kinds."""
    desktop.run("xsetroot", "-mod", "5", "9", "-fg", "#ff8000", "-bg", "#004080")
    colours = "for i in $(seq 0 255); do printf '\\033[48;5;%dm %x' $i $i; done; sleep 60"
    with subprocess.Popen(["xterm", "-e", "bash", "-c", colours], env=desktop.env) as xterm:
        try:
            zrle = await settled(desktop)
            monkeypatch.setattr(rfb, "_ZRLE", rfb._RAW)
            raw = await settled(desktop)
        finally:
            xterm.terminate()
    assert len({zrle[i : i + 2] for i in range(0, len(zrle), 2)}) > 50, "too dull a desktop"
    assert zrle == raw


async def settled(desktop: BareDesktop) -> bytes:
    """The desktop's pixels once they stay the same and are many."""
    deadline = time.monotonic() + 120
    before = b""
    while True:
        client = await RfbClient.connect(desktop.dial, VIEW)
        await client.ask(whole=True)
        await client.update()
        await client.close()
        now = bytes(client.screen.pixels)
        if now == before and len({now[i : i + 2] for i in range(0, len(now), 2)}) > 50:
            return now
        assert time.monotonic() < deadline, "the desktop does not settle"
        before = now
        await asyncio.sleep(0.5)


async def test_an_idle_desktop_costs_nothing(desktop: BareDesktop) -> None:
    client = await RfbClient.connect(desktop.dial, VIEW)
    await client.ask(whole=True)
    await client.update()
    whole = client.received
    assert whole < 20_000, "a plain desktop is packed well"
    await client.ask(whole=False)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await client.update()
    assert client.received == whole
    await client.close()


async def test_large_updates_are_requested_more_seldom(
    desktop: BareDesktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(preview, "BYTES_PER_S", 1)
    monkeypatch.setattr(preview, "_sleep", sleep)
    async with asyncio.timeout(180), aclosing(preview_of(desktop)) as found:
        await anext(found)
        desktop.run("xsetroot", "-solid", "#2060c0")
        await anext(found)
    assert slept[0] > preview.EVERY_S


async def test_a_wrong_password_is_reported(desktop: BareDesktop) -> None:
    with pytest.raises(Unreachable, match="it refuses: Authentication"):
        await RfbClient.connect(desktop.dial, "wrong")


async def test_it_ends_with_the_desktop(desktop: BareDesktop) -> None:
    async with asyncio.timeout(180), aclosing(preview_of(desktop)) as found:
        await anext(found)
        desktop.process.terminate()
        with pytest.raises(Unreachable):
            await to_the_end(found)


async def to_the_end(found: AsyncGenerator[Picture, None]) -> None:
    async for _ in found:
        pass
