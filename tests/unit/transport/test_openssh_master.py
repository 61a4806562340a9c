"""The control master of ssh(1): the user's own is shared, vizdash's is private and ends with it."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
import pytest

from tests.unit.transport.logins import at, process_texts, until
from tests.unit.transport.sshd import Behaviour, ScriptedUser, Sshd, sshd
from vizdash.model.connection_status import ConnectionState
from vizdash.transport.base import Command
from vizdash.transport.openssh import master
from vizdash.transport.ssh.connection import SshConnection
from vizdash.transport.ssh.runner import SshRunner

pytestmark = pytest.mark.usefixtures("openssh_key")


@asynccontextmanager
async def own_master(home: Path, server: Sshd) -> AsyncIterator[asyncio.subprocess.Process]:
    """A connection of the user's, with ControlPath in ~/.ssh/config."""
    path = home / ".ssh/cm"
    (home / ".ssh/config").write_text(f"ControlPath {path}\n")
    process = await asyncio.create_subprocess_exec(
        "ssh", "-M", "-N", "-T", "-p", str(server.port), "lena@127.0.0.1",
        stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        await until(path.exists)
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGTERM)
        await process.wait()


async def test_the_users_own_connection_is_shared(
    home: Path, key: asyncssh.SSHKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No login is made, and it stays afterwards. Once it is gone, vizdash logs in itself."""
    monkeypatch.setattr("vizdash.transport.ssh.connection._PAUSES", (0.1,))
    how = Behaviour(keys=[key])
    async with sshd(how) as server:
        server.known(home)
        async with own_master(home, server) as theirs:
            assert how.logins == 1
            connection = SshConnection(at(server), ScriptedUser(), ssh="auto")
            await SshRunner(connection).run(Command(("true",)))
            assert how.logins == 1
            assert (
                connection.status.via
                == f"by OpenSSH: your own connection at {home}/.ssh/cm is shared"
            )
            await connection.close()
            assert theirs.returncode is None
            connection = SshConnection(at(server), ScriptedUser(), ssh="auto")
            runner = SshRunner(connection)
            await runner.run(Command(("true",)))
        await until(lambda: connection.status.state is not ConnectionState.UP)
        assert (await runner.run(Command(("echo", "again")))).stdout == "again\n"
        assert how.logins == 2
        assert connection.status.via.startswith("by the built-in SSH")
        await connection.close()


async def test_another_users_control_socket_is_none(
    home: Path, key: asyncssh.SSHKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = Behaviour(keys=[key])
    async with sshd(how) as server:
        server.known(home)
        async with own_master(home, server):
            monkeypatch.setattr("vizdash.transport.openssh.control.os.geteuid", lambda: 4711)
            connection = SshConnection(at(server), ScriptedUser(), ssh="auto")
            await SshRunner(connection).run(Command(("true",)))
            assert how.logins == 2
            await connection.close()


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="vd", dir="/tmp") as folder:
        yield Path(folder)


async def test_the_master_is_private_and_goes_with_us(
    home: Path, key: asyncssh.SSHKey, monkeypatch: pytest.MonkeyPatch, short: Path
) -> None:
    place = short
    monkeypatch.setenv("TMPDIR", str(place))
    logged: list[str] = []
    monkeypatch.setattr(
        "vizdash.util.command_log.record",
        lambda argv, outcome, took_s=None: logged.append(f"{outcome}: {' '.join(argv)}"),
    )
    async with sshd(Behaviour(keys=[key])) as server:
        server.known(home)
        connection = SshConnection(at(server), ScriptedUser(), ssh="openssh")
        await SshRunner(connection).run(Command(("true",)))
        (folder,) = place.glob("vizdash-*")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "m").stat().st_mode) == 0o600
        await connection.close()
        assert list(place.iterdir()) == []
        # The log of commands has it, from its start to its end.
        ours = [entry.partition(": ")[0] for entry in logged if f"-S {folder}/m" in entry]
        assert len(ours) == 2 and ours[0] == "started", logged
        await until(lambda: not [text for text in process_texts().values() if str(folder) in text])


_KILLED = """
import asyncio, sys
from tests.unit.transport.sshd import ScriptedUser
from vizdash.transport.base import Command
from vizdash.transport.ssh.transport_choice import choose_transport
from vizdash.transport.ssh.connection import SshConnection
from vizdash.transport.ssh.runner import SshRunner
from vizdash.transport.ssh.settings import Target

async def main():
    connection = SshConnection(sys.argv[1], ScriptedUser(), ssh="openssh")
    await SshRunner(connection).run(Command(("true",)))
    print("up", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_a_sites_time_limit_for_idle_shells_does_not_end_it() -> None:
    """TMOUT is also the limit of ``read`` where sh is bash, as on EL."""
    with subprocess.Popen(
        ["bash", "--posix", "-c", master._GUARD, "sh", "sleep", "2.5"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "TMOUT": "1"},
    ) as guard:  # fmt: skip
        assert guard.stdout is not None
        assert guard.stdout.read() == "0\n"


async def test_the_master_ends_with_a_vizdash_that_was_killed(
    home: Path, key: asyncssh.SSHKey
) -> None:
    how = Behaviour(keys=[key])
    async with sshd(how) as server:
        server.known(home)
        (home / ".ssh/config").write_text("SendEnv MARK\n")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _KILLED, at(server),
            stdout=asyncio.subprocess.PIPE, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path.cwd()), "MARK": str(home)},
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"up\n"
        # The ssh processes are found by their environment.
        assert [name for name, text in process_texts().items() if f"MARK={home}" in text]
        process.kill()
        await process.wait()
        await until(lambda: not any(f"MARK={home}" in text for text in process_texts().values()))
