"""Opens a route to a session: a tunnel, a handoff socket, or a direct TCP port."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import quote

from vizdash.errors import NotFound, Unreachable
from vizdash.sessions.folder import Connection
from vizdash.transport.base import Forward, PortForwarder, Reader, Writer
from vizdash.transport.listener import Dial, Listener, SocketListener
from vizdash.transport.redirect_page import BrowserListener, OwnListener, PageListener
from vizdash.transport.websocket import through_websocket

#: noVNC's settings of the picture's quality.
_QUALITY = {"quality", "compression"}


@dataclass(slots=True)
class Route:
    """An open route to a session: ``tunnel`` from a port of this machine, ``handoff`` from a Unix
    socket (``socket``) for the user's own ``ssh -L``, ``direct`` to the node, or ``viewer``: RFB
    for a native viewer, on ``socket`` or a port of this machine.

    ``url`` holds the password in its fragment, which browsers do not send (empty for a ``viewer``,
    which has ``password``); both are kept out of ``repr``. ``page`` is its path, ``note`` what the
    user should know of it. The URL of a pvserver begins with ``cs:``, and holds no secret; it has a
    ``server_version``, and at ``server_file`` ParaView's file for it, removed with the route.
    ``on_close`` is called once the route has been closed.
    """

    kind: str
    url: str = field(repr=False)
    host: str = ""
    port: int = 0
    socket: str = ""
    password: str = field(default="", repr=False)
    _forward: Forward | None = field(default=None, repr=False)
    _listener: Listener | None = field(default=None, repr=False)
    on_close: Callable[[], Awaitable[None]] | None = field(default=None, repr=False)
    page: str = "/vnc.html"
    server_version: str = ""
    server_file: Path | None = None
    note: str = ""
    _requested: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def near_end(self) -> str:
        """The address of its near end, without any secret."""
        if self.kind == "viewer":
            return self.socket or f"{self.host}:{self.port}"
        if self.kind == "handoff":
            return self.socket
        return self.url if self.is_pvserver else f"http://{self.host}:{self.port}"

    @property
    def is_pvserver(self) -> bool:
        """Whether ParaView opens it, not a browser."""
        return self.url.startswith("cs:")

    def set_address(self, host: str, port: int) -> None:
        """Set the address at which a browser reaches it from now on."""
        settings = self.url.partition("#")[2]
        self.host, self.port = host, port
        if self.is_pvserver:
            self.url = f"cs://{host}:{port}"
            return
        self.url = f"{_address(host, port)}{self.page}#{settings}"

    async def dial(self) -> tuple[Reader, Writer]:
        """Connect to its far end. Raises OSError or Unreachable."""
        if self._forward is not None:
            return await self._forward.dial()
        return await _dial_port(self.host, self.port)

    def set_quality(self, settings: str) -> None:
        """Set noVNC's quality and compression in its page's settings; empty: noVNC's own."""
        page, _, now = self.url.partition("#")
        kept = [one for one in now.split("&") if one.partition("=")[0] not in _QUALITY]
        self.url = f"{page}#{'&'.join([*kept, settings] if settings else kept)}"

    def offer_redirect(self, redirect_page: Callable[[str], str]) -> str:
        """The address of a one-use page that redirects to ``url`` and holds no secret; empty where
        this machine serves none.
        """
        if not isinstance(self._listener, PageListener):
            return ""
        # Without a host: a forwarded port may have another number there.
        return self._listener.offer(redirect_page(f"{self.page}#" + self.url.partition("#")[2]))

    async def wait_lost(self) -> str:
        """Wait until the route is lost, and return the cause; never for a direct one. The cause is
        empty where another vizdash requested its end.
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
        """Whether another vizdash requested its end."""
        return self._requested.is_set()

    async def close_on_request(self) -> None:
        """Close it at the request of another vizdash."""
        self._requested.set()
        await self.close()

    async def close(self) -> None:
        """Close the route; the session keeps running."""
        if self._listener is not None:
            await self._listener.close()
        if self._forward is not None:
            await self._forward.close()
        if self.server_file is not None:
            self.server_file.unlink(missing_ok=True)
        if self.on_close is not None:
            await self.on_close()


def _address(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


def novnc_url(host: str, port: int, password: str, scale: int = 1) -> str:
    """NoVNC's page with its settings in the fragment (noVNC, docs/EMBEDDING.md), so that the
    password reaches no server and no log. ``resize=remote``: the desktop takes the window's
    size. That is in CSS pixels, of which a HiDPI screen has fewer than dots: a scaled desktop
    keeps its size and is fitted into the window.
    """
    resize = "remote" if scale == 1 else "scale"
    settings = f"autoconnect=1&resize={resize}&reconnect=1&password={quote(password, safe='')}"
    return f"{_address(host, port)}/vnc.html#{settings}"


#: The page of a service's gate that exchanges the token for a cookie (assets/jobs/gate.sh).
_GATE_PAGE = "/.vizdash/open"


def service_url(host: str, port: int, token: str) -> str:
    """The gate's page of a service; the token is in the fragment, as noVNC's password is."""
    return f"{_address(host, port)}{_GATE_PAGE}#token={quote(token, safe='')}"


async def open_route(
    connection: Connection,
    forwarder: PortForwarder,
    ports: Callable[[str, int], Awaitable[Forward]] | None = None,
    *,
    handoff: bool = False,
) -> Route:
    """Open a route: to a Unix socket a tunnel, to a port its direct address, or with ``ports`` a
    tunnel, too. With ``handoff`` a tunnel's near end is a Unix socket as well.

    Raises Unreachable where the node can't be reached, NotFound where the connection file names
    neither a socket nor a port.
    """
    if connection.port and ports is not None:
        forward = await ports(connection.node_ip or connection.node, connection.port)
        return await _tunnel(connection, forward, handoff=handoff)
    if connection.port:
        host = connection.node_ip or connection.node
        url = novnc_url(host, connection.port, connection.password, connection.scale)
        return Route("direct", url, host, connection.port)
    if not connection.web_socket:
        raise NotFound("the connection file", "it names neither a socket nor a port")
    forward = await forwarder.open(connection.node, connection.web_socket, job_id=connection.job_id)
    return await _tunnel(connection, forward, handoff=handoff)


async def open_viewer_route(
    connection: Connection,
    forwarder: PortForwarder,
    ports: Callable[[str, int], Awaitable[Forward]] | None = None,
    *,
    as_socket: bool,
) -> Route:
    """Open a route for a native viewer, on a Unix socket or a port of this machine. It goes through
    websockify, so that the session counts the viewer. Raises as ``open_route`` does.
    """
    host, port = connection.node_ip or connection.node, connection.port
    forward: Forward | None = None
    if port and ports is not None:
        forward = await ports(host, port)
    elif not port and connection.web_socket:
        node, path = connection.node, connection.web_socket
        forward = await forwarder.open(node, path, job_id=connection.job_id)
    elif not port:
        raise NotFound("the connection file", "it names neither a socket nor a port")
    dial = through_websocket(forward.dial if forward else partial(_dial_port, host, port))
    listener = SocketListener(dial) if as_socket else Listener(dial)
    await _start_listener(listener, forward)
    route = Route("viewer", "", "127.0.0.1", listener.port, "", connection.password)
    route._forward, route._listener = forward, listener  # noqa: SLF001
    if isinstance(listener, SocketListener):
        route.socket = listener.path
    return route


async def open_shared_route(
    forward: Forward, password: str, *, handoff: bool, control: bool
) -> Route:
    """Open a route to a desktop that another user shares: ``forward`` leads to its socket. The
    picture is scaled to the window, since the desktop's size is its owner's. Raises Unreachable.
    """
    listener = SocketListener(forward.dial) if handoff else PageListener(forward.dial)
    await _start_listener(listener, forward)
    url = novnc_url("127.0.0.1", listener.port, password, scale=2)  # the desktop keeps its size
    route = Route("tunnel", url, "127.0.0.1", listener.port, "", password)
    route._forward, route._listener = forward, listener  # noqa: SLF001
    if isinstance(listener, SocketListener):
        route.kind, route.socket = "handoff", listener.path
    if not control:
        route.url += "&view_only=1"
    return route


async def _dial_port(host: str, port: int) -> tuple[Reader, Writer]:
    return await asyncio.open_connection(host, port)


def _dial_pvserver(forward: Forward, token: str) -> Dial:
    """Connections through the gate of a pvserver, which begin with a request and the token."""

    async def dial() -> tuple[Reader, Writer]:
        reader, writer = await forward.dial()
        writer.write(f"CONNECT pvserver HTTP/1.0\r\nX-Vizdash-Token: {token}\r\n\r\n".encode())
        return reader, writer

    return dial


async def _tunnel(connection: Connection, forward: Forward, *, handoff: bool) -> Route:
    dial: Dial = forward.dial
    near_end: type[Listener] = PageListener
    if connection.kind == "pvserver":
        dial, near_end = _dial_pvserver(forward, connection.password), OwnListener
    elif connection.kind == "web":
        near_end = BrowserListener
    listener = SocketListener(dial) if handoff else near_end(dial)
    await _start_listener(listener, forward)
    url = novnc_url("127.0.0.1", listener.port, connection.password, connection.scale)
    route = Route("tunnel", url, "127.0.0.1", listener.port)
    route._forward, route._listener = forward, listener  # noqa: SLF001
    if connection.kind == "web":
        route.url = service_url("127.0.0.1", listener.port, connection.password)
        route.page = _GATE_PAGE
    if connection.kind == "pvserver":
        route.url = f"cs://127.0.0.1:{listener.port}"
        route.server_version = connection.server_version
    if isinstance(listener, SocketListener):
        route.kind, route.socket = "handoff", listener.path
    return route


async def _start_listener(listener: Listener, forward: Forward | None) -> None:
    """Start it; on failure, close both. Raises Unreachable where it can't listen."""
    try:
        await listener.start()
    except BaseException as e:
        await listener.close()
        if forward is not None:
            await forward.close()
        if isinstance(e, OSError):
            raise Unreachable("the near end of the tunnel", e.strerror or str(e)) from e
        raise
