"""Ways to a node over the one connection: a second hop, a port, and what a strict sshd says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import asyncssh
import pytest

from tests.unit.transport.sshd import Behaviour, Person, sshd
from vizdash.errors import Unreachable
from vizdash.transport.ssh.link import SshLink
from vizdash.transport.ssh.runner import SshRunner
from vizdash.transport.ssh.streams import unix_stream
from vizdash.transport.ssh.ways import HopForwarder, LinkForward, SshRemote
from vizdash.transport.ways import answers

SSH: Literal["builtin", "openssh"] = "builtin"


@pytest.fixture(autouse=True)
def _both(transport: Literal["builtin", "openssh"], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test over both transports."""
    monkeypatch.setitem(globals(), "SSH", transport)


async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
    writer.close()


async def test_a_second_hop_by_the_laptops_own_key(
    home: Path, key: asyncssh.SSHKey, tmp_path: Path
) -> None:
    node_how = Behaviour(keys=[key])
    socket = str(tmp_path / "web")
    async with (
        sshd(Behaviour(keys=[key])) as login,
        sshd(node_how) as node,
        await asyncio.start_unix_server(web, socket),
    ):
        login.known(home)
        node.known(home)
        link = SshLink(f"lena@127.0.0.1:{login.port}", Person(), ssh=SSH)
        forwarder = HopForwarder(SshRunner(link))
        forward = await forwarder.open(f"127.0.0.1:{node.port}", socket)
        await answers(forward, "node")
        await answers(forward, "node")
        assert node_how.logins == 1
        await forward.close()
        await link.close()


async def test_a_hop_asks_nobody_for_a_password(home: Path, key: asyncssh.SSHKey) -> None:
    person = Person()
    async with sshd(Behaviour(keys=[key])) as login, sshd(Behaviour(password="x")) as node:
        login.known(home)
        node.known(home)
        link = SshLink(f"lena@127.0.0.1:{login.port}", person, ssh=SSH)
        with pytest.raises(Unreachable, match="it asks for a secret"):
            await HopForwarder(SshRunner(link)).open(f"127.0.0.1:{node.port}", "/s")
        assert person.asked == []
        await link.close()


async def test_a_port_that_the_login_host_reaches(home: Path, key: asyncssh.SSHKey) -> None:
    server = await asyncio.start_server(web, "127.0.0.1", 0)
    async with sshd(Behaviour(keys=[key])) as login, server:
        login.known(home)
        link = SshLink(f"lena@127.0.0.1:{login.port}", Person(), ssh=SSH)
        port = server.sockets[0].getsockname()[1]
        forward = await SshRemote(SshRunner(link)).open_port("127.0.0.1", port)
        await answers(forward, "node")
        await forward.close()
        await link.close()


async def test_a_way_that_fails_three_times_is_given_up(home: Path, key: asyncssh.SSHKey) -> None:
    async def nothing() -> None:
        return

    async with sshd(Behaviour(keys=[key], sockets=False)) as login:
        login.known(home)
        link = SshLink(f"lena@127.0.0.1:{login.port}", Person(), ssh=SSH)
        forward = LinkForward(SshRunner(link), lambda conn: unix_stream(conn, "/s"), nothing)
        lost = asyncio.create_task(forward.wait_lost())
        for _ in range(3):
            assert not lost.done()
            with pytest.raises(Unreachable, match="the tunnel"):
                await forward.dial()
        assert await lost
        await forward.close()
        await link.close()
