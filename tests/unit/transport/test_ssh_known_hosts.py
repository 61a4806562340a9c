"""known_hosts: which key of a host is known, and where a new one is written."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest

from tests.unit.transport.sshd import Behaviour, Person, sshd
from vizdash.transport.base import Command
from vizdash.transport.ssh.link import SshLink
from vizdash.transport.ssh.runner import SshRunner


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
    person = Person([(), ()])
    async with sshd(Behaviour(keys=[key])) as server:
        for _run in range(2):
            link = SshLink(f"lena@127.0.0.1:{server.port}", person)
            for _login in range(2):
                await SshRunner(link).run(Command(("true",)))
                (await link.connection(1)).abort()
            await link.close()
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
        host = SshLink(f"lena@127.0.0.1:{server.port}", Person([()]))
        await SshRunner(host).run(Command(("true",)))
        await host.close()
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    first, second = real.read_text().splitlines()
    assert first == "# mine"
    assert second.startswith(f"[127.0.0.1]:{server.port} ssh-ed25519 ")
