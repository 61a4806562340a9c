"""A client of the control socket of ssh(1), which shares its connection.

Source of the format: OpenSSH's PROTOCOL.mux. After ``MUX_C_PROXY`` (OpenSSH 7.4 and newer) both
ends speak the SSH connection protocol (RFC 4254) without encryption, so that asyncssh's channels
work over it: no process per command, the server's own words for what it refuses, and signals.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import stat
import struct
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import asyncssh
from asyncssh.packet import SSHPacket
from typing_extensions import override

from vizdash.errors import Unreachable
from vizdash.transport.openssh.master import Master

_HELLO, _VERSION = 0x00000001, 4
_ALIVE_CHECK, _PROXY = 0x10000004, 0x1000000F
_ALIVE, _PROXIED = 0x80000005, 0x8000000F
#: Seconds for an answer: the socket is on this machine.
_ANSWER_S = 10.0
#: Most bytes of an answer, and of a packet: a channel's packets have 32 KiB.
_LONGEST, _LONGEST_PACKET = 4096, 1 << 20
#: Packet types of the connection protocol begin with CHANNEL_OPEN; from 93 on they name a channel.
_CHANNEL_OPEN, _OF_CHANNEL = 90, 93


async def find_master(path: str) -> int:
    """Return the process id of the ssh(1) behind the control socket ``path``; 0 where none answers,
    or where the socket is another user's.
    """
    if not await asyncio.to_thread(_is_own_socket, path):
        return 0
    try:
        sock = await _connect(path)
    except (OSError, TimeoutError, ValueError):
        return 0
    try:
        async with asyncio.timeout(_ANSWER_S):
            kind, _, pid = struct.unpack(">III", await _ask(sock, _ALIVE_CHECK))
    except (OSError, TimeoutError, struct.error):
        return 0
    finally:
        sock.close()
    return int(pid) if kind == _ALIVE else 0


async def connect_to_master(
    path: str, host: str, client: asyncssh.SSHClient, *, agent: str = ""
) -> MasterConnection:
    """Connect over the control socket ``path``. ``client`` is only told of the end. ``agent`` is
    the socket of the agent to forward to commands (empty: none). Raises Unreachable.
    """
    loop = asyncio.get_running_loop()
    options = asyncssh.SSHClientConnectionOptions(
        config=None, host=host, username="", known_hosts=None, client_keys=None, gss_host=None,
        agent_path=None, agent_forwarding=agent or False, client_factory=lambda: client,
        x509_trusted_certs=None, login_timeout=0, keepalive_interval=0,
    )  # fmt: skip
    try:
        sock = await _connect(path)
        try:
            async with asyncio.timeout(_ANSWER_S):
                answer = await _ask(sock, _PROXY)
            _expect(answer, _PROXIED)
            conn = MasterConnection(loop, options)
            await loop.create_unix_connection(lambda: conn, sock=sock)
        except BaseException:
            sock.close()
            raise
    except (OSError, TimeoutError, ValueError, struct.error) as e:
        why = f"the ssh that holds its connection does not answer: {e or type(e).__name__}"
        raise Unreachable(host, why) from e
    return conn


def _is_own_socket(path: str) -> bool:
    try:
        about = Path(path).stat()
    except OSError:
        return False
    return stat.S_ISSOCK(about.st_mode) and about.st_uid == os.geteuid()


async def _connect(path: str) -> socket.socket:
    """Connect, and exchange hello messages."""
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    try:
        async with asyncio.timeout(_ANSWER_S):
            await loop.sock_connect(sock, path)
            await loop.sock_sendall(sock, struct.pack(">III", 8, _HELLO, _VERSION))
            _expect(await _read(sock), _HELLO, _VERSION)
    except BaseException:
        sock.close()
        raise
    return sock


async def _ask(sock: socket.socket, request: int) -> bytes:
    """Send a request without a body, and return its answer."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, struct.pack(">III", 8, request, 0))
    return await _read(sock)


def _expect(answer: bytes, *numbers: int) -> None:
    """Raise ValueError unless the answer begins with these numbers."""
    if struct.unpack_from(f">{len(numbers)}I", answer) != numbers:
        raise ValueError("its answer is not the one of an ssh that takes others along")


async def _read(sock: socket.socket) -> bytes:
    """Read one message and no more: the proxied protocol may follow."""
    size = struct.unpack(">I", await _exactly(sock, 4))[0]
    if size > _LONGEST:
        raise OSError(f"a message of {size} bytes")
    return await _exactly(sock, size)


async def _exactly(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        more = await loop.sock_recv(sock, size - len(data))
        if not more:
            raise ConnectionResetError("it hung up")
        data += more
    return data


class MasterConnection(asyncssh.SSHClientConnection):
    """asyncssh's connection, starting after key exchange and login."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, options: asyncssh.SSHClientConnectionOptions
    ) -> None:
        super().__init__(loop, options)
        self._kex_complete = self._auth_complete = self._auth_final = True
        self._recv_handler = self._recv_pkthdr
        #: Time of the last byte (time.monotonic); all come from the server.
        self.heard_at = time.monotonic()
        self._master: Master | None = None

    def hold(self, master: Master) -> None:
        """Tie a master to the connection: ``wait_closed`` also waits for its end."""
        self._master = master

    async def wait_closed(self) -> None:
        """Wait for the end of the connection and of its master."""
        await super().wait_closed()
        if self._master is not None:
            await self._master.wait_closed()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start without a version exchange."""
        self._transport = cast("asyncio.Transport", transport)
        owner = cast("asyncssh.SSHClient", self._protocol_factory())
        self._owner = owner
        owner.connection_made(self)

    def data_received(self, data: bytes, datatype: Any = None) -> None:
        """Note the time of the data."""
        self.heard_at = time.monotonic()
        super().data_received(data, datatype)

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        """Send length, padding length 0, type and content. Packets of the transport layer and
        global requests are dropped: the master handles these.
        """
        if pkttype >= _CHANNEL_OPEN:
            payload = b"".join(args)
            self._send(struct.pack(">IBB", len(payload) + 2, 0, pkttype) + payload)

    def _recv_pkthdr(self) -> bool:
        """Handle one packet if it has arrived whole."""
        if len(self._inpbuf) < 4:
            return False
        size = int.from_bytes(self._inpbuf[:4], "big")
        if not 2 <= size <= _LONGEST_PACKET:
            raise asyncssh.ProtocolError(f"a packet of {size} bytes")
        if len(self._inpbuf) < 4 + size:
            return False
        content, self._inpbuf = self._inpbuf[5 : 4 + size], self._inpbuf[4 + size :]
        packet = SSHPacket(content)
        kind = packet.get_byte()
        handler: Any = self
        if kind >= _OF_CHANNEL:
            handler = self._channels.get(packet.get_uint32())
        if handler is None:
            return True  # for a channel that is closed here
        result = handler.process_packet(kind, self._recv_seq, packet)
        if inspect.isawaitable(result):
            self._recv_handler = lambda: False
            task = self.create_task(result)
            done = partial(self._finish_recv_packet, kind, self._recv_seq, is_async=True)
            task.add_done_callback(done)
            return False
        self._finish_recv_packet(kind, self._recv_seq)
        return True

    async def probe(self) -> None:
        """Wait for an answer of the server: open a session, start nothing in it, and close it.

        Raises OSError or asyncssh.Error when the connection is lost. An unknown channel type would
        need no session, but a master keeps a record of each refused channel forever (OpenSSH 10.0,
        channels.c).
        """
        channel: Any = self.create_tcp_channel(encoding=None)
        try:
            await channel._open(b"session")  # noqa: SLF001 (the public call starts a command)
        except asyncssh.ChannelOpenError:
            if self.is_closed():
                raise
            return  # MaxSessions: an answer, too
        channel.close()


class LossListener(asyncssh.SSHClient):
    """Reports the end of a connection."""

    def __init__(self, lost: Callable[[Exception | None], None]) -> None:
        self._lost = lost

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)
