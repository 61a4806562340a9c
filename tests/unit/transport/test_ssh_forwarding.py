"""Nothing of this machine is handed to the login host, whatever ssh_config(5) asks for."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest

from tests.unit.transport.sshd import Behaviour, Person, sshd
from vizdash.transport.base import Command
from vizdash.transport.ssh.link import SshLink
from vizdash.transport.ssh.runner import SshRunner


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
        link = SshLink(f"lena@127.0.0.1:{server.port}", Person())
        await SshRunner(link).run(Command(("true",)))
        await link.close()
    assert how.ran
    assert how.lent == []
