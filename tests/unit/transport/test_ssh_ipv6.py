"""Hosts and jump hosts named by an IPv6 address: what ssh(1) accepts, and its known_hosts lines."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import asyncssh
import pytest

from tests.unit.transport.logins import echo, refusal
from tests.unit.transport.sshd import Behaviour, ScriptedUser, sshd
from vizdash.config.readers import HOST
from vizdash.transport.openssh.messages import login_failure

Ssh = Literal["builtin", "openssh"]


async def test_its_key_is_asked_about_and_kept_with_the_port(
    home: Path, key: asyncssh.SSHKey, transport: Ssh
) -> None:
    async with sshd(Behaviour(keys=[key]), address="::1") as server:
        host = f"lena@[::1]:{server.port}"
        assert HOST.fullmatch(host)
        person = ScriptedUser([()])
        assert await echo(host, person, transport) == "in\n"
        (asked,) = person.asked
        assert any(server.host_key.get_fingerprint() in line for line in asked.lines)
        (line,) = (home / ".ssh/known_hosts").read_text().splitlines()
        assert line.startswith(f"[::1]:{server.port} ssh-ed25519 ")
        assert await echo(host, ScriptedUser(), transport) == "in\n"


@pytest.mark.parametrize("host", ["::1", "lena@::1"])
async def test_a_bare_address_has_the_settings_of_its_block(
    host: str, home: Path, key: asyncssh.SSHKey, transport: Ssh
) -> None:
    how = Behaviour(keys=[key])
    async with sshd(how, address="::1") as server:
        server.known(home)
        (home / ".ssh/config").write_text(f"Host ::1\n Port {server.port}\n User lena\n")
        assert HOST.fullmatch(host)
        assert await echo(host, ScriptedUser(), transport) == "in\n"
    assert how.users == ["lena"]


async def test_a_changed_key_is_refused(home: Path, key: asyncssh.SSHKey, transport: Ssh) -> None:
    async with sshd(Behaviour(keys=[key]), address="::1") as server:
        server.known(home, key=asyncssh.generate_private_key("ssh-ed25519"))
        error = await refusal(f"lena@[::1]:{server.port}", ScriptedUser(), transport)
    assert error.what == "the host key of ::1 has changed"
    assert f"{home}/.ssh/known_hosts:1" in error.why


@pytest.mark.parametrize("jump", ["anna@[::1]:PORT", "b,anna@[::1]:PORT"])
async def test_a_jump_through_one_to_another(
    jump: str, home: Path, key: asyncssh.SSHKey, transport: Ssh
) -> None:
    hows = [Behaviour(keys=[key]) for _ in range(3)]
    async with (
        sshd(hows[0], address="::1") as target,
        sshd(hows[1], address="::1") as through,
        sshd(hows[2]) as first,
    ):
        for server in (target, through, first):
            server.known(home)
        # The jump host has the target's name: by name alone, ssh would reach it through itself.
        (home / ".ssh/config").write_text(
            f"Host b\n HostName 127.0.0.1\n Port {first.port}\n User bo\n"
            "Match originalhost ::1 user lena\n"
            f" ProxyJump {jump.replace('PORT', str(through.port))}\n"
        )
        host = f"lena@[::1]:{target.port}"
        assert await echo(host, ScriptedUser(), transport) == "in\n"
    users = [["lena"], ["anna"], ["bo"] if "b," in jump else []]
    assert [how.users for how in hows] == users


@pytest.mark.parametrize("hashed", ["yes", "no"])
async def test_without_ssh(
    hashed: str, home: Path, key: asyncssh.SSHKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host, its jump host and both lines of known_hosts are read by vizdash itself."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    hows = [Behaviour(keys=[key]) for _ in range(2)]
    async with sshd(hows[0], address="::1") as target, sshd(hows[1], address="::1") as through:
        (home / ".ssh/config").write_text(
            f"Host ::1\n User lena\n Port {target.port}\n HashKnownHosts {hashed}\n"
            f" ProxyJump anna@[0:0:0:0:0:0:0:1]:{through.port}\n"
            f"Host *\n IdentityFile {home}/.ssh/id_ed25519\n HashKnownHosts {hashed}\n"
        )
        person = ScriptedUser([(), ()])
        assert await echo("::1", person) == "in\n"
        assert len(person.asked) == 2
        lines = (home / ".ssh/known_hosts").read_text().splitlines()
        if hashed == "no":
            names = [line.split()[0] for line in lines]
            assert names == [f"[::1]:{through.port}", f"[::1]:{target.port}"]
        assert await echo("::1", ScriptedUser()) == "in\n"
    assert set(hows[0].users) == {"lena"}
    assert set(hows[1].users) == {"anna"}


def test_an_address_whose_zone_is_no_interface() -> None:
    line = "ssh: Could not resolve hostname fe80::1%odd: Name or service not known"
    assert login_failure([line], "viz", typed=False).what == "fe80::1%odd"
