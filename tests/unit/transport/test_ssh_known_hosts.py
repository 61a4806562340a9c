"""known_hosts: which key of a host is known, and where a new one is written."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest

from tests.unit.transport.sshd import Behaviour, ScriptedUser, sshd
from vizdash.errors import VizdashError
from vizdash.transport.base import Command
from vizdash.transport.ssh.connection import SshConnection
from vizdash.transport.ssh.known_hosts import _find_with, find_lines
from vizdash.transport.ssh.runner import SshRunner

ED, OTHER = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
RSA = asyncssh.generate_private_key("ssh-rsa", key_size=2048)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def null_device(path: Path) -> None:
    """What /dev/null is, in a folder of the test's own."""
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))


def unreadable_folder(path: Path) -> None:
    path.mkdir()


KINDS = [fifo, unix_socket, unreadable_folder] + ([null_device] if os.geteuid() == 0 else [])


@pytest.mark.parametrize("make", KINDS)
async def test_only_regular_files_are_written(
    make: Callable[[Path], None], home: Path, key: asyncssh.SSHKey
) -> None:
    """A host that is trusted is then known for this run, and asked about again in the next."""
    file = home / "known"
    make(file)
    before = file.lstat()
    (home / ".ssh/config").write_text(f"UserKnownHostsFile {file}\n")
    person = ScriptedUser([(), ()])
    async with sshd(Behaviour(keys=[key])) as server:
        for _run in range(2):
            connection = SshConnection(f"lena@127.0.0.1:{server.port}", person)
            for _login in range(2):
                await SshRunner(connection).run(Command(("true",)))
                (await connection.connect(1)).abort()
            await connection.close()
    assert len(person.asked) == 2
    after = file.lstat()
    assert (after.st_mode, after.st_ino, after.st_rdev) == (
        before.st_mode,
        before.st_ino,
        before.st_rdev,
    )
    assert not list(home.glob(".known*"))


async def test_a_new_key_is_appended(home: Path, key: asyncssh.SSHKey) -> None:
    """As ssh does it: a file that is a link stays one, and keeps its mode."""
    real, link = home / "real", home / ".ssh/known_hosts"
    real.write_text("# mine")
    real.chmod(0o640)
    link.symlink_to(real)
    async with sshd(Behaviour(keys=[key])) as server:
        host = SshConnection(f"lena@127.0.0.1:{server.port}", ScriptedUser([()]))
        await SshRunner(host).run(Command(("true",)))
        await host.close()
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    first, second = real.read_text().splitlines()
    assert first == "# mine"
    assert second.startswith(f"[127.0.0.1]:{server.port} ssh-ed25519 ")


async def test_a_new_key_is_hashed_where_the_config_requires_it(
    home: Path, key: asyncssh.SSHKey
) -> None:
    """HashKnownHosts: ssh-keygen finds the line, and ssh itself takes the key for known."""
    file = home / ".ssh/known_hosts"
    (home / ".ssh/config").write_text(f"HashKnownHosts yes\nIdentityFile {home}/.ssh/id_ed25519\n")
    async with sshd(Behaviour(keys=[key])) as server:
        connection = SshConnection(f"lena@127.0.0.1:{server.port}", ScriptedUser([()]))
        await SshRunner(connection).run(Command(("true",)))
        await connection.close()
        assert re.fullmatch(r"\|1\|\S+\|\S+ ssh-ed25519 \S+\n", file.read_text())
        assert "127.0.0.1" not in file.read_text()
        name = f"[127.0.0.1]:{server.port}"
        code, output = await run("ssh-keygen", "-F", name, "-f", str(file))
        assert (code, f"# Host {name} found: line 1" in output) == (0, True), output
        # A second login asks nothing.
        connection = SshConnection(f"lena@127.0.0.1:{server.port}", ScriptedUser())
        await SshRunner(connection).run(Command(("true",)))
        await connection.close()
        words = ("-T", "-o", "BatchMode=yes", "-p", str(server.port), "lena@127.0.0.1", "echo in")
        assert await run("ssh", *words) == (0, "in\n")


async def run(*argv: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    stdout, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, stdout.decode()


def line(names: str, key: asyncssh.SSHKey, marker: str = "") -> str:
    words = key.export_public_key("openssh").decode().split()
    return f"{marker} {names} {words[0]} {words[1]} a comment".strip()


#: Lines that name viz.example.org or its port 2222, in every form, and lines that do not.
KNOWN = "\n".join(
    [
        "# a comment",
        "",
        line("viz.example.org", ED),
        line("other.example.org", ED),
        line("other,VIZ.example.ORG,10.0.0.1", RSA),
        line("[viz.example.org]:2222", ED),
        line("[viz.example.org]:*", RSA),
        line("*.example.org", RSA),
        line("v?z.example.org", ED),
        line("*,!viz.example.org", ED),
        line("!other.example.org,*.org", ED),
        line("!viz.example.org", ED),
        line("[v]iz.example.org", ED),
        line("*", ED, "@revoked"),
        line("*.example.org", RSA, "@cert-authority"),
        line("other.example.org", RSA, "@cert-authority"),
        line("viz.example.org", ED, "@odd"),
        "viz.example.org ssh-ed25519 AAAA",
        "viz.example.org",
        "junk",
        "  " + line("viz.example.org", ED),
        "|1|bad|bad ssh-ed25519 AAAA",
    ]
)


NAMES = ("viz.example.org", "[viz.example.org]:2222", "[viz.example.org]:7", "other.example.org",
         "10.0.0.1", "elsewhere.net", "VIZ.Example.org")  # fmt: skip


# A hash says nothing of upper case: ssh(1) itself looks for the name in lower case.
@pytest.mark.parametrize(
    ("name", "hashed"), [*((n, False) for n in NAMES), *((n, True) for n in NAMES[:-1])]
)
async def test_without_ssh_keygen_the_same_lines_are_found(
    name: str, hashed: bool, tmp_path: Path
) -> None:
    """ssh-keygen -F is the oracle for vizdash's reading of the file."""
    keygen, file = shutil.which("ssh-keygen"), tmp_path / "known"
    assert keygen
    file.write_text(f"{KNOWN}\n")
    if hashed:
        # It refuses what it can't read, and leaves patterns as they are.
        file.write_text("\n".join([line("viz.example.org", ED), line("10.0.0.1", RSA), ""]))
        code, output = await run(keygen, "-q", "-H", "-f", str(file))
        assert code == 0, output
        # Not a search for the name: a hash or a key may hold its letters.
        assert all(hashed.startswith("|1|") for hashed in file.read_text().splitlines())
    wanted = await _find_with(keygen, name, file)
    assert find_lines(name, file) == wanted
    assert hashed or name == "elsewhere.net" or len(wanted) > 1


@pytest.mark.parametrize(
    ("known", "words"),
    [((ED, ""), "in"), ((OTHER, ""), "has changed"), ((ED, "@revoked"), "revoked")],
)
async def test_host_keys_without_openssh(
    known: tuple[asyncssh.SSHKey, str],
    words: str,
    home: Path,
    key: asyncssh.SSHKey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine that has no ssh and no ssh-keygen."""
    sh = shutil.which("sh")
    assert sh
    monkeypatch.setenv("PATH", "/nowhere")
    async with sshd(Behaviour(keys=[key], shell=(sh, "-c")), ED) as server:
        text = line(f"[127.0.0.1]:{server.port}", *known)
        (home / ".ssh/known_hosts").write_text(f"{text}\n")
        connection = SshConnection(f"lena@127.0.0.1:{server.port}", ScriptedUser([None]))
        try:
            output = (await SshRunner(connection).run(Command(("echo", "in")))).stdout
        except VizdashError as e:
            output = e.line
        finally:
            await connection.close()
    assert words in output
