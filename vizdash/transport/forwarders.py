"""Routes to a session's Unix socket: on this machine, by ssh(1), or the first that works."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from typing_extensions import override

from vizdash.errors import Unreachable, VizdashError, last_line
from vizdash.transport import child
from vizdash.transport.base import Forward, PortForwarder, Reader, Writer
from vizdash.transport.node_ssh import NodeHost, NodeHosts, node_ssh_error
from vizdash.util import command_log
from vizdash.util.assets import example_config
from vizdash.util.files import private_folder, remove_private_folder

#: Options of a tunnel, whatever ~/.ssh/config says. Host keys are always checked.
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
#: Seconds in which ssh has to open a tunnel.
_OPEN_S = 20.0
#: Seconds for the rest of stderr when ssh has ended.
_LAST_LINE_S = 1.0
#: Characters of ssh's stderr that are kept.
_KEPT = 4096


class LocalForward(Forward):
    """The route to a socket of this machine: none is needed."""

    def __init__(self, path: str) -> None:
        self._path = path

    @property
    def path(self) -> str:
        """The path of the socket."""
        return self._path

    @override
    async def dial(self) -> tuple[Reader, Writer]:
        return await asyncio.open_unix_connection(self._path)

    @override
    async def wait_lost(self) -> str:
        """Wait until the socket is gone; it is checked every second."""
        while await asyncio.to_thread(Path(self._path).exists):
            await asyncio.sleep(1.0)
        return "the session's socket is gone"

    @override
    async def close(self) -> None:
        """Do nothing: the socket is the session's."""


class LocalForwarder(PortForwarder):
    """Opens sockets of sessions on this machine."""

    @override
    async def open(self, node: str, socket: str, *, job_id: str = "") -> LocalForward:
        """Return the route. Raises Unreachable when there is no such socket."""
        if not await asyncio.to_thread(Path(socket).is_socket):
            raise Unreachable(f"session on {node}", "its socket is gone: it may have ended")
        return LocalForward(socket)


class SshForward(Forward):
    """A running ``ssh -L LOCAL:REMOTE``. Both ends are Unix sockets; the local one is 0600."""

    def __init__(self, process: child.Child, folder: Path, node: str) -> None:
        self._process = process
        self._folder = folder
        self._node = node
        self._last_line = ""
        self._stderr = ""
        self._reading = asyncio.create_task(self._read())

    @property
    def path(self) -> str:
        """The local socket."""
        return str(self._folder / "s")

    @override
    async def dial(self) -> tuple[Reader, Writer]:
        return await asyncio.open_unix_connection(self.path)

    async def _read(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            text = line.decode(errors="replace")
            self._last_line = last_line(text) or self._last_line
            self._stderr = (self._stderr + text)[-_KEPT:]

    @override
    async def wait_lost(self) -> str:
        """Wait until ssh has ended, and return its last line on stderr."""
        code = await self._process.wait()
        # A process of its own that keeps running may hold stderr open.
        await asyncio.wait({self._reading}, timeout=_LAST_LINE_S)
        return self._last_line or f"ssh to {self._node} ended with code {code}"

    async def wait_ready(self) -> None:
        """Wait for the local socket. Raises Unreachable with ssh's message."""
        lost = asyncio.create_task(self.wait_lost())
        try:
            async with asyncio.timeout(_OPEN_S):
                while not Path(self.path).exists():
                    await asyncio.wait({lost}, timeout=0.02)
                    if lost.done():
                        stderr = self._stderr or lost.result()
                        raise node_ssh_error(f"ssh {self._node}", self._node, stderr)
        except TimeoutError as e:
            why = self._last_line or f"no tunnel in {_OPEN_S:g} s"
            raise Unreachable(f"ssh {self._node}", why) from e
        finally:
            lost.cancel()

    @override
    async def close(self) -> None:
        """Stop ssh and remove the local socket."""
        try:
            await child.end_group(self._process)
            await self._process.close()
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        finally:
            remove_private_folder(self._folder)


class SshForwarder(PortForwarder):
    """Opens tunnels, each with its own ssh(1), by the user's keys and configuration.

    ssh runs ``cat`` on the node with a pipe of vizdash as its input, so that the tunnel closes when
    vizdash ends, even if it is killed.
    """

    def __init__(self, ssh: Sequence[str] = ("ssh",), *, hosts: NodeHosts | None = None) -> None:
        self._ssh = tuple(ssh)
        self._hosts = hosts

    @override
    async def open(self, node: str, socket: str, *, job_id: str = "") -> SshForward:
        """Open a tunnel. Raises Unreachable, and Refused where no folder can be made."""
        host = await self._hosts.find(node) if self._hosts else NodeHost(node)
        folder = await asyncio.to_thread(private_folder)
        options = [word for option in SSH_OPTIONS for word in ("-o", option)]
        forwarding = ("-L", f"{folder}/s:{socket}")
        argv = [*self._ssh, "-T", *options, *host.options, *forwarding, host.name, "exec cat"]
        command_log.record(argv, "started")
        try:
            process = await child.start(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except asyncio.CancelledError:
            remove_private_folder(folder)
            raise
        except OSError as e:
            remove_private_folder(folder)
            raise Unreachable(self._ssh[0], e.strerror or str(e), "install openssh-client") from e
        forward = SshForward(process, folder, host.name)
        try:
            await forward.wait_ready()
        except BaseException:
            await asyncio.shield(forward.close())
            raise
        return forward


#: Seconds in which a desktop's web server has to answer through a new route.
_ANSWER_S = 20.0
#: Seconds after which cheaper routes than the remembered one are tried again.
_RETRY_CHEAPER_S = 900.0


class AutoForwarder(PortForwarder):
    """Opens a route by the first of ``forwarders`` that works; they are in order of cost.

    ``first`` names the one that worked last and is tried before the others; ``since`` is when that
    was remembered (seconds since the epoch). ``only`` names the one that may be used (empty: any).
    ``remember`` gets the name of the one that worked. After a quarter of an hour, cheaper ones are
    tried again in the background.
    """

    def __init__(
        self,
        forwarders: Mapping[str, PortForwarder],
        *,
        only: str = "",
        first: str = "",
        since: float = 0.0,
        remember: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._forwarders = forwarders
        self._only = only
        self._first = first
        self._since = since
        self._remember = remember
        self._retries: set[asyncio.Task[None]] = set()

    @override
    async def open(self, node: str, socket: str, *, job_id: str = "") -> Forward:
        """Open a route. Raises Unreachable with the reason of each forwarder."""
        names = (
            [self._only] if self._only else sorted(self._forwarders, key=lambda n: n != self._first)
        )
        failures: list[tuple[str, VizdashError]] = []
        for name in names:
            try:
                forward = await self._try(self._forwarders[name], node, socket, job_id)
            except VizdashError as e:
                failures.append((name, e))
                continue
            if name != self._first:
                self._keep(name)
            elif time.time() - self._since > _RETRY_CHEAPER_S:
                self._keep(name)
                self._retry_cheaper(name, node, socket, job_id)
            return forward
        if len(failures) == 1:
            raise failures[0][1]
        why = "; ".join(f"{name}: {e.why or e.what}" for name, e in failures)
        raise Unreachable(f"no route to {node}", why, f"see `tunnel` in {example_config()}")

    def _keep(self, name: str) -> None:
        self._first, self._since = name, time.time()
        self._remember(name)

    def _retry_cheaper(self, name: str, node: str, socket: str, job_id: str) -> None:
        cheaper = [] if self._only else list(self._forwarders)[: list(self._forwarders).index(name)]

        async def retry() -> None:
            for one in cheaper:
                try:
                    forward = await self._try(self._forwarders[one], node, socket, job_id)
                except VizdashError:
                    continue
                await forward.close()
                self._keep(one)
                return

        if cheaper:
            task = asyncio.create_task(retry())
            self._retries.add(task)
            task.add_done_callback(self._retries.discard)

    async def _try(self, forwarder: PortForwarder, node: str, socket: str, job_id: str) -> Forward:
        forward = await forwarder.open(node, socket, job_id=job_id)
        try:
            await check_desktop(forward, node)
        except BaseException:
            await asyncio.shield(forward.close())
            raise
        return forward


async def check_desktop(forward: Forward, node: str) -> None:
    """Raise Unreachable unless a web, VNC or SSH server answers through ``forward``.

    ssh accepts connections for a socket that does not exist, too; only an answer proves the route.
    """
    what = f"the desktop on {node}"
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await forward.dial()
            try:
                writer.write(b"GET /vnc.html HTTP/1.0\r\n\r\n")
                await writer.drain()
                answer = await reader.read(16)
            finally:
                writer.close()
    except TimeoutError as e:
        raise Unreachable(what, f"no answer in {_ANSWER_S:g} s") from e
    except OSError as e:
        raise Unreachable(what, e.strerror or str(e)) from e
    if not answer.startswith((b"HTTP/", b"RFB ", b"SSH-")):
        raise Unreachable(what, "it does not answer", "has the session ended?")
