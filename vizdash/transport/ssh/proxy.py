"""ProxyCommand: a program whose stdin and stdout are the connection (ssh_config(5))."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket

import asyncssh

from vizdash.errors import last_line

_KEPT = 4096


class Proxy:
    """A running ProxyCommand. ``sock`` is our end; its stderr never enters the connection."""

    def __init__(self, process: asyncio.subprocess.Process, sock: socket.socket) -> None:
        self.sock = sock
        self._process = process
        self._stderr = b""
        self._reading = asyncio.create_task(self._read())
        self._ending: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, command: str) -> Proxy:
        """Run it by the person's shell, as ssh does. Raises OSError."""
        near, far = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
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
        """Whether it has."""
        return self._process.returncode is not None

    async def last_word(self) -> str:
        """The last line of its stderr, waited for a moment: it may just be ending."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._reading), 0.5)
        return last_line(self._stderr.decode(errors="replace"))

    def end_with(self, conn: asyncssh.SSHClientConnection) -> None:
        """End it when the connection has ended."""

        async def wait() -> None:
            await conn.wait_closed()
            await self.close()

        self._ending = asyncio.create_task(wait())

    async def close(self) -> None:
        """End it, and wait for its end: SIGHUP as ssh sends it, SIGKILL if it is still there 2 s
        later. May be called again.
        """
        self.sock.close()
        for number, wait_s in ((signal.SIGHUP, 2), (signal.SIGKILL, 5)):
            if self._process.returncode is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), wait_s)
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
