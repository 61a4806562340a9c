"""Unusual but valid ~/.ssh/config files: vizdash logs in as ssh(1) does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from tests.unit.transport.sshd import Behaviour, ScriptedUser, sshd
from tests.unit.transport.test_ssh_like_openssh import OTHER, by_ssh, public, write_key
from vizdash.errors import Refused, VizdashError
from vizdash.transport.base import Command
from vizdash.transport.ssh.connection import SshConnection
from vizdash.transport.ssh.runner import SshRunner

#: A ProxyCommand's program, in a folder with a blank in its name: proxy HOST PORT.
_PROXY = """#!/usr/bin/python3
import os, select, socket, sys
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
while True:
    for one in select.select([0, sock], [], [])[0]:
        data = os.read(one if one == 0 else one.fileno(), 65536)
        if not data:
            sys.exit()
        if one == 0:
            sock.sendall(data)
        else:
            os.write(1, data)
"""
#: One that makes the connection and hands it over (ssh_config(5), ProxyUseFdpass).
_HANDING = """#!/usr/bin/python3
import array, socket, sys
made = socket.create_connection((sys.argv[1], int(sys.argv[2])))
handle = array.array("i", [made.fileno()])
to = socket.socket(fileno=1)
to.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handle)])
"""
#: A KnownHostsCommand's program: prints the lines of a file that no other setting names.
_KNOWN = "#!/bin/sh\ncat HOME/printed\n"


@dataclass
class Odd:
    """``config`` has HOME for the home and P for the server's port; ``known`` are the lines of
    known_hosts, KEY being the server's (``[127.0.0.1]:P KEY``). ``users`` are the logins that the
    server sees, none where ssh does not get that far; ``code`` is whether ssh gets in.
    """

    config: str
    known: str = "[127.0.0.1]:P KEY"
    users: tuple[str, ...] = ("ines",)
    gets_in: bool = True


BASE = "Host inside\n HostName 127.0.0.1\n Port P\n User ines\n"
ODD = {
    "a Match exec with quotes": Odd(
        "Match originalhost inside exec \"test '%h' = inside -a '%p' = 22\"\n User exec\n" + BASE,
        users=("exec",),
    ),
    "a Match exec that fails": Odd('Match exec "exit 3"\n User nobody\n' + BASE),
    "a Match exec that prints": Odd('Match exec "echo noise; echo more >&2"\n User exec\n' + BASE,
                                    users=("exec",)),
    "includes in their order": Odd("Include HOME/conf.d/*.conf\n" + BASE, users=("first",)),
    "an include in a block of another host": Odd(
        "Host other\n Include HOME/conf.d/*.conf\n" + BASE
    ),
    "a block that an include began ends with it": Odd(
        "Include HOME/conf.d/20-other.conf\nUser after\n" + BASE, users=("after",)
    ),
    "an include that is not there": Odd("Include HOME/nowhere/*.conf\n" + BASE),
    "keywords and values of any shape": Odd(
        'HOST "inside"\n\tHOSTNAME=127.0.0.1\n  port = P\n  uSeR "ines"   # me\n'
    ),
    "lines that end as in DOS": Odd(BASE.replace("\n", "\r\n")),
    "the first value counts": Odd("Host *\n User first\n" + BASE, users=("first",)),
    "a negated pattern": Odd("Host ins* !inside\n User nobody\n" + BASE),
    "a negated match": Odd("Match !host other originalhost ins?de\n User match\n" + BASE,
                           users=("match",)),
    "a match by user": Odd(BASE + "Match user ines host 127.*\n HostKeyAlias the-one\n",
                           known="the-one KEY"),
    "a match by local user": Odd(f"Match localuser nobody-here\n User x\n{BASE}"),
    "a canonical name": Odd(
        "CanonicalizeHostname always\nCanonicalizeMaxDots 0\nCanonicalDomains invalid\n"
        + BASE + "Match canonical\n HostKeyAlias canon\n",
        known="canon KEY",
    ),
    "a final match": Odd(BASE + "Match final host 127.0.0.1\n HostKeyAlias last\n",
                         known="last KEY"),
    "unknown words that are ignored": Odd("IgnoreUnknown Frob*\nFrobnicate yes\n" + BASE),
    "unknown words": Odd("Frobnicate yes\n" + BASE, users=(), gets_in=False),
    "a command of its own": Odd(BASE + " RequestTTY force\n SendEnv LANG\n SetEnv A=b\n"),
    "a proxy with quotes": Odd(BASE + ' ProxyCommand "HOME/a proxy/px" \'%h\' "%p"\n'),
    "a proxy of several commands": Odd(
        BASE + " ProxyCommand sh -c \"echo >&2 on its way; exec 'HOME/a proxy/px' %h %p\"\n"
    ),
    "a proxy that its exec ends": Odd(
        BASE + " ProxyCommand echo >&2; 'HOME/a proxy/px' %h %p\n", users=(), gets_in=False
    ),
    "a proxy with a percent sign": Odd(
        BASE + " ProxyCommand sh -c 'test 5%% = 5%% && exec \"HOME/a proxy/px\" %h %p'\n"
    ),
    "a proxy that hands its connection over": Odd(
        BASE + " ProxyUseFdpass yes\n ProxyCommand 'HOME/a proxy/handing' %h %p\n"
    ),
    "a key in a file of revoked ones": Odd(
        BASE + " RevokedHostKeys HOME/revoked\n", users=(), gets_in=False
    ),
    "a file of other revoked keys": Odd(BASE + " RevokedHostKeys HOME/others\n"),
    "a name in capitals": Odd("Host INSIDE\n User no\n" + BASE.replace("127.0.0.1", "LOCALHOST"),
                              known="[localhost]:P KEY"),
    "a name with tokens": Odd(
        "Host inside\n HostName %%%h.invalid\n" + BASE, users=(), gets_in=False
    ),
    "keys by tokens": Odd(BASE + " IdentitiesOnly yes\n IdentityFile HOME/keys/%r@%h-%n\n"),
    "keys in a folder with a blank": Odd(
        BASE + ' IdentitiesOnly yes\n IdentityFile "HOME/more keys/%n"\n'
    ),
    "known_hosts in a folder with a blank": Odd(
        BASE + ' UserKnownHostsFile "HOME/more keys/known"\n', known=""
    ),
    "several known_hosts files": Odd(
        BASE + ' UserKnownHostsFile HOME/nowhere "HOME/more keys/known"\n', known=""
    ),
    "known_hosts by tokens": Odd(BASE + " UserKnownHostsFile HOME/keys/%n.known\n", known=""),
    "known_hosts of the system": Odd(
        BASE + ' UserKnownHostsFile none\n GlobalKnownHostsFile "HOME/more keys/known"\n', known=""
    ),
    "a command that knows hosts": Odd(BASE + " KnownHostsCommand HOME/known %H\n", known=""),
    "a host that is known by its address too": Odd(
        BASE.replace("127.0.0.1", "localhost") + " CheckHostIP yes\n",
        known="[localhost]:P KEY\n[127.0.0.1]:P KEY",
    ),
    "an address that was another's": Odd(
        BASE.replace("127.0.0.1", "localhost") + " CheckHostIP yes\n",
        known="[localhost]:P KEY\n[127.0.0.1]:P OTHER",
    ),
    "another family of addresses": Odd(BASE + " AddressFamily inet6\n", users=(), gets_in=False),
    "an address of ours": Odd(BASE + " BindAddress 127.0.0.2\n"),
    "no such address of ours": Odd(BASE + " BindAddress 192.0.2.1\n", users=(), gets_in=False),
    "algorithms by their signs": Odd(
        BASE + " Ciphers ^aes128-ctr\n MACs -umac*\n KexAlgorithms +diffie-hellman-group14-sha1\n"
        " HostKeyAlgorithms ^ssh-ed25519\n"
    ),
    "no key": Odd(BASE + " PubkeyAuthentication no\n", gets_in=False),
    "no agent": Odd(BASE + " IdentityAgent none\n"),
    "an agent that is not there": Odd(BASE + " IdentityAgent HOME/nowhere\n"),
    "an agent by a variable": Odd(BASE + " IdentityAgent $NO_SUCH_VARIABLE\n"),
    "a certificate that is not there": Odd(BASE + " CertificateFile HOME/keys/%h-cert.pub\n"),
    "another's user": Odd(BASE.replace("ines", "dom\\\\ines"), users=("dom\\ines",)),
    "compression": Odd(BASE + " Compression yes\n TCPKeepAlive no\n"),
    "several tries": Odd(BASE + " ConnectionAttempts 3\n ConnectTimeout 30\n"),
    "what only a terminal needs": Odd(
        BASE + " EscapeChar none\n VisualHostKey yes\n LogLevel QUIET\n StdinNull yes\n"
    ),
    "forwards": Odd(BASE + " LocalForward 127.0.0.1:P 127.0.0.1:9\n DynamicForward P\n"
                    " ExitOnForwardFailure no\n"),
    "X11 and agent": Odd(BASE + " ForwardX11 yes\n ForwardX11Trusted yes\n ForwardAgent yes\n"),
}  # fmt: skip


@pytest.fixture
def odd_home(home: Path, key: asyncssh.SSHKey, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that the configs name."""
    monkeypatch.delenv("DISPLAY", raising=False)
    known = _KNOWN.replace("HOME", str(home))
    for path, text in (("a proxy/px", _PROXY), ("a proxy/handing", _HANDING), ("known", known)):
        (home / path).parent.mkdir(exist_ok=True)
        (home / path).write_text(text)
        (home / path).chmod(0o755)
    (home / "conf.d").mkdir()
    for name, text in (
        ("10-first.conf", "Host ins*\n User first\n"),
        ("20-other.conf", "Host other\n User other\n"),
        ("30-last.conf", "Host *\n User last\n"),
    ):
        (home / "conf.d" / name).write_text(text)
    for name in ("keys/ines@127.0.0.1-inside", "more keys/inside"):
        (home / name).parent.mkdir(exist_ok=True)
        write_key(home / name, key)
    return home


async def by_vizdash() -> tuple[bool, str]:
    connection = SshConnection("inside", ScriptedUser([None] * 9), ssh="auto")
    try:
        output = (await SshRunner(connection).run(Command(("echo", "in")))).stdout
        return output == "in\n", output
    except VizdashError as e:
        return False, e.line
    finally:
        await connection.close()


async def test_revoked_keys_that_cannot_be_heeded_are_refused(
    odd_home: Path, key: asyncssh.SSHKey
) -> None:
    """The built-in SSH does not read such a file, and must not do without it."""
    how = Behaviour(keys=[key])
    async with sshd(how) as server:
        server.known(odd_home)
        text = BASE.replace("P\n", f"{server.port}\n") + f" RevokedHostKeys {odd_home}/revoked\n"
        (odd_home / ".ssh/config").write_text(text)
        (odd_home / "revoked").write_text(f"{public(server.host_key)}\n")
        connection = SshConnection("inside", ScriptedUser(), ssh="builtin")
        with pytest.raises(Refused, match=r"RevokedHostKeys .*`ssh: openssh` in the config"):
            await connection.connect(0)
        await connection.close()
    assert how.users == []


@pytest.mark.parametrize("name", ODD)
async def test_the_login_is_the_same(name: str, odd_home: Path, key: asyncssh.SSHKey) -> None:
    case, home = ODD[name], odd_home
    how = Behaviour(keys=[key])
    async with sshd(how) as server:

        def filled(text: str) -> str:
            # Ports first: a key's base64 may have a P between a + and a /.
            text = re.sub(r"\bP\b", str(server.port), text.replace("HOME", str(home)))
            return text.replace("KEY", public(server.host_key)).replace("OTHER", public(OTHER))

        named = filled("[127.0.0.1]:P KEY\n")
        for path in ("more keys/known", "keys/inside.known", "printed"):
            (home / path).write_text(named)
        (home / "revoked").write_text(f"{public(server.host_key)}\n")
        (home / "others").write_text(f"{public(OTHER)}\n")
        spare = f"Host *\n IdentityFile {home}/.ssh/id_ed25519\n"
        (home / ".ssh/config").write_bytes(filled(case.config + spare).encode())

        def write() -> None:
            (home / ".ssh/known_hosts").write_text(filled(case.known + "\n"))

        write()
        code, output = await by_ssh("inside")
        seen, how.users = how.users, []
        keys, how.offered = how.offered, []
        write()
        lets_in, ours = await by_vizdash()
    assert (seen, code == 0) == (list(case.users), case.gets_in), output
    assert (how.users, lets_in) == (seen, code == 0), (ours, output)
    assert how.offered == keys
    assert how.lent == []
