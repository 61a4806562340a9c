"""The command line of a handoff, its socket, and who may open what."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from vizdash.sessions import handoff
from vizdash.sessions.folder import Connection
from vizdash.sessions.handoff import make_handoff
from vizdash.sessions.routes import open_route
from vizdash.transport.forwarders import LocalForwarder
from vizdash.util.files import account_name


def test_the_port_stays_with_the_session_and_another_can_be_had() -> None:
    first = handoff.local_port("4f2a91c0")
    assert first == handoff.local_port("4f2a91c0")
    assert 20000 <= first < 32000
    others = {handoff.local_port("4f2a91c0", attempt) for attempt in range(1, 50)}
    assert first not in others
    assert len(others) == 49


@pytest.mark.parametrize(
    ("template", "expected"),
    [("{host}.hpc.example.org", "login2.hpc.example.org"), ("gate", "gate")],
)
def test_the_sites_word_for_this_host(
    monkeypatch: pytest.MonkeyPatch, template: str, expected: str
) -> None:
    monkeypatch.setattr("platform.node", lambda: "login2.cluster")
    assert handoff.login_host_name(template) == expected


@pytest.mark.parametrize(
    ("node", "full", "expected"),
    [
        ("login2", "login2.hpc.example.org", "login2.hpc.example.org"),
        # A name server (or /etc/hosts) may say anything of 127.0.1.1: never another host's name.
        ("login2", "localhost", "login2"),
        ("login2", "cluster.example.org", "login2"),
        ("login2.example.org", "localhost", "login2.example.org"),
    ],
)
def test_the_hosts_own_name(
    monkeypatch: pytest.MonkeyPatch, node: str, full: str, expected: str
) -> None:
    monkeypatch.setattr("platform.node", lambda: node)
    monkeypatch.setattr("socket.getfqdn", lambda name: full)
    assert handoff.login_host_name() == expected


def test_the_port_of_the_sshd_that_one_came_in_by() -> None:
    assert handoff.server_port({"SSH_CONNECTION": "10.0.0.9 51234 10.0.0.1 2222"}) == 2222
    assert handoff.server_port({"SSH_CONNECTION": "UNKNOWN 65535 UNKNOWN 65535 x"}) == 22
    assert handoff.server_port({}) == 22


def test_the_line_is_safe_to_paste() -> None:
    line = handoff.ssh_command(20001, "/tmp/a b/s", "ann", "login2", 2222)
    assert line == "ssh -N -p 2222 -L '20001:/tmp/a b/s' ann@login2"
    assert handoff.ssh_command(20001, "/tmp/v/s", "ann", "login2") == (
        "ssh -N -L 20001:/tmp/v/s ann@login2"
    )


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    writer.close()


async def test_a_handoff_holds_a_socket_that_only_we_can_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "mallory")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    session = Connection("7", "node1", "", 0, str(tmp_path / "web"), "Xk29fQpa")
    server = await asyncio.start_unix_server(_answer, session.web_socket)
    route = await open_route(session, LocalForwarder(), handoff=True)
    path = Path(route.socket)
    assert route.kind == "handoff"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    made = make_handoff(route, "4f2a91c0", "login2")
    assert made.command == f"ssh -N -L {made.port}:{path} {account_name()}@login2"
    assert route.url.startswith(f"http://127.0.0.1:{made.port}/vnc.html#autoconnect=1")
    assert route.url.endswith("password=Xk29fQpa")
    assert "Xk29fQpa" not in repr(route) + made.command
    reader, writer = await asyncio.open_unix_connection(route.socket)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    assert (await reader.read()).endswith(b"hi")
    writer.close()
    again = make_handoff(route, "4f2a91c0", "login2", attempt=1)
    assert again.port == made.port + 1
    assert f":{again.port}/" in route.url
    await route.close()
    assert not path.parent.exists()
    server.close()
