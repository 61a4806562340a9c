"""Logging in: keys, secrets, host keys, jump hosts, and the message of each failure."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.unit.transport.logins import at, echo, refusal
from tests.unit.transport.sshd import (
    Behaviour,
    LateUser,
    ScriptedUser,
    SlowUser,
    proxy_program,
    sshd,
)
from vizdash.errors import Refused, TimedOut, Unreachable
from vizdash.transport.ssh.connection import SshConnection

OTP = ("Second factor", (("Verification code: ", False),), ("424242",))
EMPTY: tuple[str, tuple[tuple[str, bool], ...], tuple[str, ...]] = ("", (), ())


def write_key(key: asyncssh.SSHKey, file: Path, **how: Any) -> None:
    """A private key with mode 0600: ssh ignores others."""
    key.write_private_key(str(file), **how)
    file.chmod(0o600)


async def test_a_password_is_asked_once(home: Path) -> None:
    how = Behaviour(password="right", banner="Authorised use only.\nMind the gap.\n")
    person = ScriptedUser([("right",)])
    async with sshd(how) as server:
        server.known(home)
        assert await echo(at(server), person) == "in\n"
    assert how.tried == ["right"]
    (prompt,) = person.asked
    assert prompt.lines == ("Authorised use only.", "Mind the gap.")
    assert [f.shown for f in prompt.fields] == [False]
    assert "right" not in repr(prompt)


async def test_a_wrong_password_is_asked_again_three_times_at_most(home: Path) -> None:
    how = Behaviour(password="right")
    person = ScriptedUser([("wrong",), ("wronger",), ("wrongest",), ("never sent",)])
    async with sshd(how) as server:
        server.known(home)
        error = await refusal(at(server), person)
    assert how.tried == ["wrong", "wronger", "wrongest"]
    assert isinstance(error, Refused)
    assert error.line == "login to 127.0.0.1: the password or code was refused (try again)"
    assert person.asked[1].lines == ("Refused. Try again.",)


async def test_a_code_in_rounds_with_an_empty_one(home: Path) -> None:
    how = Behaviour(rounds=[("Choose", (("Password: ", False),), ("pw",)), OTP, EMPTY])
    person = ScriptedUser([("pw",), ("424242",)])
    async with sshd(how) as server:
        server.known(home)
        assert await echo(at(server), person) == "in\n"
    assert how.tried == ["pw", "424242"]
    assert [p.fields[0].label for p in person.asked] == ["Password", "Verification code"]
    assert person.asked[1].lines == ("Second factor",)


async def test_a_refused_code_is_one_clear_line(home: Path) -> None:
    how = Behaviour(rounds=[OTP])
    person = ScriptedUser([("000000",), ("111111",), ("222222",)])
    async with sshd(how) as server:
        server.known(home)
        error = await refusal(at(server), person)
    assert how.tried == ["000000", "111111", "222222"]
    assert error.line == "login to 127.0.0.1: the password or code was refused (try again)"


async def test_giving_up_sends_nothing(home: Path) -> None:
    how = Behaviour(rounds=[OTP])
    async with sshd(how) as server:
        server.known(home)
        error = await refusal(at(server), ScriptedUser([None]))
    assert how.tried == []
    assert error.line == "login to 127.0.0.1: it was cancelled"


async def test_a_slow_typist_is_waited_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person = SlowUser([("right",)])
    person.patch(monkeypatch)
    async with sshd(Behaviour(password="right")) as server:
        server.known(home)
        assert await echo(at(server), person) == "in\n"


async def test_what_is_typed_while_the_server_hangs_up_is_not_asked_twice(home: Path) -> None:
    how = Behaviour(rounds=[OTP])
    person = LateUser([("424242",)], how=how)
    async with sshd(how) as server:
        server.known(home)
        assert await echo(at(server), person) == "in\n"
    assert how.tried == ["424242"]
    assert len(person.asked) == 1


# A round of the key derivation costs 13 ms of CPU, and these are as safe with one.
@pytest.mark.filterwarnings("ignore:Warning. bcrypt.kdf:UserWarning")
async def test_a_passphrase_is_asked_once_and_only_for_a_wanted_key(home: Path) -> None:
    made = asyncssh.generate_private_key("ssh-ed25519")
    write_key(made, home / ".ssh/id_ed25519", passphrase="open sesame", rounds=1)
    other = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    write_key(other, home / ".ssh/id_rsa", passphrase="another", rounds=1)
    person = ScriptedUser([("wrong",), ("open sesame",)])
    async with sshd(Behaviour(keys=[made])) as server:
        server.known(home)
        assert await echo(at(server), person) == "in\n"
    assert [p.fields[0].label for p in person.asked] == [
        f"passphrase of {home}/.ssh/id_ed25519"
    ] * 2
    assert person.asked[1].lines == ("Wrong passphrase. Try again.",)


async def test_no_key_fits(home: Path, key: asyncssh.SSHKey) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    async with sshd(Behaviour(keys=[other])) as server:
        server.known(home)
        error = await refusal(at(server))
    assert error.line == (
        "login to 127.0.0.1: none of your keys was accepted (does `ssh 127.0.0.1` work?)"
    )


async def test_a_key_that_is_too_short(home: Path) -> None:
    short = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    short.write_private_key(str(home / ".ssh/id_rsa"))
    (home / ".ssh/id_rsa").chmod(0o600)
    (home / ".ssh/config").write_text(f"RequiredRSASize 3072\nIdentityFile {home}/.ssh/id_rsa\n")
    how = Behaviour(keys=[short])
    async with sshd(how) as server:
        server.known(home)
        error = await refusal(at(server))
    assert error.line == (
        "login to 127.0.0.1: none of your keys was accepted; an RSA key of 2048 bits is not used: "
        "RequiredRSASize is 3072 (does `ssh 127.0.0.1` work?)"
    )


# ---------------------------------------------------------------- host keys


async def test_an_unknown_host_is_asked_about_once(home: Path, key: asyncssh.SSHKey) -> None:
    person = ScriptedUser([()])
    (home / ".ssh/known_hosts").write_text("# mine\nother.example ssh-ed25519 AAAA")
    async with sshd(Behaviour(keys=[key])) as server:
        assert await echo(at(server), person) == "in\n"
        assert await echo(at(server), person) == "in\n"
        print_ = server.host_key.get_fingerprint()
    (prompt,) = person.asked
    assert not prompt.fields
    assert f"ED25519 {print_}" in prompt.lines
    assert print_.startswith("SHA256:")
    lines = (home / ".ssh/known_hosts").read_text().splitlines()
    assert lines[:2] == ["# mine", "other.example ssh-ed25519 AAAA"]
    assert lines[2].startswith(f"[127.0.0.1]:{server.port} ssh-ed25519 ")


async def test_an_unknown_host_may_be_declined(home: Path, key: asyncssh.SSHKey) -> None:
    async with sshd(Behaviour(keys=[key])) as server:
        error = await refusal(at(server), ScriptedUser([None]))
    assert error.line == "host key of 127.0.0.1: it was not trusted"
    assert not (home / ".ssh/known_hosts").exists()
    assert server.how.logins == 0


@pytest.mark.parametrize("hashed", [False, True])
async def test_a_changed_host_key_is_refused_with_its_line(
    hashed: bool, home: Path, key: asyncssh.SSHKey
) -> None:
    person = ScriptedUser([()])
    async with sshd(Behaviour(keys=[key])) as server:
        server.known(home, name="elsewhere")
        server.known(home, key=asyncssh.generate_private_key("ssh-ed25519"))
        if hashed:
            argv = ("ssh-keygen", "-q", "-H", "-f", str(home / ".ssh/known_hosts"))
            process = await asyncio.create_subprocess_exec(*argv, stderr=asyncio.subprocess.PIPE)
            await process.communicate()
        error = await refusal(at(server), person)
    assert isinstance(error, Refused)
    assert error.what == "the host key of 127.0.0.1 has changed"
    assert f"not the one in {home}/.ssh/known_hosts:2" in error.why
    assert server.host_key.get_fingerprint() in error.why
    assert person.asked == []
    assert server.how.logins == 0


async def test_no_known_hosts_file_never_means_no_check(home: Path, key: asyncssh.SSHKey) -> None:
    """asyncssh takes `UserKnownHostsFile none` as: check nothing."""
    (home / ".ssh/config").write_text("Host *\n  UserKnownHostsFile none\n")
    async with sshd(Behaviour(keys=[key])) as server:
        error = await refusal(at(server), ScriptedUser([None]))
    assert error.line == "host key of 127.0.0.1: it was not trusted"


async def test_a_missing_known_hosts_file_is_an_empty_one(home: Path, key: asyncssh.SSHKey) -> None:
    (home / ".ssh/config").write_text(f"UserKnownHostsFile {home}/not-there {home}/nor-this\n")
    async with sshd(Behaviour(keys=[key])) as server:
        assert await echo(at(server), ScriptedUser([()])) == "in\n"
    assert "ssh-ed25519" in (home / "not-there").read_text()


# ---------------------------------------------------------------- ~/.ssh/config


async def test_the_config_gives_host_port_user_and_key(home: Path) -> None:
    made = asyncssh.generate_private_key("ssh-ed25519")
    write_key(made, home / "viz.key")
    async with sshd(Behaviour(keys=[made])) as server:
        server.known(home)
        (home / ".ssh/config").write_text(
            f"Match originalhost viz exec true\n  Hostname 127.0.0.1\n  Port {server.port}\n"
            f"  User lena\n  IdentityFile ~/viz.key\n  IdentityFile ~/.ssh/not-there\n"
        )
        assert await echo("viz", ScriptedUser()) == "in\n"


async def test_a_jump_host_is_logged_in_to_by_the_same_rules(
    home: Path, key: asyncssh.SSHKey
) -> None:
    inner = Behaviour(keys=[key])
    outer = Behaviour(rounds=[OTP])
    person = ScriptedUser([(), ("424242",)])
    async with sshd(inner) as target, sshd(outer) as jump:
        target.known(home)
        (home / ".ssh/config").write_text(
            f"Host inside\n  Hostname 127.0.0.1\n  Port {target.port}\n"
            f"  ProxyJump someone@127.0.0.1:{jump.port}\n"
        )
        assert await echo("lena@inside", person) == "in\n"
    assert (outer.logins, inner.logins) == (1, 1)
    assert [bool(p.fields) for p in person.asked] == [False, True]


async def test_a_proxy_command(home: Path, key: asyncssh.SSHKey) -> None:
    async with sshd(Behaviour(keys=[key])) as server:
        server.note(home, "viz-cluster")  # an alias never has a port
        script = home / "proxy.py"
        script.write_text(
            "import os, signal, time\n"
            "signal.signal(signal.SIGHUP, lambda *args: (time.sleep(1), os._exit(0)))\n"
            + proxy_program(server.port)
            + "signal.pause()\n"
        )
        (home / ".ssh/config").write_text(
            f"Host inside\n  HostKeyAlias viz-cluster\n  Port {server.port}\n"
            f"  ProxyCommand python3 {script}\n"
        )
        assert await echo("lena@inside", ScriptedUser()) == "in\n"
        # When the connection is closed, its proxy has ended: one that is slow to end, too.
        assert not [text for text in _command_lines() if str(script) in text]


def _command_lines() -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(file.read_text(errors="replace"))
    return found


async def test_the_configs_own_agent_holds_the_key(home: Path, key: asyncssh.SSHKey) -> None:
    """IdentityAgent, with a real ssh-agent and no private key on the disk."""
    socket_path, private = str(home / "agent"), home / ".ssh/id_ed25519"
    quiet = asyncio.subprocess.PIPE
    agent = await asyncio.create_subprocess_exec("ssh-agent", "-D", "-a", socket_path, stdout=quiet)
    try:
        environ = {**os.environ, "SSH_AUTH_SOCK": socket_path}
        async with asyncio.timeout(20):
            while True:  # its socket exists before it listens: 2 is "no agent"
                asking = await asyncio.create_subprocess_exec(
                    "ssh-add", "-l", env=environ, stdout=quiet, stderr=quiet
                )
                await asking.communicate()
                if asking.returncode != 2:
                    break
                await asyncio.sleep(0.02)
        private.chmod(0o600)
        add = await asyncio.create_subprocess_exec(
            "ssh-add", "-q", str(private), env=environ, stderr=quiet
        )
        _, output = await add.communicate()
        assert add.returncode == 0, output
        private.unlink()
        (home / ".ssh/config").write_text(f"Match host 127.*\n  IdentityAgent {socket_path}\n")
        async with sshd(Behaviour(keys=[key])) as server:
            server.known(home)
            assert await echo(at(server), ScriptedUser()) == "in\n"
    finally:
        agent.terminate()
        await agent.communicate()


async def test_a_bad_config_is_one_clear_line(home: Path) -> None:
    (home / ".ssh/config").write_text("Host *\n  Port many\n")
    error = await refusal("127.0.0.1")
    assert error.what == "settings of 127.0.0.1"
    assert "ssh -G refuses them with exit code 255" in error.why
    assert " line 2: " in error.why
    assert "terminating" not in error.why


# ---------------------------------------------------------------- unreachable hosts


async def test_no_such_host(home: Path) -> None:
    error = await refusal("no-such-host.invalid")
    assert error.line == ("no-such-host.invalid: unknown host name (check the spelling, and DNS)")


async def test_a_closed_port(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = await refusal(f"127.0.0.1:{taken.getsockname()[1]}")
    assert isinstance(error, Unreachable)
    assert error.why == "it refuses the connection"


async def test_no_route(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nowhere(*args: object, **kwargs: object) -> None:
        raise OSError(113, "No route to host")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", nowhere)
    error = await refusal("192.0.2.1")
    assert error.line == "192.0.2.1: no route to it (are you on the right network, or on the VPN?)"


async def test_a_host_that_says_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vizdash.transport.ssh.login_timeout.SILENT_LIMIT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = await refusal(f"127.0.0.1:{silent.getsockname()[1]}")
    assert isinstance(error, TimedOut)
    assert error.why == "it does not answer"


async def test_something_else_than_ssh(home: Path) -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hello, "127.0.0.1", 0)
    async with server:
        error = await refusal(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert isinstance(error, Unreachable)


async def test_a_failed_login_is_not_repeated(home: Path) -> None:
    """PerSourcePenalties (sshd_config(5)) would lock the address out."""
    how = Behaviour(password="right")
    connection = SshConnection("", ScriptedUser())
    async with sshd(how) as server:
        server.known(home)
        connection = SshConnection(at(server), ScriptedUser([None]))
        for _ in range(3):
            with pytest.raises(Refused, match="it was cancelled"):
                await connection.connect(0)
        person = ScriptedUser([("right",)])
        connection._prompter = person
        await connection.log_in()
        assert (await connection.connect(0)) is not None
        await connection.close()
    assert how.logins == 1
