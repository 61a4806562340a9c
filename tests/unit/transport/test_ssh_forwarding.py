"""Nothing of this machine is forwarded to the login host, whatever ssh_config(5) asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import asyncssh
import pytest

from tests.unit.transport.sshd import Behaviour, ScriptedUser, sshd
from tests.unit.transport.test_ssh_like_openssh import agent_with
from vizdash.transport.base import Command
from vizdash.transport.ssh.connection import SshConnection
from vizdash.transport.ssh.runner import SshRunner

SSH: Literal["builtin", "openssh"] = "builtin"


@pytest.fixture(autouse=True)
def _both(transport: Literal["builtin", "openssh"], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test over both transports."""
    monkeypatch.setitem(globals(), "SSH", transport)


async def test_no_screen_and_no_agent_are_forwarded(
    home: Path, key: asyncssh.SSHKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RHEL's and Fedora's stock file has ``ForwardX11Trusted yes``, which asyncssh takes for
    ForwardX11.
    """
    monkeypatch.setenv("DISPLAY", ":0")
    (home / ".ssh/config").write_text("ForwardX11 yes\nForwardX11Trusted yes\nForwardAgent yes\n")
    how = Behaviour(keys=[key])
    async with sshd(how) as server:
        server.known(home)
        connection = SshConnection(f"lena@127.0.0.1:{server.port}", ScriptedUser(), ssh=SSH)
        await SshRunner(connection).run(Command(("true",)))
        await connection.close()
    assert how.ran
    assert how.lent == []


async def test_an_agent_is_forwarded_where_the_config_requires_it(
    home: Path, key: asyncssh.SSHKey
) -> None:
    """And to the host itself alone, not to those on the way."""
    outer, inner = Behaviour(keys=[key]), Behaviour(keys=[key])
    async with agent_with(home), sshd(outer) as jump, sshd(inner) as target:
        jump.known(home)
        target.known(home)
        (home / ".ssh/config").write_text(
            f"Host viz\n HostName 127.0.0.1\n Port {target.port}\n"
            f" ProxyJump lena@127.0.0.1:{jump.port}\n"
        )
        connection = SshConnection("lena@viz", ScriptedUser(), forward_agent=True, ssh=SSH)
        await SshRunner(connection).run(Command(("true",)))
        await connection.close()
    assert inner.lent
    assert outer.lent == []
