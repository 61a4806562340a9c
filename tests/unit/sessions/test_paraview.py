"""ParaView as the client of a pvserver: which one is here, and what it is given."""

from __future__ import annotations

import asyncio
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.fakes import FakeEngine, FakeForwarder, MemoryStore, service_on
from vizdash.errors import Refused
from vizdash.model import Session, SessionState
from vizdash.sessions import paraview
from vizdash.sessions.folder import Connection
from vizdash.sessions.paraview import ParaView, check_versions
from vizdash.sessions.routes import open_route
from vizdash.transport.forwarders import LocalForwarder


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A paraview on PATH, which writes its arguments down."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "paraview"
    program.write_text(
        "#!/bin/sh\n"
        f'printf "%s\\n" "$@" >>{tmp_path}/argv\n'
        'if [ "$1" = --version ]; then echo "paraview version 5.11.0"; fi\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(paraview, "_START_S", 60.0)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return program


def test_the_client_here_and_its_version(client: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paraview.find_paraview() == ParaView(str(client), "5.11.0")
    client.write_text("#!/bin/sh\nexit 1\n")
    assert paraview.find_paraview() == ParaView(str(client), "")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert paraview.find_paraview() is None


def test_another_release_is_refused_with_both_versions() -> None:
    client = ParaView("/usr/bin/paraview", "5.11.0")
    with pytest.raises(Refused) as refusal:
        check_versions("3f9a01bc", client, "5.13.2")
    assert refusal.value.line == (
        "session 3f9a01bc was not opened: /usr/bin/paraview is ParaView 5.11.0, the server is "
        "5.13.2 (use ParaView 5.13)"
    )
    check_versions("3f9a01bc", client, "5.11.2")
    check_versions("3f9a01bc", client, "")
    check_versions("3f9a01bc", ParaView("/usr/bin/paraview", ""), "5.13.2")


def test_the_server_file(client: Path) -> None:
    path = paraview.write_server_file("3f9a01bc", "pv <1> & more", "cs://127.0.0.1:40123")
    assert path.stat().st_mode & 0o777 == 0o600
    (server,) = ET.fromstring(path.read_text())
    assert server.attrib == {"name": "pv <1> & more", "resource": "cs://127.0.0.1:40123"}
    assert [child.tag for child in server] == ["ManualStartup"]


async def test_the_client_is_started_on_the_address(client: Path, tmp_path: Path) -> None:
    found = ParaView(str(client), "5.13.2")
    assert await paraview.start_paraview(found, "cs://127.0.0.1:40123")
    assert (tmp_path / "argv").read_text() == "--server-url=cs://127.0.0.1:40123\n"
    client.write_text("#!/bin/sh\nexit 1\n")
    assert not await paraview.start_paraview(found, "cs://127.0.0.1:40123")


async def test_only_this_users_processes_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"CONNECT ") and b"\r\nX-Vizdash-Token: geheim\r\n" in head
        writer.write(await reader.read(100))
        writer.close()

    server = await asyncio.start_unix_server(echo, str(tmp_path / "web"))
    connection = Connection("7", "n1", "", 0, str(tmp_path / "web"), "geheim", kind="pvserver")
    route = await open_route(connection, LocalForwarder())
    assert route.url == route.near_end == f"cs://127.0.0.1:{route.port}"

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", route.port)
        writer.write(b"hello")
        answer = await reader.read(100)
        writer.close()
        return answer

    assert await ask() == b"hello"
    monkeypatch.setattr(
        "vizdash.transport.redirect_page.owner_of", lambda peer, ours: os.geteuid() + 1
    )
    assert await ask() == b""
    await route.close()
    server.close()


@pytest.mark.parametrize("version", ["5.11.0", "5.13.2"])
async def test_a_pvserver_opens_in_the_paraview_here(
    client: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    at = Connection("7", "n1", "", 0, "/web", "geheim", kind="pvserver", server_version="5.11.2")
    store, forwarder = MemoryStore(connections={"3f9a01bc": at}), FakeForwarder()
    client.write_text(client.read_text().replace("5.11.0", version))
    session = Session(
        "3f9a01bc", "7", "pv", "me", SessionState.READY, node="n1", service="pvserver"
    )
    desktops = service_on(FakeEngine(), store=store, forwarder=forwarder).desktops
    if version != "5.11.0":
        with pytest.raises(Refused, match=r"is ParaView 5\.13\.2, the server is 5\.11\.2"):
            await desktops.open_desktop(session)
        assert forwarder.opened == []
        return
    route, shown = await desktops.open_desktop(session)
    assert shown
    assert f"--server-url={route.url}" in (tmp_path / "argv").read_text()
    assert route.server_file is not None
    assert route.url in route.server_file.read_text()
    await route.close()
    assert not route.server_file.exists()
    # Without a screen, it is one for the user's own computer.
    monkeypatch.delenv("DISPLAY")
    route, shown = await desktops.open_desktop(session)
    assert (route.kind, shown) == ("handoff", False)
    offer = await desktops.hand_off(route, session)
    assert route.url == f"cs://127.0.0.1:{offer.port}"
    await route.close()
