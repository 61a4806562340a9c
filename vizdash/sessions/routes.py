"""Routes: how a browser reaches a session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from vizdash.errors import NotFound, Unreachable
from vizdash.sessions.folder import Connection
from vizdash.transport.base import Forward, PortForwarder
from vizdash.transport.listener import Listener, SocketListener
from vizdash.transport.pages import PageListener


@dataclass(slots=True)
class Route:
    """A way to a session that works now: ``tunnel`` to a port of this machine, ``handoff`` to a
    Unix socket of it (``socket``) for a person's own ``ssh -L``, or ``direct`` to the node.

    ``url`` holds the password in its fragment, which a browser sends to nobody; it is kept out of
    ``repr``. ``on_close`` is called once it has been closed.
    """

    kind: str
    url: str = field(repr=False)
    host: str = ""
    port: int = 0
    socket: str = ""
    _forward: Forward | None = field(default=None, repr=False)
    _listener: Listener | None = field(default=None, repr=False)
    on_close: Callable[[], Awaitable[None]] | None = field(default=None, repr=False)
    _requested: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def end(self) -> str:
        """Where it can be reached, without any secret."""
        return self.socket if self.kind == "handoff" else f"http://{self.host}:{self.port}"

    def at(self, host: str, port: int) -> None:
        """The address at which a browser finds it from now on."""
        settings = self.url.partition("#")[2]
        self.host, self.port = host, port
        self.url = f"{_page(host, port)}#{settings}"

    def offer(self, page_to: Callable[[str], str]) -> str:
        """The address of a page that works once, says nothing, and leads to ``url``; empty where
        this machine serves none.
        """
        if not isinstance(self._listener, PageListener):
            return ""
        # Without a host: whoever leads our port elsewhere may have given it another number.
        return self._listener.offer(page_to("/vnc.html#" + self.url.partition("#")[2]))

    async def wait_lost(self) -> str:
        """Return, with the cause, once the route is gone; never for a direct one. The cause is
        empty where another vizdash had it closed.
        """
        if self._forward is None:
            await self._requested.wait()
            return ""
        requested = asyncio.create_task(self._requested.wait())
        lost = asyncio.create_task(self._forward.wait_lost())
        try:
            await asyncio.wait((requested, lost), return_when=asyncio.FIRST_COMPLETED)
            return "" if self._requested.is_set() else await lost
        finally:
            requested.cancel()
            lost.cancel()

    @property
    def closed_on_request(self) -> bool:
        """Whether another vizdash had it closed."""
        return self._requested.is_set()

    async def close_on_request(self) -> None:
        """Close it because another vizdash wants that."""
        self._requested.set()
        await self.close()

    async def close(self) -> None:
        """End it; the session goes on."""
        if self._listener is not None:
            await self._listener.close()
        if self._forward is not None:
            await self._forward.close()
        if self.on_close is not None:
            await self.on_close()


def _page(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/vnc.html"


def novnc_url(host: str, port: int, password: str) -> str:
    """NoVNC's page with its settings in the fragment (noVNC, docs/EMBEDDING.md), so that the
    password reaches no server and no log. ``resize=remote``: the desktop takes the window's
    size.
    """
    settings = f"autoconnect=1&resize=remote&reconnect=1&password={quote(password, safe='')}"
    return f"{_page(host, port)}#{settings}"


async def open_route(
    connection: Connection,
    forwarder: PortForwarder,
    ports: Callable[[str, int], Awaitable[Forward]] | None = None,
    *,
    handoff: bool = False,
) -> Route:
    """Make the way: to a Unix socket a tunnel, to a port the direct address, or with ``ports`` a
    tunnel too. With ``handoff`` a tunnel's near end is a Unix socket as well.

    Raises Unreachable when the node can't be reached, NotFound when the connection file names
    no way at all.
    """
    if connection.port and ports is not None:
        forward = await ports(connection.node_ip or connection.node, connection.port)
        return await _tunnel(connection, forward, handoff=handoff)
    if connection.port:
        host = connection.node_ip or connection.node
        url = novnc_url(host, connection.port, connection.password)
        return Route("direct", url, host, connection.port)
    if not connection.web_socket:
        raise NotFound("the connection file", "it names neither a socket nor a port")
    forward = await forwarder.open(connection.node, connection.web_socket, job_id=connection.job_id)
    return await _tunnel(connection, forward, handoff=handoff)


async def _tunnel(connection: Connection, forward: Forward, *, handoff: bool) -> Route:
    listener = SocketListener(forward.dial) if handoff else PageListener(forward.dial)
    try:
        await listener.start()
    except OSError as e:
        await listener.close()
        await forward.close()
        raise Unreachable("the near end of the tunnel", e.strerror or str(e)) from e
    except BaseException:
        await listener.close()
        await forward.close()
        raise
    url = novnc_url("127.0.0.1", listener.port, connection.password)
    route = Route("tunnel", url, "127.0.0.1", listener.port, "", forward, listener)
    if isinstance(listener, SocketListener):
        route.kind, route.socket = "handoff", listener.path
    return route
