"""The connections that the commands of a change share: the real ssh(1) against a real server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import stat
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
import pytest

from tests.unit.transport.sshd import Behaviour, Sshd, sshd
from vizdash.transport import node_connections as module
from vizdash.transport.base import Command
from vizdash.transport.local import LocalRunner
from vizdash.transport.node_connections import NodeConnections, node_connections
from vizdash.util import files

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where folders of sockets are made: not in ``tmp_path``, which is too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="v-", dir="/tmp") as place:
        monkeypatch.setenv("TMPDIR", place)
        monkeypatch.setattr(files, "_swept", set())
        yield Path(place)


def ssh(server: Sshd, home: Path) -> tuple[str, ...]:
    options = ("-T", "-o", "BatchMode=yes", "-i", f"{home}/.ssh/id_ed25519")
    return ("ssh", *options, "-l", "lena", "-p", str(server.port))


@asynccontextmanager
async def servers(
    home: Path, key: asyncssh.SSHKey, count: int = 1, **how: object
) -> AsyncIterator[list[Sshd]]:
    """Servers that accept the key and that known_hosts has."""
    async with sshd(Behaviour(keys=[key], **how)) as one:  # type: ignore[arg-type]
        one.note(home, f"[127.0.0.1]:{one.port}")
        if count == 1:
            yield [one]
            return
        async with servers(home, key, count - 1) as others:
            yield [one, *others]


async def run(
    connections: NodeConnections | None, node: str, server: Sshd, home: Path, *words: str
) -> str:
    assert connections is not None
    login = ssh(server, home)
    assert await connections.open(node, login, "127.0.0.1") == ""
    argv = (*login, *connections.options(node), "127.0.0.1", shlex.join(words))
    result = await LocalRunner().run(Command(argv, timeout_s=60))
    assert result.code == 0, result.stderr
    return result.stdout


async def test_commands_share_one_login(home: Path, key: asyncssh.SSHKey, folder: Path) -> None:
    async with servers(home, key) as (server,), node_connections(LocalRunner()) as connections:
        (place,) = folder.iterdir()
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        for word in ("a", "b", "c"):
            assert await run(connections, "n1", server, home, "echo", word) == f"{word}\n"
        both = (run(connections, "n1", server, home, "echo", word) for word in "de")
        assert await asyncio.gather(*both) == ["d\n", "e\n"]
        assert server.how.logins == 1
    assert list(folder.iterdir()) == []


async def test_each_node_has_its_own_connection(home: Path, key: asyncssh.SSHKey) -> None:
    """Also those that are opened at the same time."""
    async with (
        servers(home, key, 4) as found,
        node_connections(LocalRunner()) as connections,
    ):
        nodes = {f"n{at}": server for at, server in enumerate(found)}
        work = (run(connections, node, at, home, "echo", node) for node, at in nodes.items())
        await asyncio.gather(*work)
        for node, server in nodes.items():
            assert server.how.ran == ["cat", f"echo {node}"]
            assert server.how.logins == 1


async def test_a_connection_that_is_lost_is_not_needed(home: Path, key: asyncssh.SSHKey) -> None:
    async with servers(home, key) as (server,), node_connections(LocalRunner()) as connections:
        assert await run(connections, "n1", server, home, "echo", "a") == "a\n"
        server.how.conns[0].abort()
        assert await run(connections, "n1", server, home, "echo", "b") == "b\n"
        assert server.how.logins == 2


class OneSessionEach(Behaviour):
    """Takes one session over each connection (sshd_config(5), MaxSessions)."""

    @property
    def max_sessions(self) -> int:
        return self.logins

    @max_sessions.setter
    def max_sessions(self, value: int) -> None:
        pass


async def test_a_node_that_takes_one_session(home: Path, key: asyncssh.SSHKey) -> None:
    """Then ssh logs in again by itself."""
    async with (
        sshd(OneSessionEach(keys=[key])) as server,
        node_connections(LocalRunner()) as connections,
    ):
        server.note(home, f"[127.0.0.1]:{server.port}")
        assert await run(connections, "n1", server, home, "echo", "a") == "a\n"
        assert server.how.logins == 2


async def test_start_up_files_that_print(home: Path, key: asyncssh.SSHKey) -> None:
    async with (
        servers(home, key, noise="Welcome!\n") as (server,),
        node_connections(LocalRunner()) as connections,
    ):
        assert (await run(connections, "n1", server, home, "echo", "a")).endswith("a\n")
        assert server.how.logins == 1


async def test_a_refused_login_is_left_to_the_next_command(
    home: Path, key: asyncssh.SSHKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which then tells the cause."""
    monkeypatch.setattr(module, "_SLOW_S", 600)
    async with sshd(Behaviour(keys=[])) as server, node_connections(LocalRunner()) as connections:
        server.note(home, f"[127.0.0.1]:{server.port}")
        assert connections is not None
        assert await connections.open("n1", ssh(server, home), "127.0.0.1") == ""
        assert connections.options("n1") == ()


async def test_a_slow_failure_is_not_repeated() -> None:
    async with node_connections(LocalRunner()) as connections:
        assert connections is not None
        words = ("sh", "-c", "sleep 2.2; echo 'no route to host' >&2; exit 255")
        assert await connections.open("n1", words, "n1") == "no route to host"
        assert connections.options("n1") == ()


async def test_a_program_that_makes_no_socket() -> None:
    """Commands then connect by themselves."""
    async with node_connections(LocalRunner()) as connections:
        assert connections is not None
        assert await connections.open("n1", ("sh", "-c", "exec cat"), "n1") == ""
        assert connections.options("n1") == ()


async def test_where_no_private_folder_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_temporary_folders", list)
    async with node_connections(LocalRunner()) as connections:
        assert connections is None


async def test_a_folder_that_others_could_exchange_is_not_used(
    folder: Path, home: Path, key: asyncssh.SSHKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who puts another socket at the path would get each command, and could answer it."""
    folder.chmod(0o777)
    async with servers(home, key) as (server,), node_connections(LocalRunner()) as connections:
        assert await run(connections, "n1", server, home, "echo", "a") == "a\n"
        assert list(folder.iterdir()) == []
    monkeypatch.setattr(files, "_check_place", lambda place: None)
    async with node_connections(LocalRunner()):
        (place,) = folder.iterdir()
        place.rename(folder / "moved")
        (folder / "moved").rmdir()


async def test_a_folder_with_the_signs_of_ssh_in_its_name(
    folder: Path, home: Path, key: asyncssh.SSHKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder / "50% of it"
    place.mkdir(mode=0o700)
    monkeypatch.setenv("TMPDIR", str(place))
    async with servers(home, key) as (server,), node_connections(LocalRunner()) as connections:
        for word in "ab":
            assert await run(connections, "n1", server, home, "echo", word) == f"{word}\n"
        assert server.how.logins == 1
        assert len(list(place.glob("*/0"))) == 1


async def test_connections_that_the_user_would_keep_end_too(
    home: Path, key: asyncssh.SSHKey
) -> None:
    """With ControlPersist, ssh would stay in the background, beyond the end of its command."""
    (home / ".ssh/config").write_text("Host *\nControlMaster auto\nControlPersist yes\n")
    async with servers(home, key) as (server,):
        async with node_connections(LocalRunner()) as connections:
            assert await run(connections, "n1", server, home, "echo", "a") == "a\n"
            assert server.how.logins == 1
        async with asyncio.timeout(60):
            await server.how.conns[0].wait_closed()


async def test_a_node_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up, and meanwhile delays no other node."""
    monkeypatch.setattr(module, "_SLOW_S", 0.05)
    async with node_connections(LocalRunner()) as connections:
        assert connections is not None
        for hung in ("exec sleep 600", "exec >&-; sleep 600", "trap '' TERM; sleep 600; :"):
            monkeypatch.setattr(module, "_LOGIN_S", 600)
            many = [
                asyncio.create_task(connections.open(f"{hung}{at}", ("sh", "-c", hung), "n"))
                for at in range(10)
            ]
            good = f"good for {hung}"
            async with asyncio.timeout(60):
                assert await connections.open(good, ("sh", "-c", "exec cat"), "n") == ""
            assert not any(task.done() for task in many)
            for task in many:
                task.cancel()
            monkeypatch.setattr(module, "_LOGIN_S", 0.2)
            why = await connections.open(f"{hung} alone", ("sh", "-c", hung), "n")
            assert why == "no answer in 0.2 s"


async def test_a_node_that_says_too_much() -> None:
    """Neither without an end nor in one line: it is read, and not kept."""
    async with node_connections(LocalRunner()) as connections:
        assert connections is not None
        for at, says in enumerate(("head -c 9000000 /dev/zero >&2", "timeout 1 yes >&2")):
            words = ("sh", "-c", f"{says}; echo >&2; echo the end >&2; sleep 2.2; exit 255")
            assert await connections.open(f"n{at}", words, "n") == "the end"


def processes(word: str) -> list[str]:
    """Processes with a word in their command line."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in file.read_bytes():
                found.append(file.parent.name)
    return found


@pytest.mark.parametrize("when", ["opening", "open"])
async def test_a_cancelled_change_leaves_nothing(folder: Path, when: str) -> None:
    shell = "cat; :" if when == "open" else "sleep 600; :"

    async def change() -> None:
        async with node_connections(LocalRunner()) as connections:
            assert connections is not None
            await connections.open("n1", ("sh", "-c", shell, "sh"), "n1")
            await asyncio.sleep(600)

    task = asyncio.create_task(change())
    async with asyncio.timeout(60):
        while not processes(str(folder)):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
    assert list(folder.iterdir())
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert list(folder.iterdir()) == []
    assert processes(str(folder)) == []


_HOLDS = """
import asyncio, sys
from vizdash.transport.local import LocalRunner
from vizdash.transport.node_connections import node_connections

async def hold():
    async with node_connections(LocalRunner()) as connections:
        await connections.open("n1", sys.argv[1:], "127.0.0.1")
        print(connections.options("n1"), flush=True)
        await asyncio.sleep(600)

asyncio.run(hold())
"""


async def test_a_killed_vizdash_leaves_no_connection(
    home: Path, key: asyncssh.SSHKey, folder: Path
) -> None:
    """And no socket: an empty folder, which is gone with the next change."""
    async with servers(home, key) as (server,):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _HOLDS, *ssh(server, home)),
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        assert process.stdout is not None
        assert b"ControlMaster" in await process.stdout.readline()
        assert server.how.open_now == 1
        process.send_signal(signal.SIGKILL)
        await process.wait()
        async with asyncio.timeout(60):
            while server.how.open_now:
                await asyncio.sleep(0.02)
        async with asyncio.timeout(60):
            while processes(str(folder)):
                await asyncio.sleep(0.02)
        (left,) = folder.iterdir()
        assert stat.S_IMODE(left.stat().st_mode) == 0o700
        assert list(left.iterdir()) == []
        os.utime(left, (0, time.time() - 3600))
        async with node_connections(LocalRunner()):
            assert left not in folder.iterdir()
