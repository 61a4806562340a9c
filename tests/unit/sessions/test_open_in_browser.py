"""How a desktop is shown: a browser, a helper or an editor, with no password in any argv."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vizdash.sessions import browser
from vizdash.sessions.browser import BrowserLocation
from vizdash.sessions.folder import Connection
from vizdash.sessions.handoff import BrowserLauncher
from vizdash.sessions.routes import Route, open_route
from vizdash.transport.forwarders import LocalForwarder
from vizdash.transport.redirect_page import owner_of

_REMOTE = {"SSH_CONNECTION": "10.0.0.9 51234 10.0.0.1 22"}


@pytest.fixture
def helper(tmp_path: Path) -> Path:
    """A script of the user's that notes what it is called with."""
    path = tmp_path / "open-elsewhere"
    path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {tmp_path}/called\necho noise\n')
    path.chmod(0o755)
    return path


class Editor(threading.Thread):
    """What VS Code's server listens with: HTTP on a Unix socket, one JSON message a request."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.asked: list[tuple[str, list[str]]] = []
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen(5)

    def run(self) -> None:
        while True:
            try:
                peer, _ = self.server.accept()
            except OSError:
                return
            with peer, peer.makefile("rwb") as file:
                head = b""
                while (line := file.readline()) not in {b"\r\n", b""}:
                    head += line
                if found := re.search(rb"Content-Length: (\d+)", head):
                    asked = json.loads(file.read(int(found[1])))
                    self.asked.append((asked["type"], asked["uris"]))
                    file.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Editor]:
    made = Editor(tmp_path / "ipc.sock")
    made.start()
    yield made
    made.server.shutdown(socket.SHUT_RDWR)
    made.server.close()
    made.join(timeout=60)


def test_where_the_browser_is(helper: Path, tmp_path: Path) -> None:
    chosen = {"BROWSER": str(helper)}
    assert browser.locate_browser({}) is BrowserLocation.NONE
    assert browser.locate_browser(_REMOTE) is BrowserLocation.NONE
    assert browser.locate_browser(chosen) is BrowserLocation.HERE
    assert browser.locate_browser(chosen | _REMOTE) is BrowserLocation.HELPER
    assert (
        browser.locate_browser(chosen | _REMOTE | {"DISPLAY": "localhost:10.0"})
        is BrowserLocation.HERE
    )
    assert browser.locate_browser({"BROWSER": "lynx"} | _REMOTE) is BrowserLocation.NONE
    assert browser.locate_browser({"BROWSER": "sh -c 'x"}) is BrowserLocation.NONE
    assert browser.missing_browser({"BROWSER": "/nosuch/browser.sh %s:x-browser"}).endswith(".sh")
    for there in ("", "sh -c 'x", "/nosuch/browser.sh:sh"):
        assert browser.missing_browser({"BROWSER": there}) == ""
    assert (
        browser.locate_browser({"BROWSER": "/nosuch/browser.sh"} | _REMOTE) is BrowserLocation.NONE
    )
    # The name of an editor's socket outlives the editor in tmux's environment.
    gone = tmp_path / "gone.sock"
    assert (
        browser.locate_browser({"VSCODE_IPC_HOOK_CLI": str(gone)} | _REMOTE) is BrowserLocation.NONE
    )


def test_an_editor_is_asked_before_all_else(editor: Editor, tmp_path: Path) -> None:
    there = {"VSCODE_IPC_HOOK_CLI": str(tmp_path / "ipc.sock")}
    assert browser.locate_browser(there | _REMOTE) is BrowserLocation.HELPER


async def test_the_editor_opens_a_page_that_works_once(
    editor: Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VSCODE_IPC_HOOK_CLI", str(tmp_path / "ipc.sock"))
    server, route = await _route(tmp_path)
    showing = BrowserLauncher()
    assert await showing.show(route)
    ((kind, (address,)),) = editor.asked
    assert kind == "openExternal"
    assert "Xk29fQpa" not in address
    assert address.startswith(f"http://127.0.0.1:{route.port}/open/")
    page = await asyncio.to_thread(_get, address)
    assert page.startswith("HTTP/1.1 200")
    # Without a host: the editor may lead the port to another one.
    assert 'location.replace("/vnc.html#autoconnect=1' in page
    assert "password=Xk29fQpa" in page
    again = await asyncio.to_thread(_get, address)
    assert again.startswith("HTTP/1.1 410")
    assert "Xk29fQpa" not in again
    # Everything else goes to the session.
    assert (await asyncio.to_thread(_get, route.url.partition("#")[0])).endswith("GET /vnc.html")
    await route.close()
    server.close()


async def test_a_users_helper_is_given_no_password(
    helper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VSCODE_IPC_HOOK_CLI", raising=False)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSH_CONNECTION", _REMOTE["SSH_CONNECTION"])
    monkeypatch.setenv("BROWSER", f"{helper} --new %s")
    server, route = await _route(tmp_path)
    assert await BrowserLauncher().show(route)
    option, address = (tmp_path / "called").read_text().split()
    assert option == "--new"
    assert address.startswith(f"http://127.0.0.1:{route.port}/open/")
    # It can't spoil the dashboard.
    assert capfd.readouterr() == ("", "")
    await route.close()
    server.close()


async def test_a_helper_that_fails_is_no_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VSCODE_IPC_HOOK_CLI", raising=False)
    assert not await browser.open_by_helper("http://127.0.0.1:1/", {"BROWSER": "false"})
    assert not await browser.open_by_helper("http://127.0.0.1:1/", {})


async def test_a_direct_route_has_a_page_that_works_once_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Browsers with a private /tmp can read no file of vizdash."""
    script = tmp_path / "browser"
    script.write_text(
        f'#!/bin/sh\necho "$1" > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/called\n'
    )
    script.chmod(0o755)
    for name in ("VSCODE_IPC_HOOK_CLI", "SSH_CONNECTION", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BROWSER", str(script))
    connection = Connection("7", "n1", "192.0.2.7", 6080, "", "Xk29fQpa")
    route = await open_route(connection, LocalForwarder())
    assert route.kind == "direct"
    showing = BrowserLauncher()
    assert await showing.show(route)
    async with asyncio.timeout(60):
        while not (tmp_path / "called").exists():
            await asyncio.sleep(0.02)
    address = (tmp_path / "called").read_text().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/open/[\w-]+", address)
    other = address.rpartition("/open/")[0] + "/vnc.html"
    assert await asyncio.to_thread(_get, other) == ""
    page = await asyncio.to_thread(_get, address)
    assert page.startswith("HTTP/1.1 200")
    assert f'location.replace("{route.url}")' in page
    # Once it has been taken, nothing listens there any more.
    async with asyncio.timeout(60):
        await showing.wait_pages_loaded()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(_get, address)
    # A page that is not fetched ends with vizdash.
    assert await showing.show(route)
    await showing.close()
    await showing.wait_pages_loaded()


async def test_a_page_is_not_for_other_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, route = await _route(tmp_path)
    address = route.offer_redirect(browser.redirect_page)
    monkeypatch.setattr(
        "vizdash.transport.redirect_page.owner_of", lambda peer, ours: os.geteuid() + 1
    )
    assert (await asyncio.to_thread(_get, address)).startswith("HTTP/1.1 410")
    # A peer that the system does not list is unknown.
    monkeypatch.setattr("vizdash.transport.redirect_page.owner_of", lambda peer, ours: None)
    assert (await asyncio.to_thread(_get, address)).startswith("HTTP/1.1 410")
    monkeypatch.undo()
    assert (await asyncio.to_thread(_get, address)).startswith("HTTP/1.1 200")
    await route.close()
    server.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to connect as another user")
@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2", "::ffff:127.0.0.1"])
async def test_another_user_gets_no_page_from_any_address(tmp_path: Path, source: str) -> None:
    server, route = await _route(tmp_path)
    address = route.offer_redirect(browser.redirect_page)
    argv = [sys.executable, "-I", "-c", _AS_NOBODY, address, source]
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    answer, _ = await process.communicate()
    assert answer.startswith(b"HTTP/1.1 410"), answer
    assert b"Xk29fQpa" not in answer
    assert (await asyncio.to_thread(_get, address)).startswith("HTTP/1.1 200"), "it was used up"
    await route.close()
    server.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to connect as another user")
async def test_another_user_does_not_reach_the_gate_of_a_service(tmp_path: Path) -> None:
    """Not even with the cookie: a browser sends it to all ports of 127.0.0.1."""
    asked: list[bytes] = []

    async def gate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nthe notebook")
        writer.close()

    server = await asyncio.start_unix_server(gate, str(tmp_path / "web"))
    connection = Connection("7", "n1", "", 0, str(tmp_path / "web"), "geheim", kind="web")
    route = await open_route(connection, LocalForwarder())
    address = f"http://127.0.0.1:{route.port}/lab"
    argv = [sys.executable, "-I", "-c", _AS_NOBODY, address, "127.0.0.1"]
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    answer, _ = await process.communicate()
    assert answer.startswith(b"HTTP/1.1 403"), answer
    assert asked == []
    assert (await asyncio.to_thread(_get, address)).endswith("the notebook")
    # The page that leads a browser there still works, once.
    page = await asyncio.to_thread(_get, route.offer_redirect(browser.redirect_page))
    assert page.startswith("HTTP/1.1 200")
    assert len(asked) == 1
    await route.close()
    server.close()


#: Connects as the user nobody (65534) from the given address, and prints the answer.
_AS_NOBODY = r"""
import os, socket, sys
address, source = sys.argv[1:]
host, _, path = address.removeprefix("http://").partition("/")
port = int(host.partition(":")[2])
os.setresuid(65534, 65534, 65534)
if ":" in source:
    peer = socket.create_connection(("::ffff:127.0.0.1", port), 10, (source, 0))
else:
    peer = socket.create_connection(("127.0.0.1", port), 10, (source, 0))
peer.sendall(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
while data := peer.recv(65536):
    sys.stdout.buffer.write(data)
"""


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2", "::ffff:127.0.0.1"])
def test_whose_a_connection_is(source: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = server.getsockname()
        target = (f"::ffff:{ours[0]}" if ":" in source else ours[0], ours[1])
        with socket.create_connection(target, 10, (source, 0)) as near:
            accepted, peer = server.accept()
            with accepted:
                assert owner_of(peer, accepted.getsockname()) == os.geteuid()
                other = "127.0.0.3"
                assert owner_of((other, peer[1]), ours) is None
                assert owner_of(peer, (other, ours[1])) is None
            assert near


async def test_without_proc_there_is_a_file_and_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vizdash.transport.redirect_page._TABLES", (tmp_path / "tcp",))
    server, route = await _route(tmp_path)
    assert route.offer_redirect(browser.redirect_page) == ""
    await route.close()
    server.close()


async def test_a_browser_here_is_given_a_page_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\nprintf "%s" "$*" >{tmp_path}/.asked\n'
                       f"mv {tmp_path}/.asked {tmp_path}/asked\n")  # fmt: skip
    program.chmod(0o755)
    for name in ("VSCODE_IPC_HOOK_CLI", *_REMOTE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BROWSER", str(program))
    server, route = await _route(tmp_path)
    assert await BrowserLauncher().show(route)
    deadline = time.monotonic() + 60
    while not (tmp_path / "asked").exists():
        assert time.monotonic() < deadline, "no browser was started"
        await asyncio.sleep(0.02)
    address = (tmp_path / "asked").read_text()
    assert address.startswith(f"http://127.0.0.1:{route.port}/open/")
    assert "Xk29fQpa" in await asyncio.to_thread(_get, address)
    await route.close()
    server.close()


async def _route(folder: Path) -> tuple[asyncio.Server, Route]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).rsplit(b" ", 1)[0]
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + line)
        writer.close()

    session = Connection("7", "node1", "", 0, str(folder / "web"), "Xk29fQpa")
    server = await asyncio.start_unix_server(echo, session.web_socket)
    return server, await open_route(session, LocalForwarder())


def _get(address: str) -> str:
    host, _, path = address.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port)), timeout=60) as peer:
        peer.sendall(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        text = b""
        while data := peer.recv(65536):
            text += data
        return text.decode()
