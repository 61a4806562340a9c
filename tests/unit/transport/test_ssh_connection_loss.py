"""A lost connection: noticed, reported, restored, and nothing done twice."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import asyncssh
import pytest

from tests.unit.transport.sshd import Behaviour, ScriptedUser, Wire, sshd
from vizdash.errors import ConnectionLost, Unreachable, VizdashError
from vizdash.model.connection_status import ConnectionState, ConnectionStatus
from vizdash.transport.base import Command
from vizdash.transport.job_step import JobStepForwarder
from vizdash.transport.listener import Listener
from vizdash.transport.ssh.connection import SshConnection
from vizdash.transport.ssh.forwarders import ConnectionForward
from vizdash.transport.ssh.runner import SshRunner, unix_stream

SSH: Literal["builtin", "openssh"] = "builtin"


@pytest.fixture(autouse=True)
def _both(transport: Literal["builtin", "openssh"], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test over both transports."""
    monkeypatch.setitem(globals(), "SSH", transport)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vizdash.transport.ssh.connection._PAUSES", (0.1, 0.3))


@pytest.fixture
def _alert(monkeypatch: pytest.MonkeyPatch) -> None:
    """A black hole is noticed in 3 s, by more probes than usual: on a busy machine one answer is
    late (client and server share this process).
    """
    monkeypatch.setattr("vizdash.transport.ssh.login_timeout.KEEPALIVE_S", 0.3)
    monkeypatch.setattr("vizdash.transport.ssh.login_timeout.PROBES", 9)


class Rig:
    """A runner, and the wire that it hangs on."""

    def __init__(
        self, how: Behaviour, wire: Wire, connection: SshConnection, person: ScriptedUser
    ) -> None:
        self.how, self.wire, self.connection, self.person = how, wire, connection, person
        self.runner = SshRunner(connection)
        self.seen: list[ConnectionStatus] = []
        connection.watchers.append(self.seen.append)

    async def until(self, state: ConnectionState) -> None:
        await until(lambda: self.connection.status.state is state)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def rig(how: Behaviour, home: Path, *answers: tuple[str, ...]) -> AsyncIterator[Rig]:
    person = ScriptedUser(list(answers))
    async with sshd(how) as server, Wire(server.port) as wire:
        known = server.host_key.export_public_key("openssh").decode().split()
        (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{wire.port} {' '.join(known[:2])}\n")
        connection = SshConnection(f"lena@127.0.0.1:{wire.port}", person, ssh=SSH)
        try:
            yield Rig(how, wire, connection, person)
        finally:
            await connection.close()


async def echo(runner: SshRunner, word: str) -> str:
    return (await runner.run(Command(("echo", word)))).stdout.strip()


async def test_a_reset_is_seen_at_once_and_fixed(home: Path, key: asyncssh.SSHKey) -> None:
    async with rig(Behaviour(keys=[key]), home) as r:
        assert await echo(r.runner, "one") == "one"
        r.wire.reset()
        await r.until(ConnectionState.LOST)
        assert await echo(r.runner, "two") == "two"
        assert r.how.logins == 2
        assert r.connection.status.via.startswith(
            "by OpenSSH" if SSH == "openssh" else "by the built-in"
        )
        states = [connection.state for connection in r.seen]
        assert states[:2] == [ConnectionState.CONNECTING, ConnectionState.UP]
        assert states[-1] is ConnectionState.UP
        lost = next(connection for connection in r.seen if connection.state is ConnectionState.LOST)
        assert lost.retry_at is not None
        assert lost.describe(lost.retry_at - 3).endswith("retrying in 3 s")


@pytest.mark.usefixtures("_alert")
async def test_a_black_hole_is_seen_and_fixed(
    home: Path, key: asyncssh.SSHKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(Behaviour(keys=[key]), home) as r:
        assert await echo(r.runner, "one") == "one"
        monkeypatch.setattr("vizdash.transport.ssh.login_timeout.SILENT_LIMIT_S", 2.0)
        r.wire.cut()
        await r.until(ConnectionState.LOST)
        assert r.connection.status.cause == "it no longer answers"
        # Attempts in the dark fail and are repeated.
        made = r.wire.made
        await until(lambda: r.wire.made > made)
        r.wire.fix()
        assert await echo(r.runner, "two") == "two"


@pytest.mark.usefixtures("_alert")
async def test_while_vizdash_is_stopped_its_connection_stays(
    home: Path, key: asyncssh.SSHKey
) -> None:
    """After Ctrl-Z and fg: the host was silent only because nobody asked it."""
    async with rig(Behaviour(keys=[key]), home) as r:
        assert await echo(r.runner, "one") == "one"
        time.sleep(4)
        await asyncio.sleep(1)
        assert ConnectionState.LOST not in {status.state for status in r.seen}
        assert await echo(r.runner, "two") == "two"
        assert r.how.logins == 1


async def test_an_interrupted_command_is_reported_and_not_repeated(
    home: Path, key: asyncssh.SSHKey, tmp_path: Path
) -> None:
    mark = tmp_path / "runs"
    script = f"echo x >> {mark}; sleep 30"
    async with rig(Behaviour(keys=[key]), home) as r:
        await echo(r.runner, "one")
        task = asyncio.create_task(r.runner.run(Command(("sh", "-c", script))))
        await until(mark.exists)
        r.wire.reset()
        with pytest.raises(ConnectionLost, match="broke while it ran"):
            await task
        assert await echo(r.runner, "two") == "two"
        assert mark.read_text() == "x\n"


@pytest.mark.usefixtures("_alert")
async def test_commands_wait_for_the_connection_in_their_time(
    home: Path, key: asyncssh.SSHKey
) -> None:
    async with rig(Behaviour(keys=[key]), home) as r:
        await echo(r.runner, "one")
        r.wire.cut()
        await r.until(ConnectionState.LOST)
        with pytest.raises(Unreachable, match="the connection is lost: it no longer answers"):
            await r.runner.run(Command(("true",), timeout_s=0.2))
        r.wire.fix()
        await r.until(ConnectionState.UP)


async def test_a_secret_is_not_asked_for_before_the_user_reconnects(home: Path) -> None:
    how = Behaviour(password="right")
    async with rig(how, home, ("right",), ("right",)) as r:
        await echo(r.runner, "one")
        r.wire.reset()
        await r.until(ConnectionState.ASKS)
        for _ in range(3):
            with pytest.raises(Unreachable, match="have to log in again"):
                await r.runner.run(Command(("true",), timeout_s=0.1))
        assert (how.tried, len(r.person.asked)) == (["right"], 1)
        await r.connection.log_in()
        assert await echo(r.runner, "two") == "two"
        assert (how.tried, len(r.person.asked)) == (["right", "right"], 2)


async def test_a_key_that_is_no_longer_taken_stops_the_attempts(
    home: Path, key: asyncssh.SSHKey
) -> None:
    async with rig(Behaviour(keys=[key]), home) as r:
        await echo(r.runner, "one")
        r.how.keys = [asyncssh.generate_private_key("ssh-ed25519")]
        r.wire.reset()
        await r.until(ConnectionState.REFUSED)
        made = r.wire.made
        await asyncio.sleep(1)
        assert r.wire.made == made


async def test_a_passphrase_is_not_asked_for_again(home: Path) -> None:
    made = asyncssh.generate_private_key("ssh-ed25519")
    made.write_private_key(str(home / ".ssh/id_ed25519"), passphrase="sesame", rounds=50)
    (home / ".ssh/id_ed25519").chmod(0o600)
    async with rig(Behaviour(keys=[made]), home, ("sesame",)) as r:
        await echo(r.runner, "one")
        r.wire.reset()
        await r.until(ConnectionState.LOST)
        assert await echo(r.runner, "two") == "two"
        assert len(r.person.asked) == 1


async def test_a_host_key_that_changes_meanwhile_is_refused(
    home: Path, key: asyncssh.SSHKey
) -> None:
    async with rig(Behaviour(keys=[key]), home) as r:
        await echo(r.runner, "one")
        async with sshd(Behaviour(keys=[key])) as other:
            r.wire.target = other.port
            r.wire.reset()
            await r.until(ConnectionState.REFUSED)
            assert other.how.logins == 0
        assert "known_hosts:1" in r.connection.status.cause
        assert r.person.asked == []


@pytest.mark.usefixtures("_alert")
async def test_a_tunnel_comes_back_at_the_same_port(
    home: Path, key: asyncssh.SSHKey, tmp_path: Path
) -> None:
    socket = str(tmp_path / "web")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data.upper())
            await writer.drain()
        writer.close()

    async def ask(port: int, word: bytes) -> tuple[bytes, asyncio.StreamReader]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        writer.write(word)
        return await reader.read(1000), reader

    async def nothing() -> None:
        return

    writers: list[asyncio.StreamWriter] = []
    async with (
        rig(Behaviour(keys=[key]), home) as r,
        await asyncio.start_unix_server(serve, socket),
    ):
        forward = ConnectionForward(r.runner, lambda conn: unix_stream(conn, socket), nothing)
        listener = Listener(forward.dial)
        await listener.start()
        answer, reader = await ask(listener.port, b"one")
        assert answer == b"ONE"
        for harm in (r.wire.reset, r.wire.cut):
            harm()
            # The tab's connection ends, so that it knows that it has to come back ...
            async with asyncio.timeout(30):
                assert await reader.read() == b""
            # ... and its next one waits until there's a way again.
            again = asyncio.create_task(ask(listener.port, b"two"))
            r.wire.fix()
            answer, reader = await again
            assert answer == b"TWO"
        for writer in writers:
            writer.close()
        await listener.close()
        await forward.close()


async def test_sessions_that_a_loss_ends_say_nothing_about_max_sessions(
    home: Path, key: asyncssh.SSHKey
) -> None:
    """What was being opened when the connection broke was not refused."""
    async with rig(Behaviour(keys=[key]), home) as r:
        await echo(r.runner, "one")
        r.wire.cut()
        waiting = [asyncio.create_task(echo(r.runner, str(n))) for n in range(4)]
        await until(lambda: r.runner._slots.used == 4)
        r.wire.reset()
        await r.until(ConnectionState.LOST)
        r.wire.fix()
        assert await asyncio.gather(*waiting) == ["0", "1", "2", "3"]
        pipe = await r.runner.pipe(("cat",))
        pipe.writer.write(b"still allowed")
        assert await pipe.reader.read(100) == b"still allowed"
        await pipe.close()


async def test_a_step_is_not_given_up_because_the_connection_is_lost(
    home: Path, key: asyncssh.SSHKey, tmp_path: Path
) -> None:
    """A browser keeps asking until the user has logged in again; then its desktop returns."""
    socket = str(tmp_path / "web")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    async with (
        rig(Behaviour(password="right"), home, ("right",), ("right",)) as r,
        await asyncio.start_unix_server(serve, socket),
    ):

        def step(job_id: str, node: str, argv: Sequence[str]) -> tuple[str, ...]:
            return tuple(argv)

        forwarder = JobStepForwarder(r.runner, step, lambda: r.connection.current)
        forward = await forwarder.open("node", socket, job_id="1")

        async def ask(word: str) -> bytes:
            reader, writer = await forward.dial()
            writer.write(f"{word}\n".encode())
            answer = await reader.read(100)
            writer.close()
            return answer

        assert await ask("one") == b"ONE\n"
        r.wire.reset()
        await r.until(ConnectionState.ASKS)
        for _ in range(5):
            with pytest.raises(VizdashError):
                await forward.dial()
        lost = asyncio.create_task(forward.wait_lost())
        await r.connection.log_in()
        assert await ask("two") == b"TWO\n"
        assert not lost.done()
        lost.cancel()
        await forward.close()


async def test_a_closed_link_stays_closed(home: Path, key: asyncssh.SSHKey) -> None:
    async with rig(Behaviour(keys=[key]), home) as r:
        await echo(r.runner, "one")
        await r.connection.close()
        with pytest.raises(Unreachable, match="was closed"):
            await echo(r.runner, "two")
        assert r.connection.status.state is ConnectionState.CLOSED


async def test_nothing_is_left_of_a_cancelled_login(home: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    async with sshd(Behaviour(password="right")) as server:
        server.known(home)
        person = ScriptedUser()
        connection = SshConnection(f"lena@127.0.0.1:{server.port}", person, ssh=SSH)
        waiting = asyncio.create_task(connection.connect(0))
        await until(lambda: bool(person.asked))
        waiting.cancel()
        await connection.close()
    await until(lambda: len(set(os.listdir("/proc/self/fd")) - before) <= 1)
