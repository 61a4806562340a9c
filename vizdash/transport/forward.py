"""Reaching a session's Unix socket: on this machine, or on a node by the user's own ssh(1)."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from vizdash import commandlog
from vizdash.errors import Unreachable, last_line
from vizdash.files import private_folder
from vizdash.transport.base import Reader, Writer
from vizdash.transport.nodehosts import NodeHost, NodeHosts
from vizdash.transport.ssh_words import node_failure

#: Options that a tunnel needs whatever ~/.ssh/config says; host keys are always checked.
SSH_OPTIONS = (
    "BatchMode=yes",
    "ConnectTimeout=10",
    "ControlMaster=no",
    "ControlPath=none",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "StreamLocalBindMask=0177",
    "StreamLocalBindUnlink=yes",
    "ForwardX11=no",
    "ForwardAgent=no",
    "RequestTTY=no",
    "RemoteCommand=none",
)
_OPEN_S = 20.0
#: Characters of ssh's words that are kept.
_KEPT = 4096


class HereForward:
    """The socket is on this machine already."""

    def __init__(self, path: str) -> None:
        self._path = path

    @property
    def path(self) -> str:
        """The socket itself."""
        return self._path

    async def dial(self) -> tuple[Reader, Writer]:
        """See Forward.dial."""
        return await asyncio.open_unix_connection(self._path)

    async def wait_lost(self) -> str:
        """Return once the socket is gone (looked at every second)."""
        while await asyncio.to_thread(Path(self._path).exists):
            await asyncio.sleep(1.0)
        return "the session's socket is gone"

    async def close(self) -> None:
        """Nothing to end."""


class HereForwarder:
    """For sessions of this machine."""

    async def open(self, node: str, socket: str, *, job_id: str = "") -> HereForward:
        """Raises Unreachable when there's no such socket."""
        if not await asyncio.to_thread(Path(socket).is_socket):
            raise Unreachable(f"session on {node}", "its socket is gone: it may have ended")
        return HereForward(socket)


class SshForward:
    """A running ``ssh -L LOCAL:REMOTE``; both ends are Unix sockets, the near one is 0600."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, node: str) -> None:
        self._process = process
        self._folder = folder
        self._node = node
        self._words = ""
        self._said = ""
        self._reading = asyncio.create_task(self._read())

    @property
    def path(self) -> str:
        """The near socket."""
        return str(self._folder / "s")

    async def dial(self) -> tuple[Reader, Writer]:
        """See Forward.dial."""
        return await asyncio.open_unix_connection(self.path)

    @property
    def words(self) -> str:
        """What ssh said last."""
        return self._words

    async def _read(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            text = line.decode(errors="replace")
            self._words = last_line(text) or self._words
            self._said = (self._said + text)[-_KEPT:]

    async def wait_lost(self) -> str:
        """Return with ssh's last words once it has ended."""
        code = await self._process.wait()
        await self._reading
        return self._words or f"ssh to {self._node} ended with code {code}"

    async def ready(self) -> None:
        """Wait for the near socket. Raises Unreachable with ssh's words."""
        lost = asyncio.create_task(self.wait_lost())
        try:
            async with asyncio.timeout(_OPEN_S):
                while not Path(self.path).exists():
                    await asyncio.wait({lost}, timeout=0.02)
                    if lost.done():
                        said = self._said or lost.result()
                        raise node_failure(f"ssh {self._node}", self._node, said)
        except TimeoutError as e:
            why = self._words or f"no tunnel in {_OPEN_S:g} s"
            raise Unreachable(f"ssh {self._node}", why) from e
        finally:
            lost.cancel()

    async def close(self) -> None:
        """End ssh and remove the near socket."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            await self._process.wait()
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading
        shutil.rmtree(self._folder, ignore_errors=True)


class SshForwarder:
    """One ssh(1) per tunnel, with the user's own keys and configuration.

    ssh runs ``cat`` on the node with our pipe as its input, so that the tunnel ends with this
    process, however that ends.
    """

    def __init__(self, ssh: Sequence[str] = ("ssh",), *, hosts: NodeHosts | None = None) -> None:
        self._ssh = tuple(ssh)
        self._hosts = hosts

    async def open(self, node: str, socket: str, *, job_id: str = "") -> SshForward:
        """See PortForwarder.open. Raises Refused where no folder can be made."""
        host = await self._hosts.find(node) if self._hosts else NodeHost(node)
        folder = await asyncio.to_thread(private_folder)
        options = [word for option in SSH_OPTIONS for word in ("-o", option)]
        near = ("-L", f"{folder}/s:{socket}")
        argv = [*self._ssh, "-T", *options, *host.options, *near, host.name, "exec cat"]
        commandlog.record(argv, "started")
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as e:
            shutil.rmtree(folder, ignore_errors=True)
            raise Unreachable(self._ssh[0], e.strerror or str(e), "install openssh-client") from e
        forward = SshForward(process, folder, host.name)
        try:
            await forward.ready()
        except BaseException:
            await asyncio.shield(forward.close())
            raise
        return forward
