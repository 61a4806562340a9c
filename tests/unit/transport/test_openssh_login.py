"""Logging in by ssh(1): host keys, jump hosts, proxies, and failures as one line."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import asyncssh
import pytest

from tests.unit.transport.logins import OTP, at, echo_by_openssh, refusal_by_openssh
from tests.unit.transport.sshd import Behaviour, ScriptedUser, proxy_program, sshd
from vizdash.errors import Refused, TimedOut
from vizdash.transport.openssh.messages import login_failure

PATIENCE = "vizdash.transport.ssh.login_timeout"
pytestmark = pytest.mark.usefixtures("openssh_key")


async def test_an_unknown_host_key_is_asked_about_and_added(
    home: Path, key: asyncssh.SSHKey
) -> None:
    async with sshd(Behaviour(keys=[key])) as server:
        person = ScriptedUser([()])
        assert await echo_by_openssh(at(server), person) == "in\n"
        (asked,) = person.asked
        assert asked.title == f"[127.0.0.1]:{server.port} is unknown"
        assert f"ED25519 {server.host_key.get_fingerprint()}" in asked.lines
        assert (asked.yes, asked.fields) == ("trust it", ())
        assert await echo_by_openssh(at(server), ScriptedUser()) == "in\n"


async def test_a_host_key_that_is_not_trusted(home: Path, key: asyncssh.SSHKey) -> None:
    how = Behaviour(keys=[key])
    async with sshd(how) as server:
        error = await refusal_by_openssh(at(server), None)
    assert error.line == "host key of 127.0.0.1: it was not trusted"
    assert how.logins == 0
    assert not (home / ".ssh/known_hosts").exists()


async def test_a_changed_host_key_is_refused_with_its_line(
    home: Path, key: asyncssh.SSHKey
) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    async with sshd(Behaviour(keys=[key])) as server:
        server.known(home, key=other)
        error = await refusal_by_openssh(at(server))
        assert error.what == "the host key of 127.0.0.1 has changed"
        assert f"ED25519 {server.host_key.get_fingerprint()}" in error.why
        assert f"{home}/.ssh/known_hosts:1" in error.why


@pytest.mark.parametrize("strict", ["ask", "no"])
async def test_a_revoked_host_key_is_refused(home: Path, key: asyncssh.SSHKey, strict: str) -> None:
    (home / ".ssh/config").write_text(f"StrictHostKeyChecking {strict}\n")
    how = Behaviour(keys=[key])
    async with sshd(how) as server:
        server.note(home, f"@revoked [127.0.0.1]:{server.port}")
        error = await refusal_by_openssh(at(server))
    assert (error.what, error.why) == ("host key of 127.0.0.1", "it is revoked")


async def test_strict_host_key_checking_asks_nobody(home: Path, key: asyncssh.SSHKey) -> None:
    (home / ".ssh/config").write_text("StrictHostKeyChecking yes\n")
    async with sshd(Behaviour(keys=[key])) as server:
        error = await refusal_by_openssh(at(server))
    assert "it is not known" in error.why
    assert f"it shows ssh-ed25519 {server.host_key.get_fingerprint()}" in error.why


async def test_a_file_of_revoked_keys_that_cannot_be_read(home: Path, key: asyncssh.SSHKey) -> None:
    (home / ".ssh/config").write_text("RevokedHostKeys /nowhere/revoked\n")
    async with sshd(Behaviour(keys=[key])) as server:
        server.known(home)
        error = await refusal_by_openssh(at(server))
    why = "ssh cannot read its revoked keys file /nowhere/revoked: No such file or directory"
    assert (error.what, error.why) == ("host key of 127.0.0.1", why)


async def test_an_address_that_is_not_of_this_computer(home: Path, key: asyncssh.SSHKey) -> None:
    (home / ".ssh/config").write_text("BindAddress 203.0.113.7\n")
    async with sshd(Behaviour(keys=[key])) as server:
        error = await refusal_by_openssh(at(server))
    assert error.why == "bind 203.0.113.7: Cannot assign requested address"


async def test_a_host_key_that_is_too_short(home: Path, key: asyncssh.SSHKey) -> None:
    (home / ".ssh/config").write_text("RequiredRSASize 3072\n")
    how = Behaviour(keys=[key])
    async with sshd(how, asyncssh.generate_private_key("ssh-rsa", key_size=2048)) as server:
        server.known(home)
        error = await refusal_by_openssh(at(server))
    assert (error.what, how.logins) == ("host key of 127.0.0.1", 0)
    assert error.why == "ssh refuses it: Invalid key length (RequiredRSASize)"


async def test_a_jump_host_by_user_and_port_each_with_its_question(
    home: Path, key: asyncssh.SSHKey
) -> None:
    inner, outer = Behaviour(password="inner"), Behaviour(rounds=[OTP])
    person = ScriptedUser([("424242",), ("inner",)])
    async with sshd(inner) as target, sshd(outer) as jump:
        target.known(home, "localhost")
        jump.known(home)
        (home / ".ssh/config").write_text(
            f"Host inside\n  HostName localhost\n  Port {target.port}\n"
            f"  ProxyJump someone@127.0.0.1:{jump.port}\n"
        )
        assert await echo_by_openssh("lena@inside", person) == "in\n"
    assert (outer.users[-1], inner.users[-1]) == ("someone", "lena")
    assert [p.title for p in person.asked] == ["Log in to 127.0.0.1", "Log in to localhost"]


async def test_a_proxy_command_with_a_shell(home: Path, key: asyncssh.SSHKey) -> None:
    async with sshd(Behaviour(keys=[key])) as server:
        server.note(home, "viz-cluster")
        script = home / "proxy.py"
        script.write_text(proxy_program(server.port))
        (home / ".ssh/config").write_text(
            f"Host inside\n  HostKeyAlias viz-cluster\n"
            f'  ProxyCommand {sys.executable} "$HOME/proxy.py" 2>$HOME/noise\n'
        )
        assert await echo_by_openssh("lena@inside", ScriptedUser()) == "in\n"
        assert (home / "noise").exists()
    # In a separate shell: ssh hangs up on a proxy as soon as it closes its stdout, which
    # `exec echo >&2` does before it says a word.
    proxy = "sh -c 'echo no such door >&2'"
    (home / ".ssh/config").write_text(f"Host inside\n  ProxyCommand {proxy}\n")
    assert "its ProxyCommand has ended: no such door" in (await refusal_by_openssh("inside")).line
    # It may have ended before ssh has written its first line.
    ended = ["no such door", "banner exchange: Connection to UNKNOWN port 65535: Broken pipe"]
    assert (
        login_failure(ended, "inside", typed=False).why
        == "its ProxyCommand has ended: no such door"
    )


async def test_jump_hosts_in_a_circle_never_reach_ssh(home: Path) -> None:
    (home / ".ssh/config").write_text("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n")
    assert "its jump hosts lead in a circle: a → b → a" in (await refusal_by_openssh("a")).line


async def test_nothing_is_forwarded_whatever_the_file_says(
    home: Path, key: asyncssh.SSHKey
) -> None:
    """Nor run: a RemoteCommand, a LocalCommand, forwards, a terminal."""
    (home / ".ssh/config").write_text(
        "RequestTTY force\nRemoteCommand echo no\nPermitLocalCommand yes\n"
        f"LocalCommand touch {home}/ran\nLocalForward {home}/l localhost:1\n"
        "ControlPersist 600\nControlMaster auto\nLogLevel QUIET\nBatchMode no\n"
    )
    async with sshd(Behaviour(keys=[key])) as server:
        server.known(home)
        assert await echo_by_openssh(at(server), ScriptedUser()) == "in\n"
    assert not (home / "ran").exists()
    assert not (home / "l").exists()


async def test_no_such_host(home: Path) -> None:
    error = await refusal_by_openssh("no-such-host.invalid")
    assert "unknown host name (check the spelling, and DNS)" in error.line


async def test_a_closed_port(home: Path) -> None:
    assert (await refusal_by_openssh("127.0.0.1:1")).why == "it refuses the connection"


async def test_no_key_is_accepted(home: Path, key: asyncssh.SSHKey) -> None:
    async with sshd(Behaviour(keys=[asyncssh.generate_private_key("ssh-ed25519")])) as server:
        server.known(home)
        error = await refusal_by_openssh(at(server))
    assert isinstance(error, Refused)
    assert error.why == "none of your keys or tickets was accepted (it takes publickey)"


async def test_a_host_that_says_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{PATIENCE}.SILENT_LIMIT_S", 1.0)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        error = await refusal_by_openssh(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert isinstance(error, TimedOut)
    assert error.why == "it does not answer"


async def test_bad_settings_are_one_line(home: Path) -> None:
    (home / ".ssh/config").write_text("Port many\n")
    assert "ssh -G refuses them" in (await refusal_by_openssh("127.0.0.1")).why
