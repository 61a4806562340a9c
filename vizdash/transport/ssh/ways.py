"""From this machine over the one connection to a session's socket on a node."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import asyncssh

from vizdash.errors import Unreachable, VizdashError, last_line
from vizdash.model.link import Link
from vizdash.transport.base import Command, Reader, Writer
from vizdash.transport.forward import SSH_OPTIONS
from vizdash.transport.nodehosts import NodeHost, NodeHosts
from vizdash.transport.ssh.runner import SshRunner
from vizdash.transport.ssh.streams import tcp_stream, unix_stream
from vizdash.transport.ssh_words import node_failure

#: Seconds that a new stream waits for a connection that is being mended.
_WAIT_S = 60.0
#: Failures in a row, with the connection up, after which a way is given up.
_FAILURES = 3
#: Seconds for which the login host's ssh stays although nobody uses it.
_IDLE_S = 60

Dialling = Callable[[asyncssh.SSHClientConnection], Awaitable[tuple[Reader, Writer]]]


class LinkForward:
    """A way that outlives its connection: each stream is made over the one that is up.

    ``dialling`` makes one; ``ending`` takes away what the way left on the login host.
    """

    def __init__(
        self, runner: SshRunner, dialling: Dialling, ending: Callable[[], Awaitable[None]]
    ) -> None:
        self._runner = runner
        self._dialling = dialling
        self._ending = ending
        self._failures = 0
        self._dead: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def dial(self) -> tuple[Reader, Writer]:
        """See Forward.dial. Waits while the connection is being mended."""
        conn = await self._runner.link.connection(_WAIT_S)
        try:
            stream = await self._dialling(conn)
        except (VizdashError, asyncssh.Error, OSError) as e:
            # A connection that has just broken is closed a moment later.
            await asyncio.sleep(0)
            if conn.is_closed() or self._runner.link.link.down:
                raise ConnectionResetError(str(e)) from e
            self._failures += 1
            why = e.line if isinstance(e, VizdashError) else str(e)
            if self._failures >= _FAILURES and not self._dead.done():
                self._dead.set_result(why)
            if isinstance(e, VizdashError):
                raise
            raise Unreachable("the tunnel", why) from e
        self._failures = 0
        return stream

    async def wait_lost(self) -> str:
        """See Forward.wait_lost: only where the connection is up, and the way is not."""
        return await asyncio.shield(self._dead)

    async def close(self) -> None:
        """See Forward.close."""
        self._dead.cancel()
        await self._ending()


#: Leads a Unix socket of the login host to one of the node, by the user's own keys there. ssh
#: stays for a minute, and then for as long as somebody is connected through it (ssh(1), -f): no
#: session of ours is held open for it, so that MaxSessions 1 will do, and a client that vanishes
#: leaves nothing. What runs on the node is a cat that ends with its input, as when ssh is ended: a
#: sleep would stay there for the rest of the minute. SOCKET NODE IDLE -- SSH-OPTIONS
_HOLD = """
umask 077
socket=$1 node=$2 idle=$3
shift 4
base=${XDG_RUNTIME_DIR:-}
[ -n "$base" ] && [ -d "$base" ] && [ -w "$base" ] && [ ${#base} -lt 60 ] || base=/tmp
d=$(mktemp -d "$base/vizdash-XXXXXXXX") || exit 1
command -v setsid >/dev/null 2>&1 && new=setsid || new=
$new sh -c '
  d=$1 idle=$2
  shift 2
  trap "" HUP
  { sleep "$idle" & echo $! >"$d/idle"; wait; } 2>/dev/null | ssh "$@" >/dev/null 2>"$d/log" &
  echo $! >"$d/pid"
  wait $!
  echo $? >"$d/code"
  kill "$(cat "$d/idle")" 2>/dev/null
  sleep 2
  rm -rf -- "$d"
' sh "$d" "$idle" "$@" -L "$d/s:$socket" "$node" "exec cat" </dev/null >/dev/null 2>&1 &
i=0
while [ $i -lt 400 ]; do
  if [ -S "$d/s" ]; then printf '%s\\n' "$d"; exit 0; fi
  if [ -e "$d/code" ]; then cat "$d/log" >&2; rm -rf -- "$d"; exit 1; fi
  sleep 0.05 2>/dev/null || sleep 1
  i=$((i + 1))
done
kill "$(cat "$d/pid")" 2>/dev/null
echo "no tunnel in 20 s" >&2
exit 1
"""
_DROP = 'if [ -f "$1/pid" ]; then kill $(cat "$1/pid" "$1/idle"); fi 2>/dev/null; rm -rf -- "$1"'


class LoginSshForwarder:
    """The login host's ssh to the node; the laptop's keys need not be valid there."""

    def __init__(self, runner: SshRunner, *, hosts: NodeHosts | None = None) -> None:
        self._runner = runner
        self._hosts = hosts

    async def open(self, node: str, socket: str, *, job_id: str = "") -> LinkForward:
        """See PortForwarder.open."""
        host = await self._hosts.find(node) if self._hosts else NodeHost(node)
        hold = _Hold(self._runner, host, socket)
        making = asyncio.ensure_future(hold.make())
        try:
            await asyncio.shield(making)
        except asyncio.CancelledError:
            # Nobody wants it any more: it would stay for its minute.
            with contextlib.suppress(VizdashError):
                await making
                await hold.drop()
            raise
        return LinkForward(self._runner, hold.dial, hold.drop)


class _Hold:
    """The socket on the login host: made when it isn't there (any more)."""

    def __init__(self, runner: SshRunner, host: NodeHost, socket: str) -> None:
        self._runner = runner
        self._host = host
        self._socket = socket
        self._folder = ""
        self._lock = asyncio.Lock()

    async def make(self) -> None:
        options = [word for option in SSH_OPTIONS for word in ("-o", option)]
        argv = (
            "sh",
            "-c",
            _HOLD,
            "sh",
            self._socket,
            self._host.name,
            str(_IDLE_S),
            "--",
            "-T",
            *options,
            *self._host.options,
        )
        result = await self._runner.run(Command(argv, timeout_s=30))
        if result.code != 0:
            host = self._runner.link.link.host
            said = result.stderr or f"ssh ended with code {result.code}"
            name = self._host.name
            raise node_failure(f"ssh {name}", name, said, where=host)
        self._folder = last_line(result.stdout)

    async def dial(self, conn: asyncssh.SSHClientConnection) -> tuple[Reader, Writer]:
        folder = self._folder
        try:
            return await unix_stream(conn, f"{folder}/s")
        except asyncssh.ChannelOpenError as e:
            if e.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
                host = self._runner.link.link.host
                raise Unreachable(host, "its sshd forwards no sockets", "set `tunnel: srun`") from e
        async with self._lock:
            if self._folder == folder:
                await self.make()
        return await unix_stream(conn, f"{self._folder}/s")

    async def drop(self) -> None:
        try:
            async with asyncio.timeout(5):
                if not self._runner.link.link.down:
                    await self._runner.run(Command(("sh", "-c", _DROP, "sh", self._folder)))
        except (VizdashError, TimeoutError):
            return  # it ends by itself


class HopForwarder:
    """A second SSH connection, from this machine through the login host to the node."""

    def __init__(self, runner: SshRunner, *, hosts: NodeHosts | None = None) -> None:
        self._runner = runner
        self._hosts = hosts

    async def open(self, node: str, socket: str, *, job_id: str = "") -> LinkForward:
        """See PortForwarder.open. Our own ssh settings may know the node by its name, so that
        only a name that the login host can't resolve is replaced.
        """
        host = await self._hosts.find(node) if self._hosts else NodeHost(node)
        names = self._hosts.names(node) if self._hosts else ()
        address = "" if host.name == node else host.name
        hop = _Hop(self._runner, socket, node, address, names)
        await hop.connect()
        return LinkForward(self._runner, hop.dial, hop.drop)


class _Hop:
    def __init__(
        self, runner: SshRunner, socket: str, node: str, address: str, names: Sequence[str]
    ) -> None:
        self._runner = runner
        self._socket = socket
        self._node, self._address, self._names = node, address, names
        self._conn: asyncssh.SSHClientConnection | None = None
        self._lock = asyncio.Lock()

    async def connect(self) -> asyncssh.SSHClientConnection:
        async with self._lock:
            if self._conn is None or self._conn.is_closed():
                link = self._runner.link
                self._conn = await link.hop(self._node, self._address, self._names)
            return self._conn

    async def dial(self, conn: asyncssh.SSHClientConnection) -> tuple[Reader, Writer]:
        return await unix_stream(await self.connect(), self._socket)

    async def drop(self) -> None:
        if self._conn is not None:
            self._conn.close()


class SshRemote:
    """See Remote."""

    def __init__(self, runner: SshRunner) -> None:
        self._runner = runner

    @property
    def link(self) -> Link:
        """See Remote.link."""
        return self._runner.link.link

    def watch(self, watcher: Callable[[Link], None]) -> None:
        """See Remote.watch."""
        self._runner.link.watchers.append(watcher)

    async def log_in(self) -> None:
        """See Remote.log_in."""
        await self._runner.link.log_in()

    async def open_port(self, host: str, port: int) -> LinkForward:
        """See Remote.open_port."""

        async def nothing() -> None:
            return

        return LinkForward(self._runner, lambda conn: tcp_stream(conn, host, port), nothing)

    async def close(self) -> None:
        """See Remote.close."""
        await self._runner.link.close()
