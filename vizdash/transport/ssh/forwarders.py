"""Routes from this machine over the SSH connection to a session's socket on a node."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import asyncssh
from typing_extensions import override

from vizdash.errors import Unreachable, VizdashError, last_line
from vizdash.model.connection_status import ConnectionStatus
from vizdash.transport.base import Command, Forward, PortForwarder, Reader, Remote, Writer
from vizdash.transport.forwarders import SSH_OPTIONS
from vizdash.transport.node_ssh import NodeHost, NodeHosts, node_ssh_error
from vizdash.transport.ssh.runner import SshRunner, tcp_stream, unix_stream

#: Seconds that a new stream waits for the connection to come back.
_WAIT_S = 60.0
#: Failures in a row, with the connection up, after which a route counts as lost.
_FAILURES = 3
#: Seconds for which an unused ssh of the login host keeps running.
_IDLE_S = 60

Dial = Callable[[asyncssh.SSHClientConnection], Awaitable[tuple[Reader, Writer]]]


class ConnectionForward(Forward):
    """A route that outlives the connection: each stream uses the connection that is up.

    ``dial`` opens a stream; ``clean_up`` removes what the route left on the login host.
    """

    def __init__(
        self, runner: SshRunner, dial: Dial, clean_up: Callable[[], Awaitable[None]]
    ) -> None:
        self._runner = runner
        self._dial = dial
        self._clean_up = clean_up
        self._failures = 0
        self._dead: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @override
    async def dial(self) -> tuple[Reader, Writer]:
        """Connect to the socket; wait for a connection that is coming back."""
        conn = await self._runner.connection.connect(_WAIT_S)
        try:
            stream = await self._dial(conn)
        except (VizdashError, asyncssh.Error, OSError) as e:
            # asyncssh closes a broken connection a moment later.
            await asyncio.sleep(0)
            if conn.is_closed() or self._runner.connection.status.down:
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

    @override
    async def wait_lost(self) -> str:
        """Wait until the route fails although the connection is up; return the cause."""
        return await asyncio.shield(self._dead)

    @override
    async def close(self) -> None:
        self._dead.cancel()
        await self._clean_up()


#: Forwards a Unix socket of the login host to one of the node, by the user's keys there. ssh runs
#: for a minute, and then for as long as a stream uses it (ssh(1), -f): it needs no session of the
#: connection, so that MaxSessions 1 suffices, and a client that vanishes leaves nothing. The node
#: runs a cat that ends with its input; a sleep would outlive ssh for the rest of the minute. The
#: code of ssh is written by its end of the pipe: dash's wait(1) waits for the sleep, too.
#: SOCKET NODE IDLE -- SSH-OPTIONS
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
  { sleep "$idle" & echo $! >"$d/idle"; wait; rm -f "$d/idle"; } 2>/dev/null | {
    sh -c "echo \\$\\$ >\\"\\$0/pid\\"; exec ssh \\"\\$@\\"" "$d" "$@" >/dev/null 2>"$d/log"
    echo $? >"$d/code"
    kill "$(cat "$d/idle")" 2>/dev/null
  }
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


class LoginHostForwarder(PortForwarder):
    """Opens routes by the login host's ssh to the node, with the user's keys on the login host."""

    def __init__(self, runner: SshRunner, *, hosts: NodeHosts | None = None) -> None:
        self._runner = runner
        self._hosts = hosts

    @override
    async def open(self, node: str, socket: str, *, job_id: str = "") -> ConnectionForward:
        host = await self._hosts.find(node) if self._hosts else NodeHost(node)
        tunnel = _LoginHostTunnel(self._runner, host, socket)
        opening = asyncio.ensure_future(tunnel.open())
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            # Else its ssh would run for a minute.
            with contextlib.suppress(VizdashError):
                await opening
                await tunnel.close()
            raise
        return ConnectionForward(self._runner, tunnel.dial, tunnel.close)


class _LoginHostTunnel:
    """The ssh(1) on the login host that forwards a socket; started again when it has ended."""

    def __init__(self, runner: SshRunner, host: NodeHost, socket: str) -> None:
        self._runner = runner
        self._host = host
        self._socket = socket
        self._folder = ""
        self._lock = asyncio.Lock()

    async def open(self) -> None:
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
            host = self._runner.connection.status.host
            stderr = result.stderr or f"ssh ended with code {result.code}"
            name = self._host.name
            raise node_ssh_error(f"ssh {name}", name, stderr, where=host)
        self._folder = last_line(result.stdout)

    async def dial(self, conn: asyncssh.SSHClientConnection) -> tuple[Reader, Writer]:
        folder = self._folder
        try:
            return await unix_stream(conn, f"{folder}/s")
        except asyncssh.ChannelOpenError as e:
            if e.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
                host = self._runner.connection.status.host
                raise Unreachable(host, "its sshd forwards no sockets", "set `tunnel: srun`") from e
        async with self._lock:
            if self._folder == folder:
                await self.open()
        return await unix_stream(conn, f"{self._folder}/s")

    async def close(self) -> None:
        try:
            async with asyncio.timeout(5):
                if not self._runner.connection.status.down:
                    await self._runner.run(Command(("sh", "-c", _DROP, "sh", self._folder)))
        except (VizdashError, TimeoutError):
            return  # its ssh ends by itself


class HopForwarder(PortForwarder):
    """Opens routes by a second SSH connection, through the login host to the node."""

    def __init__(self, runner: SshRunner, *, hosts: NodeHosts | None = None) -> None:
        self._runner = runner
        self._hosts = hosts

    @override
    async def open(self, node: str, socket: str, *, job_id: str = "") -> ConnectionForward:
        """Open a route. The node's name is replaced only where the login host cannot resolve it,
        since this machine's ssh settings may name the node.
        """
        host = await self._hosts.find(node) if self._hosts else NodeHost(node)
        names = self._hosts.names(node) if self._hosts else ()
        address = "" if host.name == node else host.name
        hop = _Hop(self._runner, socket, node, address, names)
        await hop.connect()
        return ConnectionForward(self._runner, hop.dial, hop.close)


class _Hop:
    """The connection to a node through the login host; made again when it is lost."""

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
                connection = self._runner.connection
                self._conn = await connection.connect_to_node(
                    self._node, self._address, self._names
                )
            return self._conn

    async def dial(self, conn: asyncssh.SSHClientConnection) -> tuple[Reader, Writer]:
        return await unix_stream(await self.connect(), self._socket)

    async def close(self) -> None:
        if self._conn is not None:
            self._conn.close()


class SshRemote(Remote):
    """The connection to the cluster, with its status and TCP routes, by the runner's SSH."""

    def __init__(self, runner: SshRunner) -> None:
        self._runner = runner

    @property
    @override
    def status(self) -> ConnectionStatus:
        return self._runner.connection.status

    @override
    def watch(self, watcher: Callable[[ConnectionStatus], None]) -> None:
        self._runner.connection.watchers.append(watcher)

    @override
    async def log_in(self) -> None:
        await self._runner.connection.log_in()

    @override
    async def open_port(self, host: str, port: int) -> ConnectionForward:

        async def clean_up() -> None:
            return

        return ConnectionForward(self._runner, lambda conn: tcp_stream(conn, host, port), clean_up)

    @override
    async def open_socket(self, path: str) -> ConnectionForward:

        async def clean_up() -> None:
            return

        return ConnectionForward(self._runner, lambda conn: unix_stream(conn, path), clean_up)

    @override
    async def close(self) -> None:
        await self._runner.connection.close()
