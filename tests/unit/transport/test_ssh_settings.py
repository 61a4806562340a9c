"""The settings of a host: what ssh(1) accepts, vizdash accepts, with the same meaning."""

from __future__ import annotations

import os
import pwd
import shlex
from pathlib import Path

import asyncssh
import pytest

from tests.unit.transport.logins import echo
from tests.unit.transport.sshd import Behaviour, ScriptedUser, sshd
from vizdash.errors import Refused, VizdashError
from vizdash.transport.ssh.settings import HostSettings, Target, read_settings


async def settings(home: Path, text: str, target: str = "viz") -> HostSettings:
    (home / ".ssh/config").write_text(text)
    return await read_settings(Target.parse(target))


@pytest.mark.parametrize(
    ("text", "name", "wanted"),
    [
        ("Port 22022 # comment", "port", 22022),
        ("Host other\n # don't\nHost viz\n # don't\n Port 7", "port", 7),
        ('Match exec "test %n != other"\n Port 7', "port", 7),
        ('Match exec "test %n = other"\n Port 7', "port", 22),
        ("ServerAliveInterval 1m", "alive_interval_s", 60),
        ("Match final\n Port 7", "port", 7),
        ("HostName login.example.org\nMatch final host login.example.org\n Port 7", "port", 7),
        ("HostKeyAlias Viz-Cluster", "alias", "viz-cluster"),
        ("StrictHostKeyChecking off", "strict", "no"),
        ("StrictHostKeyChecking yes", "strict", "yes"),
        ("HostName %h.example.org", "host", "viz.example.org"),
        ("HostName Login.Example.org", "host", "login.example.org"),
        ("HostName FE80::1%%enP2p1s0", "host", "fe80::1%enP2p1s0"),
        ("ProxyCommand none", "proxy_command", ""),
        ("ProxyCommand ~/bin/px %h %p %r '%n' %%", "proxy_command", "~/bin/px viz 22 me 'viz' %"),
        ("ProxyJump none", "jumps", ""),
        ("ProxyJump a,me@b:44", "jumps", "a,me@b:44"),
        ("PasswordAuthentication no\nPreferredAuthentications password,publickey", "methods",
         ("publickey",)),
        ("UserKnownHostsFile /a /b", "user_known_hosts", (Path("/a"), Path("/b"))),
        ("UserKnownHostsFile none", "user_known_hosts", ()),
        ("IdentityFile none", "identity_files", ()),
        ("IdentityFile ${VIZ_KEYS}/%h-%r.key", "identity_files", (Path("/keys/viz-me.key"),)),
        ("IdentityAgent $VIZ_KEYS", "agent", "/keys"),
    ],
)  # fmt: skip
async def test_a_line_is_read_as_ssh_reads_it(
    text: str, name: str, wanted: object, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIZ_KEYS", "/keys")
    found = await settings(home, f"{text}\nMatch all\n User me\n")
    assert getattr(found, name) == wanted


async def test_includes_are_read_in_sorted_order(home: Path) -> None:
    folder = home / "config.d"
    folder.mkdir()
    for name, port in (("20", 20), ("10", 10), ("30", 30)):
        (folder / name).write_text(f"Port {port}\n")
    found = await settings(home, f"Include {folder}/*\n")
    assert found.port == 10


async def test_a_tilde_is_the_home_of_the_passwd_entry(home: Path) -> None:
    found = await settings(home, "IdentityFile ~/k\nIdentityFile %d/l\n")
    assert found.identity_files == (home / "k", home / "l")


async def test_an_unset_variable_is_one_clear_line(home: Path) -> None:
    with pytest.raises(Refused, match=r"settings of viz: \$\{NOT_THERE\} .* is not set"):
        await settings(home, "IdentityFile ${NOT_THERE}/k\n")


@pytest.mark.parametrize(
    "name", ["viz", "dom\\joe@viz", "a@b@viz", "::1", "fe80::1%lo", "[::1]:44"]
)
async def test_names_go_to_ssh_as_they_are(name: str, home: Path) -> None:
    found = await settings(home, "", name)
    assert found.host == Target.parse(name).host
    assert found.user == (Target.parse(name).user or pwd.getpwuid(os.getuid()).pw_name)


async def test_a_name_is_no_option(home: Path) -> None:
    """``--`` comes before it; ssh itself refuses such a name."""
    with pytest.raises(Refused, match="exit code 255"):
        await settings(home, "", "-oProxyCommand=touch")


async def test_without_ssh_the_subset_is_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = await settings(home, "Host viz\n Port 7 # mine\n")
    assert found.port == 7
    with pytest.raises(Refused) as caught:
        await settings(home, "Host viz\nMatch exec true\n Port 7\n")
    assert caught.value.line == (
        f"{home}/.ssh/config:2: match exec is not supported "
        "(vizdash reads it itself, since there is no ssh here: install OpenSSH's client)"
    )


# ---------------------------------------------------------------------- in a login


PROXY = """#!/usr/bin/env python3
import os, socket, sys, threading
os.write(2, b"px: connecting\\n" * 50)
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def up():
    while d := os.read(0, 65536): s.sendall(d)
threading.Thread(target=up, daemon=True).start()
while d := s.recv(65536):
    os.write(1, d)
    os.write(2, b"px: noise\\n")
"""


async def test_a_proxy_command_has_a_shell_and_its_stderr_stays_out(
    home: Path, key: asyncssh.SSHKey
) -> None:
    script = home / "bin/px"
    script.write_text(PROXY)
    script.chmod(0o755)
    async with sshd(Behaviour(keys=[key])) as server:
        server.note(home, "viz")
        (home / ".ssh/config").write_text(
            f"Host viz\n  HostName 127.0.0.1\n  HostKeyAlias viz\n  Port {server.port}\n"
            f'  ProxyCommand "$HOME"/bin/px %h $((%p + 0)) 2>/dev/null\n'
        )
        assert await echo("lena@viz") == "in\n"
        (home / ".ssh/config").write_text(
            f"Host viz\n  HostName 127.0.0.1\n  HostKeyAlias viz\n  Port {server.port}\n"
            f"  ProxyCommand ~/bin/px %h %p\n"
        )
        assert await echo("lena@viz") == "in\n"


async def test_the_words_of_a_proxy_that_fails(home: Path) -> None:
    text = "ProxyCommand echo the proxy is closed on Sundays >&2; exit 3\n"
    (home / ".ssh/config").write_text(text)
    with pytest.raises(VizdashError) as caught:
        await echo("lena@viz")
    assert str(caught.value) == "viz: its ProxyCommand has ended: the proxy is closed on Sundays"


async def test_jump_hosts_in_a_circle_are_one_clear_line(home: Path) -> None:
    """Not for real ssh, which would start itself without end."""
    (home / ".ssh/config").write_text(
        "Host a\n ProxyJump b\nHost b\n ProxyJump c\nHost c\n ProxyJump a\n"
        "Host self\n ProxyJump self\n"
    )
    with pytest.raises(Refused) as caught:
        await echo("a")
    assert caught.value.line == (
        "a: its jump hosts lead in a circle: a → b → c → a (check ProxyJump in ~/.ssh/config)"
    )
    with pytest.raises(Refused, match="jumphost loop via self"):  # ssh's own word
        await echo("self")


async def test_too_many_keys_are_not_offered_before_the_named_one(home: Path) -> None:
    """A server hangs up after six: the agent's others come after those of IdentityFile."""
    from tests.unit.transport.test_ssh_like_openssh import agent_with, write_key

    files = []
    for number in range(8):
        made = asyncssh.generate_private_key("ssh-ed25519")
        files.append(home / f"agent-{number}")
        write_key(files[-1], made)
    wanted = asyncssh.read_private_key(str(files[-1]))
    how = Behaviour(keys=[wanted])
    (home / ".ssh/config").write_text(f"IdentityFile {files[-1]}\n")
    async with sshd(how) as server, agent_with(home, *files):
        server.known(home)
        assert await echo(f"lena@127.0.0.1:{server.port}") == "in\n"
    assert how.offered == [wanted.get_fingerprint()]


async def test_a_missing_certificate_is_skipped(home: Path, key: asyncssh.SSHKey) -> None:
    (home / ".ssh/config").write_text(f"CertificateFile {home}/nowhere-cert.pub\n")
    async with sshd(Behaviour(keys=[key])) as server:
        server.known(home)
        assert await echo(f"lena@127.0.0.1:{server.port}") == "in\n"


async def test_an_old_encrypted_key_without_its_public_part(home: Path) -> None:
    """PEM does not say it: the passphrase comes first, as with ssh."""
    made = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    file = home / ".ssh/id_rsa"
    made.write_private_key(str(file), "pkcs1-pem", passphrase="sesame")
    file.chmod(0o600)
    person = ScriptedUser([("sesame",)])
    async with sshd(Behaviour(keys=[made])) as server:
        server.known(home)
        assert await echo(f"lena@127.0.0.1:{server.port}", person) == "in\n"
    assert len(person.asked) == 1


async def test_ssh_is_in_the_log_of_commands(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[str, str]] = []
    monkeypatch.setattr(
        "vizdash.util.command_log.record",
        lambda argv, outcome, took_s: logged.append((shlex.join(argv), outcome)),
    )
    await settings(home, "Port 7")
    with pytest.raises(Refused):
        await settings(home, "NoSuchKeyword yes")
    ((first, code), (_, refused)) = logged
    assert first.endswith("ssh -T -G -- viz") and code == "exit 0"
    assert refused == "exit 255"
