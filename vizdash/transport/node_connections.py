"""One ssh(1) connection to each node, which all commands of a change share.

A login costs both hosts a key exchange and a signature, and a node's sshd may count it
(sshd_config(5), PerSourcePenalties); a change runs about six commands on each node. ssh(1) shares
a connection itself (ssh_config(5), ControlMaster and ControlPath). Where it cannot, for example
beyond a node's MaxSessions, it logs in again by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from vizdash.errors import VizdashError
from vizdash.transport.base import CommandRunner, Pipe, PipeRunner
from vizdash.util.files import private_folder, remove_private_folder
from vizdash.util.open_files import raise_limit

#: Most bytes of the path in which the folder of sockets is made: ssh adds 17 to a socket's name
#: while it opens one, and sun_path has 108 (unix(7)).
_SHORT = 60
#: Connections that are opened at the same time: each costs this host CPU time.
_AT_ONCE = 8
#: Nodes beyond these are connected to for each command: a connection is a process here, with so
#: many pipes. So many other open files are left for the commands.
_MOST_NODES, _PIPES, _OTHER_FILES = 256, 4, 640
#: Seconds after which an attempt that failed is not repeated by the next command, and after which
#: one that lasts no longer delays those to other nodes.
_SLOW_S = 2.0
#: Seconds for a login and the node's shell to start: as for a short command.
_LOGIN_S = 30.0
#: A connection ends with its command. The settings of the user's that would keep it, in the
#: background of ssh, and those that forward ports, are for the user's own connections.
_MASTER = (
    *("-o", "ControlMaster=yes"),
    *("-o", "ControlPersist=no"),
    *("-o", "ClearAllForwardings=yes"),
)


class NodeConnections:
    """Connections to nodes, opened when they are first used."""

    def __init__(self, runner: PipeRunner, folder: Path) -> None:
        self._runner = runner
        self._folder = folder
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._pipes: list[Pipe] = []
        self._paths: dict[str, Path] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        limit = raise_limit(_MOST_NODES * _PIPES + _OTHER_FILES)
        self._most = min(_MOST_NODES, max(0, limit - _OTHER_FILES) // _PIPES)
        self._failures: dict[str, str] = {}

    def options(self, node: str) -> tuple[str, ...]:
        """The options of ssh(1) that share the connection to a node; none before it is open."""
        path = self._paths.get(node)
        return ("-o", "ControlMaster=no", *_socket(path)) if path else ()

    async def open(self, node: str, ssh: Sequence[str], host: str) -> str:
        """Connect to a node with this command line of ssh(1), once.

        Returns what ssh said if it failed slowly, as where a node is down. If it failed at once,
        the next command tries by itself and tells more of the cause.
        """
        if node not in self._opening:
            if len(self._opening) >= self._most:
                return ""
            path = self._folder / str(len(self._opening))
            # Its own command ends with its standard input, so also when vizdash is killed.
            words = (*ssh, *_MASTER, *_socket(path), host, "cat")
            self._opening[node] = asyncio.create_task(self._open(node, path, words))
        await asyncio.shield(self._opening[node])
        return self._failures.get(node, "")

    async def _open(self, node: str, path: Path, words: Sequence[str]) -> None:
        async with self._slots:
            began = time.monotonic()
            try:
                pipe = await self._runner.pipe(words)
            except VizdashError:  # the next command reports it
                return
            self._pipes.append(pipe)
            opening = asyncio.create_task(_wait_open(pipe))
            await asyncio.wait({opening}, timeout=_SLOW_S)
        await asyncio.wait({opening}, timeout=_LOGIN_S)
        if not opening.done():
            opening.cancel()
            await pipe.close()
            self._failures[node] = f"no answer in {_LOGIN_S:g} s"
        elif not (why := opening.result()):
            if path.exists():
                self._paths[node] = path
        elif time.monotonic() - began > _SLOW_S:
            self._failures[node] = why

    async def close(self) -> None:
        """Close all connections."""
        for task in self._opening.values():
            task.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        await asyncio.gather(*(pipe.close() for pipe in self._pipes), return_exceptions=True)


def _socket(path: Path) -> tuple[str, str]:
    """The option of ssh(1) for a control socket: it expands tokens in its path."""
    return "-S", str(path).replace("%", "%%")


async def _wait_open(pipe: Pipe) -> str:
    """Wait until ssh has logged in and made its socket: the first byte comes back, or a line of a
    start-up file does. Returns why it has not; that ends with the pipe.
    """
    with suppress(OSError):
        pipe.writer.write(b"\n")
        await pipe.writer.drain()
        if await pipe.reader.read(1):
            return ""
    return await pipe.wait()


@asynccontextmanager
async def node_connections(runner: CommandRunner) -> AsyncIterator[NodeConnections | None]:
    """Share connections for as long as this lasts; None where they cannot be shared.

    The sockets are in a private folder. What a killed vizdash left of it is removed by the next.
    """
    if not isinstance(runner, PipeRunner) or (folder := await asyncio.to_thread(_folder)) is None:
        yield None
        return
    connections = NodeConnections(runner, folder)
    try:
        yield connections
    finally:
        try:
            await asyncio.shield(connections.close())
        finally:
            remove_private_folder(folder)


def _folder() -> Path | None:
    with suppress(VizdashError):
        return private_folder(_SHORT)
    return None
