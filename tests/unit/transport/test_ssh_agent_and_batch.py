"""AddKeysToAgent, BatchMode and ConnectionAttempts have the effect that they have in ssh(1)."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Literal

import asyncssh
import pytest

from tests.unit.transport.logins import at, echo, refusal
from tests.unit.transport.sshd import Behaviour, ScriptedUser, sshd
from tests.unit.transport.test_ssh_like_openssh import agent_with, public, write_key

PASSPHRASE = "open-sesame"
YES: tuple[str, ...] = ()


async def agent_keys() -> list[str]:
    listing = await asyncio.create_subprocess_exec(
        "ssh-add", "-L", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    lines = (await listing.communicate())[0].decode().splitlines()
    return [" ".join(line.split()[:2]) for line in lines if line.startswith("ssh-")]


@pytest.fixture
def locked(home: Path) -> asyncssh.SSHKey:
    """A key with a passphrase in ~/.ssh/id_ed25519."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    write_key(home / ".ssh/id_ed25519", key, passphrase=PASSPHRASE, rounds=50)
    return key


#: The value, the answers to the questions, and whether the agent has the key then.
ADDS: dict[str, tuple[str, list[tuple[str, ...] | None], bool]] = {
    "no": ("no", [(PASSPHRASE,)], False),
    "yes": ("yes", [(PASSPHRASE,)], True),
    "for an hour": ("1h", [(PASSPHRASE,)], True),
    "asked": ("ask", [(PASSPHRASE,), YES], True),
    "declined": ("ask", [(PASSPHRASE,), None], False),
}


@pytest.mark.parametrize("name", ADDS)
async def test_a_passphrase_is_asked_for_once_where_the_agent_gets_the_key(
    name: str, home: Path, locked: asyncssh.SSHKey, transport: Literal["builtin", "openssh"]
) -> None:
    value, answers, kept = ADDS[name]
    (home / ".ssh/config").write_text(f"AddKeysToAgent {value}\n")
    async with sshd(Behaviour(keys=[locked])) as server, agent_with(home):
        server.known(home)
        user = ScriptedUser([*answers])
        assert await echo(at(server), user, transport) == "in\n"
        assert len(user.asked) == len(answers)
        assert await agent_keys() == ([public(locked)] if kept else [])
        again = ScriptedUser([(PASSPHRASE,), None])
        assert await echo(at(server), again, transport) == "in\n"
        assert (again.asked == []) == kept


async def test_an_agent_that_refuses_the_key_costs_no_login(
    home: Path, locked: asyncssh.SSHKey, transport: Literal["builtin", "openssh"]
) -> None:
    (home / ".ssh/config").write_text(f"AddKeysToAgent yes\nIdentityAgent {home}/nowhere\n")
    async with sshd(Behaviour(keys=[locked])) as server:
        server.known(home)
        user = ScriptedUser([(PASSPHRASE,)])
        assert await echo(at(server), user, transport) == "in\n"


async def test_nothing_is_asked_in_batch_mode(
    home: Path, locked: asyncssh.SSHKey, transport: Literal["builtin", "openssh"]
) -> None:
    """No password, no code, no passphrase, no trust in a host key."""
    (home / ".ssh/config").write_text("BatchMode yes\n")
    rounds: list[tuple[str, tuple[tuple[str, bool], ...], tuple[str, ...]]] = [
        ("", (("Code: ", False),), ("1",))
    ]
    how = Behaviour(keys=[locked], password="right", rounds=rounds)
    async with sshd(how) as server:
        user = ScriptedUser()
        unknown = await refusal(at(server), user, transport)
        assert unknown.what.startswith("host key of")
        assert "BatchMode" in unknown.line
        server.known(home)
        denied = await refusal(at(server), user, transport)
        assert "BatchMode" in denied.line
    assert user.asked == []
    assert how.tried == []


async def test_a_refused_connection_is_tried_again(
    home: Path, key: asyncssh.SSHKey, transport: Literal["builtin", "openssh"]
) -> None:
    """ConnectionAttempts: by ssh once a second."""
    (home / ".ssh/config").write_text("ConnectionAttempts 60\n")
    bound = socket.socket()  # a port on which nothing listens, and that nobody else gets
    bound.bind(("127.0.0.1", 0))
    port = bound.getsockname()[1]
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{port} {public(host_key)}\n")
    logging_in = asyncio.create_task(echo(f"lena@127.0.0.1:{port}", ssh=transport))
    # Its first attempts are refused.
    await asyncio.wait({logging_in}, timeout=2)
    assert not logging_in.done()
    async with sshd(Behaviour(keys=[key]), host_key, sock=bound):
        async with asyncio.timeout(120):
            assert await logging_in == "in\n"
