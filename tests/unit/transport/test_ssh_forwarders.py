"""Tunnels to a node over the one connection: a second hop, a port, and a strict sshd."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import asyncssh
import pytest

from tests.unit.transport.sshd import Behaviour, ScriptedUser, sshd
from tests.unit.transport.test_ssh_like_openssh import by_ssh, verdict
from tests.unit.transport.unix_servers import FloodServer, read_exactly
from vizdash.errors import Unreachable, VizdashError
from vizdash.model import Node
from vizdash.transport.base import Command
from vizdash.transport.forwarders import check_desktop
from vizdash.transport.job_step import WINDOW, JobStepForwarder
from vizdash.transport.listener import Listener
from vizdash.transport.node_ssh import NodeHosts
from vizdash.transport.ssh.connection import SshConnection
from vizdash.transport.ssh.forwarders import ConnectionForward, HopForwarder, SshRemote
from vizdash.transport.ssh.runner import SshRunner, unix_stream

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
        connection = SshConnection(f"lena@127.0.0.1:{login.port}", ScriptedUser(), ssh=SSH)
        forwarder = HopForwarder(SshRunner(connection))
        forward = await forwarder.open(f"127.0.0.1:{node.port}", socket)
        await check_desktop(forward, "node")
        await check_desktop(forward, "node")
        assert node_how.logins == 1
        await forward.close()
        await connection.close()


async def test_a_hop_asks_for_no_password(home: Path, key: asyncssh.SSHKey) -> None:
    person = ScriptedUser()
    async with sshd(Behaviour(keys=[key])) as login, sshd(Behaviour(password="x")) as node:
        login.known(home)
        node.known(home)
        connection = SshConnection(f"lena@127.0.0.1:{login.port}", person, ssh=SSH)
        with pytest.raises(Unreachable, match="it asks for a secret"):
            await HopForwarder(SshRunner(connection)).open(f"127.0.0.1:{node.port}", "/s")
        assert person.asked == []
        await connection.close()


@dataclass
class ForwarderKeyCase:
    """``setting`` is a line of ours on the node; ``known`` the name in known_hosts, with P for its
    port. ``by_ssh`` and ``ours`` are the verdicts: ssh does not know the names that Slurm has.
    """

    setting: str
    known: str
    by_ssh: str = "good"
    ours: str = "good"


NODE = "viz-node001.invalid"
KNOWN = {
    "by its address": ForwarderKeyCase("", "[127.0.0.1]:P"),
    "by its name": ForwarderKeyCase("", f"[{NODE}]:P", by_ssh="unknown"),
    "by another of its names": ForwarderKeyCase("", "[node1.invalid]:P", by_ssh="unknown"),
    "by none": ForwarderKeyCase("", "elsewhere", by_ssh="unknown", ours="unknown"),
    "by its alias": ForwarderKeyCase("HostKeyAlias the-node", "the-node"),
    "by its name, which is not its alias": ForwarderKeyCase(
        "HostKeyAlias the-node", f"[{NODE}]:P", by_ssh="unknown", ours="unknown"
    ),
    "by a HostName": ForwarderKeyCase("HostName localhost", "[localhost]:P"),
    "by its name, which is not its HostName": ForwarderKeyCase(
        "HostName localhost", f"[{NODE}]:P", by_ssh="unknown", ours="unknown"
    ),
}


@pytest.mark.parametrize("name", KNOWN)
async def test_the_host_key_of_a_node_whose_name_resolves_nowhere(
    name: str, home: Path, key: asyncssh.SSHKey
) -> None:
    """The login host has its address from Slurm; our own settings name the node."""
    case = KNOWN[name]
    async with sshd(Behaviour(keys=[key])) as login, sshd(Behaviour(keys=[key])) as inner:
        text = f"Host {NODE}\n Port {inner.port}\n User ines\n {case.setting}\n"
        text += f"Host *\n IdentityFile {home}/.ssh/id_ed25519\n"
        (home / ".ssh/config").write_text(text)
        login.known(home)
        inner.note(home, case.known.replace("P", str(inner.port)))
        # What a user would run.
        place = () if "HostName" in case.setting else ("-o", "HostName=127.0.0.1")
        _, output = await by_ssh("-J", f"lena@127.0.0.1:{login.port}", *place, NODE)
        assert verdict(output) == case.by_ssh, output
        assert inner.how.users == ["ines"] * (case.by_ssh == "good")
        inner.how.users = []
        connection = SshConnection(f"lena@127.0.0.1:{login.port}", ScriptedUser(), ssh=SSH)

        async def nodes() -> Sequence[Node]:
            return [Node(NODE, "IDLE", address="127.0.0.1", hostname="node1.invalid")]

        forwarder = HopForwarder(
            SshRunner(connection), hosts=NodeHosts(SshRunner(connection), nodes)
        )
        try:
            if case.ours == "good":
                await (await forwarder.open(NODE, "/s")).close()
            else:
                with pytest.raises(VizdashError, match="host key of"):
                    await forwarder.open(NODE, "/s")
        finally:
            await connection.close()
        assert inner.how.users == ["ines"] * (case.ours == "good")


async def test_a_viewer_that_does_not_read_holds_up_itself_alone(
    home: Path, key: asyncssh.SSHKey, tmp_path: Path
) -> None:
    """On the srun route all go over one pipe of the one connection."""

    def step(job_id: str, node: str, argv: Sequence[str]) -> tuple[str, ...]:
        return tuple(argv)

    async with sshd(Behaviour(keys=[key])) as login, FloodServer(tmp_path / "web") as server:
        login.known(home)
        connection = SshConnection(f"lena@127.0.0.1:{login.port}", ScriptedUser(), ssh=SSH)
        runner = SshRunner(connection)
        forwarder = JobStepForwarder(runner, step, lambda: connection.current)
        forward = await forwarder.open("node", server.path, job_id="1")
        listener = Listener(forward.dial)
        await listener.start()
        writers: list[asyncio.StreamWriter] = []

        async def connect(word: bytes) -> asyncio.StreamReader:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writers.append(writer)
            writer.write(word)
            return reader

        async with asyncio.timeout(240):
            asleep = await connect(b"flood\n")
            await connect(b"deaf\n" + bytes(8 * WINDOW))
            while server.sent < WINDOW:
                await asyncio.sleep(0.02)
            for _ in range(20):
                assert await read_exactly(await connect(b"hello\n"), 6) == b"hello\n"
            assert (await runner.run(Command(("echo", "too")))).stdout == "too\n"
            # A client that reads again finds everything sent meanwhile, and more.
            sent = server.sent
            assert len(await read_exactly(asleep, sent + 2 * WINDOW)) >= sent + 2 * WINDOW
        for writer in writers:
            writer.close()
        await listener.close()
        await forward.close()
        await connection.close()


async def test_a_port_that_the_login_host_reaches(home: Path, key: asyncssh.SSHKey) -> None:
    server = await asyncio.start_server(web, "127.0.0.1", 0)
    async with sshd(Behaviour(keys=[key])) as login, server:
        login.known(home)
        connection = SshConnection(f"lena@127.0.0.1:{login.port}", ScriptedUser(), ssh=SSH)
        port = server.sockets[0].getsockname()[1]
        forward = await SshRemote(SshRunner(connection)).open_port("127.0.0.1", port)
        await check_desktop(forward, "node")
        await forward.close()
        await connection.close()


async def test_a_forwarder_that_fails_three_times_is_given_up(
    home: Path, key: asyncssh.SSHKey
) -> None:
    async def nothing() -> None:
        return

    async with sshd(Behaviour(keys=[key], sockets=False)) as login:
        login.known(home)
        connection = SshConnection(f"lena@127.0.0.1:{login.port}", ScriptedUser(), ssh=SSH)
        forward = ConnectionForward(
            SshRunner(connection), lambda conn: unix_stream(conn, "/s"), nothing
        )
        lost = asyncio.create_task(forward.wait_lost())
        for _ in range(3):
            assert not lost.done()
            with pytest.raises(Unreachable, match="the tunnel"):
                await forward.dial()
        assert await lost
        await forward.close()
        await connection.close()
