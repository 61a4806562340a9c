"""What ssh(1) prints when it cannot reach a node: each case with the real ssh."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

import asyncssh
import pytest

from tests.unit.transport.sshd import Behaviour, Sshd, sshd
from vizdash.errors import LoginRefused, Unreachable
from vizdash.transport.forwarders import SSH_OPTIONS
from vizdash.transport.node_ssh import node_ssh_error

OTHER = asyncssh.generate_private_key("ssh-ed25519")


async def said_by_ssh(*words: str) -> str:
    """Real ssh's stderr, with the options that a tunnel has."""
    options = [word for option in SSH_OPTIONS for word in ("-o", option)]
    process = await asyncio.create_subprocess_exec(
        "ssh", "-T", *options, *words, "true",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    _, stderr = await process.communicate()
    assert process.returncode == 255, stderr
    return stderr.decode()


async def error_at(server: Sshd) -> Unreachable:
    output = await said_by_ssh("-p", str(server.port), "lena@127.0.0.1")
    return node_ssh_error("n1", "n1", output, where="login")


async def test_an_unknown_key(home: Path, key: asyncssh.SSHKey) -> None:
    async with sshd(Behaviour(keys=[key])) as server:
        error = await error_at(server)
    assert error.line == (
        "n1: its host key is in neither ~/.ssh/known_hosts nor /etc/ssh/ssh_known_hosts on login "
        "(run `ssh n1` on login once and compare the fingerprint)"
    )


async def test_a_changed_key(home: Path, key: asyncssh.SSHKey) -> None:
    async with sshd(Behaviour(keys=[key])) as server:
        (home / ".ssh/known_hosts").write_text("# mine\n")
        server.known(home, key=OTHER)
        error = await error_at(server)
    assert error.line == (
        f"n1: its host key is not the one in {home}/.ssh/known_hosts:2 on login "
        "(ask its administrators; if the new key is right, remove that line)"
    )


async def test_a_revoked_key(home: Path, key: asyncssh.SSHKey) -> None:
    async with sshd(Behaviour(keys=[key])) as server:
        server.note(home, f"@revoked [127.0.0.1]:{server.port}")
        error = await error_at(server)
    assert error.line == "n1: its host key is revoked on login (ask its administrators)"


async def test_a_refused_login(home: Path, key: asyncssh.SSHKey) -> None:
    """It says which methods the server would take."""
    async with sshd(Behaviour(keys=[OTHER])) as server:
        server.known(home)
        error = await error_at(server)
    assert isinstance(error, LoginRefused)
    assert error.line == (
        "n1: lena@127.0.0.1: Permission denied (publickey). (does `ssh n1` on login work for you?)"
    )


async def _silent(words: Sequence[str]) -> Unreachable:
    return node_ssh_error("n1", "n1", await said_by_ssh(*words))


async def test_a_refused_connection(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        error = await _silent(("-p", str(port), "127.0.0.1"))
    assert not isinstance(error, LoginRefused)
    assert error.line == (
        f"n1: ssh: connect to host 127.0.0.1 port {port}: Connection refused "
        "(does `ssh n1` work for you?)"
    )


async def test_no_route(home: Path) -> None:
    """TCP has no route to a broadcast address, on any host."""
    error = await _silent(("255.255.255.255",))
    assert error.why == "ssh: connect to host 255.255.255.255 port 22: Network is unreachable"


async def test_a_name_that_does_not_resolve(home: Path) -> None:
    error = await _silent(("no-such-host.invalid",))
    assert error.why.startswith("ssh: Could not resolve hostname no-such-host.invalid: ")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Host *\n  Prot 22\n", "line 2: Bad configuration option: prot"),
        ("Host *\n  Port many\n", "line 2: Bad port 'many'."),
    ],
)
async def test_a_bad_line_of_its_config(text: str, why: str, home: Path) -> None:
    (home / ".ssh/config").write_text(text)
    error = await _silent(("n1",))
    assert why in error.why
    assert "terminating" not in error.why


def test_ssh_that_says_nothing() -> None:
    line = "n1: ssh ended without a message (does `ssh n1` on login work for you?)"
    assert node_ssh_error("n1", "n1", "", where="login").line == line
