"""ProxyJump and ProxyCommand (ssh_config(5)): the hosts and commands that lead to a host."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import replace

import asyncssh

from vizdash.errors import Refused, last_line
from vizdash.transport import child
from vizdash.transport.ssh.known_hosts import find_known_host
from vizdash.transport.ssh.settings import HostSettings, Target, name_with_port, read_settings

_KEPT = 4096


class Proxy:
    """A running ProxyCommand. ``sock`` is vizdash's end of its stdin and stdout."""

    def __init__(self, process: child.Child, sock: socket.socket) -> None:
        self.sock = sock
        self._process = process
        self._stderr = b""
        self._reading = asyncio.create_task(self._read())
        self._ending: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, command: str) -> Proxy:
        """Run a command by the user's shell, as ssh does. Raises OSError."""
        near, far = socket.socketpair()
        try:
            process = await child.start(
                os.environ.get("SHELL") or "/bin/sh",
                "-c",
                f"exec {command}",
                stdin=far.fileno(),
                stdout=far.fileno(),
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except BaseException:
            near.close()
            raise
        finally:
            far.close()
        near.setblocking(False)
        return cls(process, near)

    async def _read(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(_KEPT):
            self._stderr = (self._stderr + data)[-_KEPT:]

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.returncode is not None

    async def last_line(self) -> str:
        """Return the last line of its stderr, after a moment: it may be ending."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._reading), 0.5)
        return last_line(self._stderr.decode(errors="replace"))

    def end_with(self, conn: asyncssh.SSHClientConnection) -> None:
        """Stop it when the connection has ended."""

        async def wait() -> None:
            await conn.wait_closed()
            await self.close()

        self._ending = asyncio.create_task(wait())

    async def close(self) -> None:
        """Stop it and what it has started, by SIGHUP as ssh does, and by SIGKILL 2 s later; wait
        for their end. May be called again.
        """
        self.sock.close()
        await child.end_group(self._process, signal.SIGHUP)
        await self._process.close()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)


#: Most jump hosts to a host: a ProxyJump may lead in a circle.
_MAX_JUMPS = 16


async def read_route(target: Target) -> tuple[HostSettings, ...]:
    """Read the settings of a host and of its jump hosts, from the last to the first.

    Raises Refused, also for a circle.
    """
    seen: list[Target] = []
    route: list[HostSettings] = []
    while True:
        check_circle(target, tuple(seen))
        seen.append(target)
        settings = await read_settings(target)
        route.append(settings)
        if not settings.jumps:
            return tuple(route)
        target = Target.last_of(settings.jumps)


def check_circle(target: Target, behind: tuple[Target, ...]) -> None:
    """Raise Refused if a host is its own jump host. ``behind`` are the hosts beyond it."""
    if target in behind or len(behind) > _MAX_JUMPS:
        names = " → ".join(one.host for one in (*behind, target))
        why = f"its jump hosts lead in a circle: {names}"
        raise Refused(behind[0].host, why, "check ProxyJump in ~/.ssh/config")


async def read_node_settings(
    target: Target, address: str = "", names: Sequence[str] = ()
) -> HostSettings:
    """Read the settings of a node by its name, which is what users' settings name.

    ``address`` is the name by which the login host reaches it (empty: its own); it counts where the
    settings have no HostName. ``names`` are Slurm's names for it: where the settings have no
    HostKeyAlias and known_hosts does not have the address, its host key is looked up under the
    first of them that known_hosts has. Raises Refused.
    """
    settings = await read_settings(target)
    if not address or settings.host != target.host.lower():
        return settings
    settings = replace(settings, host=address.lower())
    if settings.alias or (await find_known_host(settings)).lines:
        return settings
    for name in names:
        alias = name_with_port(name.lower(), settings.port)
        named = replace(settings, alias=alias)
        if (await find_known_host(named)).lines:
            return named
    return settings
