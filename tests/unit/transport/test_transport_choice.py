"""Which client logs in, the built-in one or ssh(1), and the reason that is shown."""

from __future__ import annotations

import base64
from pathlib import Path

import asyncssh
import pytest

from tests.unit.transport.logins import at
from tests.unit.transport.sshd import Behaviour, ScriptedUser, sshd
from vizdash.errors import Refused, VizdashError
from vizdash.transport.base import Command
from vizdash.transport.ssh.connection import SshConnection
from vizdash.transport.ssh.runner import SshRunner
from vizdash.transport.ssh.settings import Target
from vizdash.transport.ssh.transport_choice import choose_transport

pytestmark = pytest.mark.usefixtures("openssh_key")


async def via(host: str) -> str:
    connection = SshConnection(host, ScriptedUser(), ssh="auto")
    try:
        await SshRunner(connection).run(Command(("true",)))
    finally:
        await connection.close()
    return connection.status.via


def klist(home: Path, code: int) -> None:
    """There is a Kerberos ticket, or none."""
    (home / "bin/klist").write_text(f"#!/bin/sh\nexit {code}\n")
    (home / "bin/klist").chmod(0o755)


async def test_a_ticket_is_for_openssh_where_the_server_takes_it(
    home: Path, key: asyncssh.SSHKey
) -> None:
    config = home / ".ssh/config"
    async with (
        sshd(Behaviour(keys=[key], kerberos=True)) as server,
        sshd(Behaviour(keys=[key])) as other,
    ):
        server.known(home)
        other.known(home)
        config.write_text("GSSAPIAuthentication yes\n")
        klist(home, 0)
        kerberos = "by OpenSSH: it takes your Kerberos ticket (GSSAPIAuthentication)"
        assert await via(at(server)) == kerberos
        assert (
            await via(at(other))
            == "by the built-in SSH: nothing in your ssh settings needs OpenSSH"
        )
        klist(home, 1)
        assert (await via(at(server))).startswith("by the built-in SSH")
        klist(home, 0)
        config.write_text("GSSAPIAuthentication no\n")
        assert (await via(at(server))).startswith("by the built-in SSH")


async def test_without_a_ticket_it_says_how_to_get_one(home: Path) -> None:
    (home / ".ssh/config").write_text("GSSAPIAuthentication yes\n")
    async with sshd(Behaviour(keys=[], kerberos=True)) as server:
        server.known(home)
        with pytest.raises(Refused, match="run `kinit` for a ticket"):
            await via(at(server))


@pytest.mark.parametrize(
    "line",
    [
        "PKCS11Provider /usr/lib/p11.so",
        "KnownHostsCommand /bin/cat x",
        "VerifyHostKeyDNS yes",
        "RevokedHostKeys /etc/ssh/revoked",
    ],
)
@pytest.mark.parametrize("host", ["viz", "jump"])
async def test_settings_that_only_ssh_has(home: Path, line: str, host: str) -> None:
    """Of the host itself, or of one on the way."""
    (home / ".ssh/config").write_text(f"Host viz\n  ProxyJump jump\nHost {host}\n  {line}\n")
    choice = await choose_transport(Target("viz"), "auto")
    assert choice.description == f"by OpenSSH: {line} in the settings of {host}"
    assert not (await choose_transport(Target("viz"), "builtin")).openssh


async def test_a_fido_key_without_an_agent(
    home: Path, key: asyncssh.SSHKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose touch ssh alone can wait for; with an agent that holds it, it is a key like others."""
    name = "sk-ssh-ed25519@openssh.com"
    blob = b"".join(
        len(part).to_bytes(4, "big") + part for part in (name.encode(), bytes(32), b"ssh:")
    )
    public = home / ".ssh/id_ed25519_sk.pub"
    public.write_text(f"{name} {base64.b64encode(blob).decode()} lena\n")
    file = public.with_suffix("")
    (home / ".ssh/config").write_text(f"IdentityFile {file}\n")
    choice = await choose_transport(Target("viz"), "auto")
    assert choice.description == f"by OpenSSH: {file} is a FIDO key, and no agent holds it"

    async def held(agent: str) -> set[bytes]:
        return {blob}

    monkeypatch.setattr("vizdash.transport.ssh.transport_choice._agent_keys", held)
    assert not (await choose_transport(Target("viz"), "auto")).openssh


async def test_no_common_cipher_is_for_openssh(home: Path, key: asyncssh.SSHKey) -> None:
    """asyncssh lacks what is asked for."""
    (home / ".ssh/config").write_text("KexAlgorithms sntrup761x25519-sha512@openssh.com\n")
    connection = SshConnection("viz", ScriptedUser(), ssh="auto")
    with pytest.raises(VizdashError):
        await connection.connect(0)
    assert connection.status.via.startswith(
        "by OpenSSH: kexalgorithms leaves none that vizdash has"
    )
    await connection.close()
