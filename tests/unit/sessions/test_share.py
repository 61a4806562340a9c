"""A share with its door, a real program: who gets in, what is answered, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typing_extensions import override

from tests.waiting import wait_until
from vizdash.errors import Refused
from vizdash.sessions import share as share_module
from vizdash.sessions.folder import Connection
from vizdash.sessions.join import SharedForward
from vizdash.sessions.share import RUN_PYTHON, HeldShare, ShareTerms
from vizdash.transport.base import Forward, Reader, Writer
from vizdash.transport.local import LocalRunner
from vizdash.util.assets import node_script

PROGRAM = node_script("share.py")
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CONNECTION = Connection("7", "n1", "", 0, "/r/web", "fullpass", "viewpass")


class Web(Forward):
    """A route to a session's web server, which answers every request with PAGE."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "web")
        self.asked: list[bytes] = []
        self.lost = asyncio.Event()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Web]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(PAGE)
            await writer.drain()
            writer.close()

        server = await asyncio.start_unix_server(serve, self.path)
        try:
            yield self
        finally:
            server.close()

    @override
    async def dial(self) -> tuple[Reader, Writer]:
        return await asyncio.open_unix_connection(self.path)

    @override
    async def wait_lost(self) -> str:
        await self.lost.wait()
        return "the node went away"

    @override
    async def close(self) -> None:
        return


class Door(Forward):
    """A guest's route to a share's socket."""

    def __init__(self, path: str) -> None:
        self.path = path

    @override
    async def dial(self) -> tuple[Reader, Writer]:
        return await asyncio.open_unix_connection(self.path)

    @override
    async def wait_lost(self) -> str:
        await asyncio.Event().wait()
        return ""

    @override
    async def close(self) -> None:
        return


@pytest.fixture
def own_guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This user is the guest: the door's refusal of its own user is left out."""
    text = PROGRAM.read_text().replace("if guest in (0, os.getuid()):", "if False:")
    text = text.replace("pwd.getpwnam(user).pw_uid", "os.getuid()")
    (tmp_path / "share.py").write_text(text)
    monkeypatch.setattr(
        share_module,
        "node_script",
        lambda name: tmp_path / name if name == "share.py" else node_script(name),
    )


def terms(guest: str = "bob", expires_at: int | None = None) -> ShareTerms:
    return ShareTerms("3f9a01bc", "7", "desktop", guest, control=False, expires_at=expires_at)


@asynccontextmanager
async def held(folder: Path, expires_at: int | None = None) -> AsyncIterator[tuple[HeldShare, Web]]:
    """A share in front of a web server."""
    async with Web(folder).serving() as web:
        share = HeldShare(terms(expires_at=expires_at), CONNECTION, web)
        await share.start(LocalRunner())
        try:
            yield share, web
        finally:
            await share.close()


async def ask(share: HeldShare, door: str, said: bytes) -> bytes:
    """What a door of the share answers, to its end: also one that has not read all of it."""
    reader, writer = await asyncio.open_unix_connection(f"{share.folder}/{door}")
    writer.write(said)
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        answer = await reader.read(-1)
    writer.close()
    return answer


def get(path: str, verb: str = "GET") -> bytes:
    return f"{verb} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


async def test_a_guest_gets_files_of_the_session_and_nothing_else(
    own_guest: None, tmp_path: Path
) -> None:
    async with held(tmp_path) as (share, web):
        assert (await ask(share, "s", get("/core/rfb.js?v=1"))).endswith(b"hello")
        for said in (get("/../etc/passwd"), get("/.hidden"), get("//x"), get("/", "GET")):
            assert (await ask(share, "s", said)).startswith(b"HTTP/1.1 404 ")
        assert (await ask(share, "s", get("/vnc.html", "POST"))).startswith(b"HTTP/1.1 405 ")
        assert await ask(share, "s", b"x" * 100_000) == b""
        sent = b"GET /core/rfb.js?v=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert web.asked == [sent]


async def test_only_joining_tells_the_password_and_no_answer_that_of_the_session(
    own_guest: None, tmp_path: Path
) -> None:
    async with held(tmp_path) as (share, _web):
        listed = json.loads(await ask(share, "ask", b"list\n"))
        joined = json.loads(await ask(share, "ask", b"join\n"))
        password = joined.pop("password")
        assert len(password) == 8
        assert listed == joined
        assert listed["session"] == "3f9a01bc"

        everything = str(listed)
        assert "fullpass" not in everything and "viewpass" not in everything


async def test_the_guest_learns_of_its_end(own_guest: None, tmp_path: Path) -> None:
    async with held(tmp_path) as (share, _web):
        folder = Path(share.folder)
        assert folder.stat().st_mode & 0o777 == 0o711
        reader, writer = await Door(f"{folder}/s").dial()
        writer.write(get(share_module.PRESENT))
        assert (await reader.read(15)).startswith(b"HTTP/1.1 200")
        lost = asyncio.create_task(SharedForward(Door(f"{folder}/s")).wait_lost())
        await share.close()
        async with asyncio.timeout(120):
            assert await lost == "it is no longer shared"
            while await reader.read(100):
                pass
        writer.close()
        await asyncio.to_thread(wait_until, lambda: not folder.exists(), "no folder", 120)


async def test_why_it_is_over(own_guest: None, tmp_path: Path) -> None:
    async with held(tmp_path, expires_at=int(time.time())) as (share, _web):
        assert await share.wait_lost() == "its time is over"
    async with held(tmp_path) as (share, web):
        web.lost.set()
        assert await share.wait_lost() == "the node went away"
    async with held(tmp_path) as (share, _web):
        share.request_end()
        assert await share.wait_lost() == ""
        assert share.ended_on_request


@pytest.mark.parametrize(
    ("guest", "why"),
    [("no-such-user", "there is no user no-such-user on"), ("root", "root can see it without")],
)
async def test_who_cannot_be_a_guest(tmp_path: Path, guest: str, why: str) -> None:
    share = HeldShare(terms(guest), CONNECTION, Web(tmp_path))
    with pytest.raises(Refused, match=f"session 3f9a01bc was not shared: {why}"):
        await share.start(LocalRunner())
    await share.close()


async def test_a_login_host_without_python_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sh", "uname"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", str(tmp_path))
    elsewhere = RUN_PYTHON.replace("/usr/", f"{tmp_path}/")
    monkeypatch.setattr("vizdash.sessions.share.RUN_PYTHON", elsewhere)
    share = HeldShare(terms(), CONNECTION, Web(tmp_path))
    with pytest.raises(Refused, match="was not shared: there is no python3 on "):
        await share.start(LocalRunner())
    await share.close()


# ---- the program alone ----


@pytest.fixture
def door() -> Iterator[subprocess.Popen[bytes]]:
    """The program for the guest nobody, who is not this user."""
    relay = node_script("relay.py").read_text()
    argv = [sys.executable, "-I", str(PROGRAM), "serve", relay, "nobody"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    yield process
    process.terminate()  # killed, it would leave its folder
    process.communicate()


def folder_of(process: subprocess.Popen[bytes]) -> Path:
    """The folder that its first frame names."""
    assert process.stdout is not None
    head = process.stdout.read(9)
    return Path(process.stdout.read(int.from_bytes(head[5:], "big")).decode().split(" ")[1])


async def test_its_own_user_is_no_guest(door: subprocess.Popen[bytes]) -> None:
    folder = folder_of(door)
    for name in ("s", "ask"):
        reader, writer = await asyncio.open_unix_connection(str(folder / name))
        assert await reader.read(-1) == b""
        writer.close()


@pytest.mark.parametrize("how", ["stdin", "term"])
def test_nothing_is_left_when_it_ends(door: subprocess.Popen[bytes], how: str) -> None:
    folder = folder_of(door)
    assert folder.is_dir()
    assert door.stdin is not None
    if how == "stdin":
        door.stdin.close()
        door.stdin = None
    else:
        door.terminate()
    assert door.wait(timeout=120) == 0
    assert not folder.exists()


def test_the_next_one_removes_what_a_killed_one_left(door: subprocess.Popen[bytes]) -> None:
    folder = folder_of(door)
    os.utime(folder, (0, 0))
    relay = node_script("relay.py").read_text()
    argv = [sys.executable, "-I", str(PROGRAM), "serve", relay, "nobody"]
    for killed in (False, True):
        if killed:
            door.send_signal(signal.SIGKILL)
            door.wait()
        after = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        folder_of(after)
        assert folder.exists() is not killed  # that of a running one stays
        after.communicate()
