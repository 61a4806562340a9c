"""Routes: how a browser reaches a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from vizdash.errors import NotFound
from vizdash.sessions.folder import Connection
from vizdash.transport.base import Forward, PortForwarder
from vizdash.transport.listener import Listener


@dataclass(slots=True)
class Route:
    """A way to a session that works now. ``url`` holds the password in its fragment, which a
    browser sends to nobody; it is kept out of ``repr``.
    """

    kind: str
    url: str = field(repr=False)
    host: str = ""
    port: int = 0
    _forward: Forward | None = field(default=None, repr=False)
    _listener: Listener | None = field(default=None, repr=False)

    async def wait_lost(self) -> str:
        """Return, with the cause, once the route is gone; never for a direct one."""
        if self._forward is None:
            import asyncio

            await asyncio.Event().wait()
            return ""
        return await self._forward.wait_lost()

    async def close(self) -> None:
        """End it; the session goes on."""
        if self._listener is not None:
            await self._listener.close()
        if self._forward is not None:
            await self._forward.close()


def novnc_url(host: str, port: int, password: str) -> str:
    """NoVNC's page with its settings in the fragment (noVNC, docs/EMBEDDING.md), so that the
    password reaches no server and no log. ``resize=remote``: the desktop takes the window's
    size.
    """
    shown = f"[{host}]" if ":" in host else host
    settings = f"autoconnect=1&resize=remote&reconnect=1&password={quote(password, safe='')}"
    return f"http://{shown}:{port}/vnc.html#{settings}"


async def open_route(
    connection: Connection,
    forwarder: PortForwarder,
    ports: Callable[[str, int], Awaitable[Forward]] | None = None,
) -> Route:
    """Make the way: to a Unix socket a tunnel, to a port the direct address, or with ``ports`` a
    tunnel too.

    Raises Unreachable when the node can't be reached, NotFound when the connection file names
    no way at all.
    """
    if connection.port and ports is not None:
        forward = await ports(connection.node_ip or connection.node, connection.port)
        return await _tunnel(connection, forward)
    if connection.port:
        host = connection.node_ip or connection.node
        url = novnc_url(host, connection.port, connection.password)
        return Route("direct", url, host, connection.port)
    if not connection.web_socket:
        raise NotFound("the connection file", "it names neither a socket nor a port")
    forward = await forwarder.open(connection.node, connection.web_socket, job_id=connection.job_id)
    return await _tunnel(connection, forward)


async def _tunnel(connection: Connection, forward: Forward) -> Route:
    listener = Listener(forward.dial)
    try:
        await listener.start()
    except BaseException:
        await forward.close()
        raise
    url = novnc_url("127.0.0.1", listener.port, connection.password)
    return Route("tunnel", url, "127.0.0.1", listener.port, forward, listener)
