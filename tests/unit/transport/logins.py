"""Logging in to a test's sshd by the built-in client or by ssh(1), for one command."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from tests.unit.transport.sshd import ScriptedUser, Sshd
from vizdash.errors import VizdashError
from vizdash.transport.base import Command
from vizdash.transport.ssh.connection import SshConnection
from vizdash.transport.ssh.runner import SshRunner

#: A second factor as Behaviour takes one: the host's words, its fields, and the right answers.
OTP = ("Second factor", (("Verification code: ", False),), ("424242",))


def at(server: Sshd, user: str = "lena") -> str:
    """The server, as ``--host`` names it."""
    return f"{user}@127.0.0.1:{server.port}"


async def echo(
    host: str, person: ScriptedUser | None = None, ssh: Literal["builtin", "openssh"] = "builtin"
) -> str:
    """What ``echo in`` prints, over a connection that is closed again."""
    connection = SshConnection(host, person or ScriptedUser(), ssh=ssh)
    try:
        return (await SshRunner(connection).run(Command(("echo", "in")))).stdout
    finally:
        await connection.close()


async def refusal(
    host: str, person: ScriptedUser | None = None, ssh: Literal["builtin", "openssh"] = "builtin"
) -> VizdashError:
    """The error of a login that fails: one line."""
    with pytest.raises(VizdashError) as caught:
        await echo(host, person, ssh)
    assert "\n" not in caught.value.line
    return caught.value


async def echo_by_openssh(host: str, person: ScriptedUser) -> str:
    """The same, by ssh(1)."""
    return await echo(host, person, "openssh")


async def refusal_by_openssh(host: str, *answers: tuple[str, ...] | None) -> VizdashError:
    """The error of a login by ssh(1) that fails, after these answers."""
    return await refusal(host, ScriptedUser(list(answers)), "openssh")


async def until(true: Callable[[], object]) -> None:
    """Wait until it is true, for a minute at most."""
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.02)


def process_texts() -> dict[str, str]:
    """The argv and environment of each process of this machine but this one."""
    texts = {}
    for number in os.listdir("/proc"):
        if number.isdigit() and number != str(os.getpid()):
            for name in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    text = Path("/proc", number, name).read_text(errors="replace")
                    texts[f"{number}/{name}"] = text
    return texts


async def answer_ssh(
    home: Path, port: int, askpass: str, **answers: str
) -> tuple[list[str], bytes, bytes]:
    """What ssh(1) itself asks in a login (a line for each question), and what it prints. The text
    of ``askpass`` is its SSH_ASKPASS, which appends to ``$COUNTED``.
    """
    program, counted = home / "askpass-program", home / "counted"
    program.write_text(askpass)
    program.chmod(0o700)
    counted.write_text("")
    process = await asyncio.create_subprocess_exec(
        "ssh", "-T", "-p", str(port), "lena@127.0.0.1", "echo in",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env={
            **os.environ, "SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force",
            "COUNTED": str(counted), **answers,
        },
    )  # fmt: skip
    async with asyncio.timeout(60):
        stdout, stderr = await process.communicate()
    return counted.read_text().splitlines(), stdout, stderr
