"""Ways to a node over the one connection: a second hop, a port, and what a strict sshd says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import asyncssh
import pytest

from tests.unit.transport.flood import Flood, read_exactly
from tests.unit.transport.sshd import Behaviour, Person, sshd
from tests.unit.transport.test_ssh_oracle import by_ssh, verdict
from vizdash.errors import Unreachable, VizdashError
from vizdash.model import Node
from vizdash.transport.base import Command
from vizdash.transport.listener import Listener
from vizdash.transport.mux import WINDOW, StepForwarder
from vizdash.transport.nodehosts import NodeHosts
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


@dataclass
class Known:
    """``setting`` is a line of ours on the node; ``known`` the name in known_hosts, with P for its
    port. ``by_ssh`` and ``ours`` are the verdicts: ssh does not know the names that Slurm has.
    """

    setting: str
    known: str
    by_ssh: str = "good"
    ours: str = "good"


NODE = "viz-node001.invalid"
KNOWN = {
    "by its address": Known("", "[127.0.0.1]:P"),
    "by its name": Known("", f"[{NODE}]:P", by_ssh="unknown"),
    "by another of its names": Known("", "[node1.invalid]:P", by_ssh="unknown"),
    "by none": Known("", "elsewhere", by_ssh="unknown", ours="unknown"),
    "by its alias": Known("HostKeyAlias the-node", "the-node"),
    "by its name, which is not its alias": Known(
        "HostKeyAlias the-node", f"[{NODE}]:P", by_ssh="unknown", ours="unknown"
    ),
    "by a HostName": Known("HostName localhost", "[localhost]:P"),
    "by its name, which is not its HostName": Known(
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
        # What a person would run.
        place = () if "HostName" in case.setting else ("-o", "HostName=127.0.0.1")
        _, said = await by_ssh("-J", f"lena@127.0.0.1:{login.port}", *place, NODE)
        assert verdict(said) == case.by_ssh, said
        assert inner.how.users == ["ines"] * (case.by_ssh == "good")
        inner.how.users = []
        link = SshLink(f"lena@127.0.0.1:{login.port}", Person(), ssh=SSH)

        async def nodes() -> Sequence[Node]:
            return [Node(NODE, "IDLE", address="127.0.0.1", hostname="node1.invalid")]

        forwarder = HopForwarder(SshRunner(link), hosts=NodeHosts(SshRunner(link), nodes))
        try:
            if case.ours == "good":
                await (await forwarder.open(NODE, "/s")).close()
            else:
                with pytest.raises(VizdashError, match="host key of"):
                    await forwarder.open(NODE, "/s")
        finally:
            await link.close()
        assert inner.how.users == ["ines"] * (case.ours == "good")


async def test_a_viewer_that_does_not_read_holds_up_itself_alone(
    home: Path, key: asyncssh.SSHKey, tmp_path: Path
) -> None:
    """On the srun route all go over one pipe of the one connection."""

    def step(job_id: str, node: str, argv: Sequence[str]) -> tuple[str, ...]:
        return tuple(argv)

    async with sshd(Behaviour(keys=[key])) as login, Flood(tmp_path / "web") as server:
        login.known(home)
        link = SshLink(f"lena@127.0.0.1:{login.port}", Person(), ssh=SSH)
        runner = SshRunner(link)
        forwarder = StepForwarder(runner, step, lambda: link.current)
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
            # Whoever wakes up finds all that was sent meanwhile, and more.
            sent = server.sent
            assert len(await read_exactly(asleep, sent + 2 * WINDOW)) >= sent + 2 * WINDOW
        for writer in writers:
            writer.close()
        await listener.close()
        await forward.close()
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
