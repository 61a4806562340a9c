"""A login or a connection that is slow: what is shown, and when it times out."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import asyncssh
import pytest

from tests.unit.transport.logins import echo
from tests.unit.transport.sshd import Behaviour, ScriptedUser, sshd
from tests.unit.transport.test_ssh_connection_loss import rig, until
from vizdash.errors import Refused, TimedOut
from vizdash.model.connection_status import ConnectionState
from vizdash.transport.base import Command

PATIENCE = "vizdash.transport.ssh.login_timeout"
PUSH = ("Duo for lena", (("Passcode or option (1-2): ", True),), ("1",))
SUCCESS: tuple[str, tuple[tuple[str, bool], ...], tuple[str, ...]] = (
    "Success. Logging you in...", (), ()
)  # fmt: skip


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of a fast world: 20 s are four, the server's grace is a minute."""
    monkeypatch.setattr(f"{PATIENCE}.SILENT_LIMIT_S", 4.0)
    monkeypatch.setattr(f"{PATIENCE}.GRACE_S", 60.0)
    monkeypatch.setattr(f"{PATIENCE}.SHOW_WAIT_AFTER_S", 0.3)


@pytest.mark.usefixtures("hasty")
async def test_a_push_may_take_its_time(home: Path) -> None:
    """Longer than a host may be silent before it authenticates, and what is awaited is shown."""
    how = Behaviour(rounds=[PUSH, SUCCESS], push_s=6, banner="Maintenance on Sunday.")
    person = ScriptedUser([("1",)])
    async with sshd(how) as server:
        server.known(home)
        assert await echo(f"lena@127.0.0.1:{server.port}", person) == "in\n"
    assert person.asked[0].lines == ("Maintenance on Sunday.", "Duo for lena")
    assert person.waits >= 1
    text = [line for _, lines in person.shown for line in lines]
    assert any(line.startswith("Waiting for 127.0.0.1 to accept the login") for line in text)
    # Instructions without a question are shown too.
    assert "Success. Logging you in..." in text


@pytest.mark.usefixtures("hasty")
async def test_a_push_can_be_given_up(home: Path) -> None:
    how = Behaviour(rounds=[PUSH], push_s=8)
    async with sshd(how) as server:
        server.known(home)
        with pytest.raises(Refused, match=r"login to 127\.0\.0\.1: it was cancelled"):
            await echo(f"lena@127.0.0.1:{server.port}", ScriptedUser([("1",)], gives_up=True))


async def test_the_servers_grace_has_an_end(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the network is gone, the connection does not end."""
    monkeypatch.setattr(f"{PATIENCE}.GRACE_S", 1.0)
    how = Behaviour(rounds=[PUSH], push_s=60)
    async with sshd(how) as server:
        server.known(home)
        with pytest.raises(TimedOut, match="does not answer"):
            await echo(f"lena@127.0.0.1:{server.port}", ScriptedUser([("1",)]))


@pytest.fixture
def probing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{PATIENCE}.KEEPALIVE_S", 0.5)
    monkeypatch.setattr("vizdash.transport.ssh.connection._SILENT_S", 0.5)


@pytest.mark.usefixtures("probing")
async def test_a_stall_costs_no_typed_login_and_is_shown(home: Path) -> None:
    """By keys it would be lost after three probes; a typed one is held for thirty."""
    how = Behaviour(password="right")
    async with rig(how, home, ("right",)) as r:
        await r.runner.run(Command(("true",)))
        r.wire.cut()
        await r.until(ConnectionState.SILENT)
        shown = re.compile(r"127\.0\.0\.1: no answer for ([2-9]|1\d) s")
        await until(lambda: shown.fullmatch(r.connection.status.describe(0)) is not None)
        r.wire.fix()
        await r.until(ConnectionState.UP)
        assert (await r.runner.run(Command(("echo", "on")))).stdout == "on\n"
        assert (how.logins, len(r.person.asked)) == (1, 1)


async def test_configured_keepalive_probes_are_used(home: Path, key: asyncssh.SSHKey) -> None:
    """ServerAliveInterval and ServerAliveCountMax decide when a connection is lost."""
    (home / ".ssh/config").write_text("ServerAliveInterval 1\nServerAliveCountMax 3\n")
    async with rig(Behaviour(keys=[key]), home) as r:
        await r.runner.run(Command(("true",)))
        conn = await r.connection.connect(1)
        r.wire.cut()
        await asyncio.wait_for(conn.wait_closed(), 120)
    (home / ".ssh/config").write_text("ServerAliveInterval 600\n")
    async with rig(Behaviour(keys=[key]), home) as r:
        await r.runner.run(Command(("true",)))
        conn = await r.connection.connect(1)
        r.wire.cut()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(conn.wait_closed()), 8)
        r.wire.fix()
