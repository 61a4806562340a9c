"""The same server and the same files: vizdash does what ssh(1) does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.unit.transport.sshd import Behaviour, ScriptedUser, sshd
from vizdash.errors import VizdashError
from vizdash.transport import child
from vizdash.transport.base import Command
from vizdash.transport.ssh.connection import SshConnection
from vizdash.transport.ssh.runner import SshRunner

ED, OTHER, CA, ROGUE = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(4))
RSA = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
SHORT = asyncssh.generate_private_key("ssh-rsa", key_size=1024)
#: Seconds of CPU that an ssh may take.
_CPU_S = 60


def public(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key("openssh").decode().split()[:2])


async def by_ssh(*argv: str) -> tuple[int, str]:
    """ssh's exit code and output, without questions. What it starts for its hops ends with it."""
    process = await child.start(
        "prlimit", f"--cpu={_CPU_S}", "ssh", "-T", "-o", "BatchMode=yes", *argv, "echo in",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(300):
            reading = asyncio.create_task(process.communicate())
            code = await process.wait()
    finally:
        # The ssh of a jump host may outlive it, and holds its stderr open.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    stdout, stderr = await reading
    await process.close()
    return code, (stdout + stderr).decode()


async def by_vizdash(host: str, *answers: tuple[str, ...] | None) -> str:
    """What a command prints, or the error's line."""
    connection = SshConnection(host, ScriptedUser([*answers, *[None] * 9]))
    try:
        return (await SshRunner(connection).run(Command(("echo", "in")))).stdout
    except VizdashError as e:
        return e.line
    finally:
        await connection.close()


def verdict(output: str) -> str:
    """good, changed, revoked, short or unknown, from ssh's words or vizdash's."""
    if re.search(r"^in$", output, re.MULTILINE):
        return "good"
    if "revoked" in output.lower():
        return "revoked"
    if "changed" in output.lower():
        return "changed"
    if "invalid key length" in output.lower() or "RequiredRSASize" in output:
        return "short"
    assert "Host key verification failed" in output or "host key of" in output, output
    return "unknown"


@dataclass
class KeyCase:
    """``known`` is known_hosts, with P for the port; ``keys`` are the server's."""

    known: str
    keys: Sequence[Any] = (ED,)
    verdict: str = "good"
    config: str = ""
    hashed: bool = False


def host_cert(
    principals: Sequence[str] = ("127.0.0.1",), by: Any = CA, key: Any = ED, **how: Any
) -> Any:
    return (key, by.generate_host_certificate(key, "host", principals=principals, **how))


PAST = {"valid_after": "20200101", "valid_before": "20200102"}
CASES = {
    "plain": KeyCase(f"[127.0.0.1]:P {public(ED)}"),
    "without its port": KeyCase(f"127.0.0.1 {public(ED)}"),
    "hashed": KeyCase(f"[127.0.0.1]:P {public(ED)}", hashed=True),
    "patterns": KeyCase(f"[127.*]:* {public(ED)}"),
    "a negated pattern": KeyCase(f"[127.*]:*,![127.0.0.1]:P {public(ED)}", verdict="unknown"),
    "upper case": KeyCase(f"VIZ {public(ED)}", config="HostKeyAlias Viz"),
    "an alias has no port": KeyCase(
        f"[viz]:P {public(ED)}", config="HostKeyAlias viz", verdict="unknown"
    ),
    "nothing": KeyCase("", verdict="unknown"),
    "another host": KeyCase(f"elsewhere {public(ED)}", verdict="unknown"),
    "changed": KeyCase(f"[127.0.0.1]:P {public(OTHER)}", verdict="changed"),
    "changed, hashed": KeyCase(f"[127.0.0.1]:P {public(OTHER)}", verdict="changed", hashed=True),
    "a key of another type": KeyCase(f"[127.0.0.1]:P {public(RSA)}", verdict="changed"),
    "another key without the port": KeyCase(f"127.0.0.1 {public(OTHER)}", verdict="unknown"),
    "the known type of several": KeyCase(f"[127.0.0.1]:P {public(RSA)}", keys=(ED, RSA)),
    "several known keys": KeyCase(f"[127.0.0.1]:P {public(OTHER)}\n[127.0.0.1]:P {public(ED)}"),
    "revoked with its port": KeyCase(f"@revoked [127.0.0.1]:P {public(ED)}", verdict="revoked"),
    "revoked and known": KeyCase(
        f"[127.0.0.1]:P {public(ED)}\n@revoked [127.0.0.1]:P {public(ED)}", verdict="revoked"
    ),
    "revoked everywhere": KeyCase(f"@revoked * {public(ED)}", verdict="revoked"),
    "another key revoked": KeyCase(
        f"@revoked * {public(OTHER)}\n[127.0.0.1]:P {public(ED)}"
    ),
    "another key revoked, none known": KeyCase(f"@revoked * {public(OTHER)}", verdict="unknown"),
    "an authority and no certificate": KeyCase(
        f"@cert-authority * {public(CA)}", verdict="unknown"
    ),
    "a certificate": KeyCase(f"@cert-authority * {public(CA)}", keys=(host_cert(),)),
    "a certificate by port": KeyCase(
        f"@cert-authority [127.0.0.1]:P {public(CA)}", keys=(host_cert(),)
    ),
    "another authority's certificate": KeyCase(
        f"@cert-authority * {public(CA)}", keys=(host_cert(by=ROGUE),), verdict="unknown"
    ),
    "a certificate of a known key": KeyCase(f"[127.0.0.1]:P {public(ED)}", keys=(host_cert(),)),
    "an expired certificate": KeyCase(
        f"@cert-authority * {public(CA)}", keys=(host_cert(**PAST),), verdict="unknown"
    ),
    "an expired certificate of a known key": KeyCase(
        f"@cert-authority * {public(CA)}\n[127.0.0.1]:P {public(ED)}", keys=(host_cert(**PAST),)
    ),
    "another host's certificate": KeyCase(
        f"@cert-authority * {public(CA)}", keys=(host_cert(("elsewhere",)),), verdict="unknown"
    ),
    "a revoked authority": KeyCase(
        f"@cert-authority * {public(CA)}\n@revoked * {public(CA)}",
        keys=(host_cert(),),
        verdict="revoked",
    ),
    "a revoked key in a certificate": KeyCase(
        f"@cert-authority * {public(CA)}\n@revoked * {public(ED)}",
        keys=(host_cert(),),
        verdict="revoked",
    ),
    "lines that can't be read": KeyCase(
        f"junk\n[127.0.0.1]:P ssh-ed25519 AAAA\n@odd * {public(ED)}\n[127.0.0.1]:P {public(ED)}"
    ),
    "strict, unknown": KeyCase("", config="StrictHostKeyChecking yes", verdict="unknown"),
    "accept-new, unknown": KeyCase("", config="StrictHostKeyChecking accept-new"),
    "accept-new, changed": KeyCase(
        f"[127.0.0.1]:P {public(OTHER)}",
        config="StrictHostKeyChecking accept-new",
        verdict="changed",
    ),
    "no check, unknown": KeyCase("", config="StrictHostKeyChecking no"),
    "no check, changed": KeyCase(
        f"[127.0.0.1]:P {public(OTHER)}", config="StrictHostKeyChecking no"
    ),
    "an RSA key of the size required": KeyCase(
        f"[127.0.0.1]:P {public(RSA)}", keys=(RSA,), config="RequiredRSASize 2048"
    ),
    "a short RSA key": KeyCase(
        f"[127.0.0.1]:P {public(RSA)}",
        keys=(RSA,),
        config="RequiredRSASize 3072",
        verdict="short",
    ),
    "a short RSA key, unknown": KeyCase(
        "", keys=(SHORT,), config="RequiredRSASize 2048", verdict="short"
    ),
    "a short RSA key, no check": KeyCase(
        "",
        keys=(SHORT,),
        config="StrictHostKeyChecking no\nRequiredRSASize 2048",
        verdict="short",
    ),
    "a short RSA key in a certificate": KeyCase(
        f"@cert-authority * {public(CA)}",
        keys=(host_cert(key=SHORT),),
        config="RequiredRSASize 2048",
        verdict="short",
    ),
    "a short authority of a certificate": KeyCase(
        f"@cert-authority * {public(SHORT)}",
        keys=(host_cert(by=SHORT),),
        config="RequiredRSASize 2048",
    ),
    "less than ssh's own least size": KeyCase(
        f"[127.0.0.1]:P {public(SHORT)}", keys=(SHORT,), config="RequiredRSASize 512"
    ),
    "no check of localhost": KeyCase("", config="NoHostAuthenticationForLocalhost yes"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_the_verdict_on_a_host_key(name: str, home: Path, key: asyncssh.SSHKey) -> None:
    case = CASES[name]
    file = home / ".ssh/known_hosts"
    async with sshd(Behaviour(keys=[key]), host_keys=case.keys) as server:
        # Not just any P: a key's base64 may have one between a + and a /.
        text = case.known.replace("]:P", f"]:{server.port}")
        # ssh's own default keys are in the home of the passwd entry.
        named = f"IdentityFile {home}/.ssh/id_ed25519"
        (home / ".ssh/config").write_text(f"{case.config}\n{named}\n")

        async def write() -> None:
            file.write_text(f"{text}\n")
            if case.hashed:
                argv = ("ssh-keygen", "-q", "-H", "-f", str(file))
                quiet = asyncio.subprocess.PIPE
                hashing = await asyncio.create_subprocess_exec(*argv, stderr=quiet)
                await hashing.communicate()

        await write()
        code, output = await by_ssh("-p", str(server.port), "lena@127.0.0.1")
        # What ssh itself has just learned does not count.
        await write()
        ours = await by_vizdash(f"lena@127.0.0.1:{server.port}")
    assert verdict(output) == case.verdict, output
    assert (code == 0) == (case.verdict == "good")
    assert verdict(ours) == case.verdict, ours


# ---------------------------------------------------------------------- keys


async def agent_answers() -> int | None:
    quiet = asyncio.subprocess.PIPE
    asking = await asyncio.create_subprocess_exec("ssh-add", "-l", stdout=quiet, stderr=quiet)
    await asking.communicate()
    return asking.returncode


@contextlib.asynccontextmanager
async def agent_with(home: Path, *files: Path) -> AsyncIterator[None]:
    """A real ssh-agent that holds these keys, in this order, as SSH_AUTH_SOCK."""
    place, quiet = str(home / "agent"), asyncio.subprocess.PIPE
    agent = await asyncio.create_subprocess_exec("ssh-agent", "-D", "-a", place, stdout=quiet)
    try:
        os.environ["SSH_AUTH_SOCK"] = place
        async with asyncio.timeout(20):
            # Its socket exists before it listens: 2 is "no agent", 1 "no keys".
            while await agent_answers() == 2:
                await asyncio.sleep(0.02)
        for file in files:
            add = await asyncio.create_subprocess_exec("ssh-add", "-q", str(file), stderr=quiet)
            _, output = await add.communicate()
            assert add.returncode == 0, output
        yield
    finally:
        os.environ.pop("SSH_AUTH_SOCK", None)
        agent.terminate()
        await agent.communicate()


def write_key(file: Path, key: asyncssh.SSHKey, **how: Any) -> None:
    key.write_private_key(str(file), **how)
    file.chmod(0o600)
    file.with_name(f"{file.name}.pub").write_text(f"{public(key)}\n")


def a_certificate(file: Path, key: asyncssh.SSHKey, by: asyncssh.SSHKey = CA) -> None:
    by.generate_user_certificate(key, "lena", principals=["lena"]).write_certificate(str(file))


def no_change(ssh: Path) -> None:
    """The keys as they are."""


def lax(ssh: Path) -> None:
    (ssh / "id_ed25519").chmod(0o644)


def without_public(ssh: Path) -> None:
    (ssh / "id_ed25519.pub").unlink()


def certified(ssh: Path) -> None:
    a_certificate(ssh / "id_ed25519-cert.pub", ED)
    a_certificate(ssh / "spare.cert", OTHER, ROGUE)


def short(ssh: Path) -> None:
    """A short RSA key, which ssh can't sign with."""
    write_key(ssh / "id_rsa", SHORT)


def short_certified(ssh: Path) -> None:
    short(ssh)
    a_certificate(ssh / "id_rsa-cert.pub", SHORT)
    a_certificate(ssh / "short.cert", SHORT)


def public_only(ssh: Path) -> None:
    (ssh / "id_ed25519").unlink()


#: Name: (config, the agent's keys, a change of the folder).
ORDERS: dict[str, tuple[str, tuple[str, ...], Callable[[Path], None]]] = {
    "files alone": ("", (), no_change),
    "an agent first": ("", ("spare",), no_change),
    "named keys before the agent's others": (
        "IdentityFile ~/.ssh/id_ed25519", ("spare", "id_ed25519"), no_change,
    ),
    "named keys in the agent's order": (
        "IdentityFile ~/.ssh/id_ed25519\nIdentityFile ~/.ssh/id_rsa",
        ("id_rsa", "spare", "id_ed25519"), no_change,
    ),
    "identities only": (
        "IdentitiesOnly yes\nIdentityFile ~/.ssh/id_rsa", ("spare", "id_rsa"), no_change,
    ),
    "identities only, not in the agent": (
        "IdentitiesOnly yes\nIdentityFile ~/.ssh/id_rsa", ("spare",), no_change,
    ),
    "a missing file": ("IdentityFile ~/.ssh/nowhere\nIdentityFile ~/.ssh/id_rsa", (), no_change),
    "no file": ("IdentityFile none", ("spare",), no_change),
    "a public key of the agent's": (
        "IdentitiesOnly yes\nIdentityFile ~/.ssh/id_ed25519.pub", ("id_ed25519",), no_change,
    ),
    "a public key alone": ("IdentityFile ~/.ssh/id_ed25519", (), public_only),
    "without a public key": ("IdentityFile ~/.ssh/id_ed25519", (), without_public),
    "a key that others may read": ("", (), lax),
    "a certificate beside a key": ("", (), certified),
    "a certificate file": ("CertificateFile ~/.ssh/spare.cert\nIdentityFile ~/.ssh/spare", (),
                           certified),
    "a certificate of the agent's key": (
        "CertificateFile ~/.ssh/spare.cert", ("spare",), certified,
    ),
    "a missing certificate": ("CertificateFile ~/.ssh/nowhere", (), certified),
    "no rsa": ("PubkeyAcceptedAlgorithms ssh-ed25519", ("spare",), no_change),
    "a short key": ("RequiredRSASize 2048", ("spare",), short),
    "a short key of the agent's": ("RequiredRSASize 3072", ("id_rsa", "spare"), no_change),
    "a short key in a certificate": ("RequiredRSASize 2048", (), short_certified),
    "a certificate file of a short key": (
        "RequiredRSASize 2048\nCertificateFile ~/.ssh/short.cert", (), short_certified,
    ),
    "no agent": ("IdentityAgent none", ("spare",), no_change),
    "no keys": ("PubkeyAuthentication no", ("spare",), no_change),
}  # fmt: skip


UNUSABLE = {"a public key alone", "a key that others may read"}


@pytest.mark.parametrize("name", ORDERS)
async def test_keys_are_offered_in_the_same_order(name: str, home: Path) -> None:
    config, held, change = ORDERS[name]
    ssh = home / ".ssh"
    for file, made in (("id_ed25519", ED), ("id_rsa", RSA), ("spare", OTHER)):
        write_key(ssh / file, made)
    # ~ is the passwd entry's for ssh: the default files are named, as its own would be.
    names = (
        ""
        if "IdentityFile" in config
        else "IdentityFile ~/.ssh/id_rsa\nIdentityFile ~/.ssh/id_ed25519\n"
    )
    text = f"{config}\n{names}".replace("~", str(home))
    (ssh / "config").write_text(text)
    how = Behaviour(keys=[ROGUE])
    async with sshd(how) as server:
        server.known(home)
        async with agent_with(home, *(ssh / file for file in held)):
            change(ssh)
            await by_ssh("-p", str(server.port), "lena@127.0.0.1")
            wanted, how.offered = how.offered, []
            await by_vizdash(f"lena@127.0.0.1:{server.port}")
    if name in UNUSABLE:
        # ssh offers it, and can't sign when it is accepted; vizdash does not offer it.
        wanted.remove(ED.get_fingerprint())
    assert how.offered == wanted
    assert wanted or name in {"a public key alone", "no keys"}


# ---------------------------------------------------------------------- hops


@dataclass
class Hops:
    """``config`` is ssh_config, with T, A and B for the ports of the target and two jump hosts;
    ``unknown`` are hosts whose keys known_hosts lacks, ``changed`` those that it has others of.
    ``users`` are the logins that the target, a and b see. None leads in a circle: real ssh would
    start itself without end.
    """

    config: str
    users: tuple[list[str], list[str], list[str]]
    unknown: str = ""
    changed: str = ""
    #: Names in known_hosts, where they are not the address and port.
    names: Mapping[str, str] = field(default_factory=dict)


BLOCKS = "Host a\n HostName 127.0.0.1\n Port A\n User anna\nHost b\n HostName 127.0.0.1\n Port B\n"
HOPS = {
    "straight": Hops("Host inside\n User ines\n", (["ines"], [], [])),
    "none": Hops("Host inside\n User ines\n ProxyJump none\n", (["ines"], [], [])),
    "by its own block": Hops("Host inside\n User ines\n ProxyJump a\n", (["ines"], ["anna"], [])),
    # A jump's own user and port count, not those of its block.
    "by user and port": Hops(
        "Host inside\n User ines\n ProxyJump jo@b:A\nHost b\n User nobody\n",
        (["ines"], ["jo"], []),
    ),
    "by a URI": Hops("Host inside\n User ines\n ProxyJump ssh://jo@b:A\n", (["ines"], ["jo"], [])),
    "two": Hops("Host inside\n User ines\n ProxyJump a,bo@b\n", (["ines"], ["anna"], ["bo"])),
    "a jump that jumps": Hops(
        "Host inside\n User ines\n ProxyJump b\nHost b\n User bo\n ProxyJump a\n",
        (["ines"], ["anna"], ["bo"]),
    ),
    # Only the first of a list is reached directly; the others are reached through it.
    "the last of two that jumps": Hops(
        "Host inside\n User ines\n ProxyJump a,b\nHost b\n User bo\n ProxyJump none\n",
        (["ines"], ["anna"], ["bo"]),
    ),
    "the first line counts": Hops(
        "Host inside\n User ines\n ProxyJump a\nHost ins*\n User nobody\n ProxyJump bo@b\n",
        (["ines"], ["anna"], []),
    ),
    "by the host of a match": Hops(
        'Match originalhost inside exec "true"\n User ines\n ProxyJump a\n',
        (["ines"], ["anna"], []),
    ),
    "an unknown jump host": Hops(
        "Host inside\n User ines\n ProxyJump a\n", ([], [], []), unknown="a"
    ),
    "a changed jump host": Hops(
        "Host inside\n User ines\n ProxyJump a\n", ([], [], []), changed="a"
    ),
    "an unknown target": Hops(
        "Host inside\n User ines\n ProxyJump a\n", ([], ["anna"], []), unknown="inside"
    ),
    "a changed target": Hops(
        "Host inside\n User ines\n ProxyJump a\n", ([], ["anna"], []), changed="inside"
    ),
    "a jump host by its alias": Hops(
        "Host inside\n User ines\n ProxyJump b\nHost b\n User bo\n HostKeyAlias the-jump\n",
        (["ines"], [], ["bo"]),
        names={"b": "the-jump"},
    ),
    "a jump host beside its alias": Hops(
        "Host inside\n User ines\n ProxyJump b\nHost b\n User bo\n HostKeyAlias the-jump\n",
        ([], [], []),
        names={"b": "[127.0.0.1]:B"},
    ),
    "a target by its alias": Hops(
        "Host inside\n User ines\n ProxyJump a\n HostKeyAlias Inner\n",
        (["ines"], ["anna"], []),
        names={"inside": "inner"},
    ),
    "one key for all by an alias": Hops(
        "Host inside\n User ines\n ProxyJump a,bo@b\nHost *\n HostKeyAlias all\n",
        (["ines"], ["anna"], ["bo"]),
        names={"inside": "all", "a": "all", "b": "all"},
    ),
}


@pytest.mark.parametrize("name", HOPS)
async def test_user_port_and_the_hops_are_the_same(
    name: str, home: Path, key: asyncssh.SSHKey
) -> None:
    """ssh's own ProxyJump, and ours: the logins that each host sees, and the verdict."""
    case = HOPS[name]
    hows = [Behaviour(keys=[key]) for _ in range(3)]
    async with sshd(hows[0]) as target, sshd(hows[1]) as a, sshd(hows[2]) as b:
        ports = {"T": target.port, "A": a.port, "B": b.port}
        file = home / ".ssh/known_hosts"

        def write() -> None:
            """What ssh itself learns does not count."""
            file.write_text("")
            for alias, server in (("inside", target), ("a", a), ("b", b)):
                if alias in case.names:
                    server.note(home, case.names[alias].replace("B", str(b.port)))
                elif alias != case.unknown:
                    server.known(home, key=OTHER if alias == case.changed else None)

        text = (
            f"{case.config}\nHost inside\n HostName 127.0.0.1\n Port T\n{BLOCKS}"
            f"Host *\n IdentityFile {home}/.ssh/id_ed25519\n"
        )
        text = re.sub(r"\b[TAB]\b", lambda match: str(ports[match[0]]), text)
        (home / ".ssh/config").write_text(text)
        write()
        code, output = await by_ssh("inside")
        by_real = tuple(how.users for how in hows)
        for how in hows:
            how.users = []
        write()
        ours = await by_vizdash("inside")
    assert by_real == case.users, output
    assert tuple(how.users for how in hows) == by_real, ours
    assert verdict(ours) == verdict(output), (ours, output)
    assert (code == 0) == (verdict(output) == "good")
