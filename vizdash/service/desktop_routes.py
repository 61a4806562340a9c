"""Opens, shows, hands off and previews ready desktops, and holds their tunnels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial

from vizdash.config import Config
from vizdash.errors import Refused, TimedOut
from vizdash.model import Session, SessionState
from vizdash.model.session import WHY_SUSPENDED
from vizdash.sessions import handoff, paraview, routes
from vizdash.sessions.browser import have_browser
from vizdash.sessions.folder import Connection
from vizdash.sessions.folder_store import SessionStore
from vizdash.sessions.picture_quality import (
    SavedQuality,
    choose_quality,
    measure_link,
    novnc_settings,
)
from vizdash.sessions.preview import Picture, session_pictures
from vizdash.sessions.tunnel_records import HeldTunnels
from vizdash.sessions.viewer import RunningViewer, find_viewer, has_screen, start_viewer
from vizdash.transport.base import Forward, PortForwarder, Remote
from vizdash.util.files import FileAccess, run_briefly

_Ports = Callable[[str, int], Awaitable[Forward]]


class DesktopRoutes:
    """Routes to desktops, and the browsers started on them. Methods raise VizdashError.

    ``connection_of`` reads how to reach a session; ``remote`` is the connection to a login host.
    """

    def __init__(
        self,
        config: Config,
        store: SessionStore,
        forwarder: PortForwarder,
        connection_of: Callable[[Session], Awaitable[Connection]],
        remote: Remote | None = None,
    ) -> None:
        self.config = config
        self.tunnels = HeldTunnels(config.cluster.name)
        self._store = store
        self._forwarder = forwarder
        self._connection_of = connection_of
        self._remote = remote
        self._browsers = handoff.BrowserLauncher()
        self._quality = SavedQuality(config.cluster.name)
        self._home = FileAccess("your home")

    async def open_route(self, session: Session, *, handoff: bool = False) -> routes.Route:
        """Open a route to a ready session; with ``handoff``, one for a browser on another computer.

        Raises NotFound, Refused or Unreachable.
        """
        connection, ports = await self._connection_to(session)
        route = await routes.open_route(connection, self._forwarder, ports, handoff=handoff)
        try:
            if not session.service:
                await self.set_quality(route)
        except BaseException:
            await route.close()
            raise
        return await self._keep(session, route)

    async def save_quality(self, quality: str) -> None:
        """Use this quality of the picture from now on, in later runs of vizdash too."""
        await run_briefly(partial(self._quality.save, quality))

    async def load_quality(self) -> str:
        """The quality of the picture that the user chose; empty for none, or a home that hangs."""
        try:
            return await self._home.run(self._quality.load)
        except TimedOut:
            return ""

    async def set_quality(self, route: routes.Route) -> None:
        """Give noVNC the quality that the user chose; without a choice, its page is unchanged."""
        quality = await self.load_quality()
        if quality == "auto":
            link = await measure_link(route.dial)
            quality = choose_quality(link) if link else "medium"
            route.note = f"{quality} picture quality for this link ({link.text})" if link else ""
        route.set_quality(novnc_settings(quality))

    async def open_viewer(
        self, session: Session, *, handoff: bool = False
    ) -> tuple[routes.Route, RunningViewer | None]:
        """Open a route and start the user's native viewer on it; None where this machine has no
        screen, or ``handoff`` asks for it, and the route is one for ``hand_off_viewer``.

        Raises NotFound, Refused or Unreachable.
        """
        if session.service:
            why = "it is a service without a desktop"
            raise Refused(f"session {session.id} in a viewer", why, "open it without --viewer")
        viewer = None
        if not handoff and has_screen():
            viewer = await asyncio.to_thread(find_viewer)
        connection, ports = await self._connection_to(session)
        as_socket = viewer is None or viewer.takes_socket
        route = await routes.open_viewer_route(
            connection, self._forwarder, ports, as_socket=as_socket
        )
        await self._keep(session, route)
        if viewer is None:
            return route, None
        title = f"{session.app} {session.id}"
        try:
            return route, await start_viewer(
                viewer, route.password, title=title, socket=route.socket, port=route.port
            )
        except BaseException:
            await route.close()
            raise

    async def hand_off_viewer(self, route: routes.Route, session: Session) -> handoff.Handoff:
        """The line to run on the user's own computer for a viewer there."""
        host = await handoff.host_name(self.config.cluster)
        return handoff.make_viewer_handoff(route, session.id, host)

    async def _connection_to(self, session: Session) -> tuple[Connection, _Ports | None]:
        """How to reach a ready session. Raises NotFound or Refused."""
        if not session.mine:
            raise Refused(f"session {session.id}", f"only {session.user} can open it")
        if session.state is SessionState.SUSPENDED:
            raise Refused(f"session {session.id} can't be opened", *WHY_SUSPENDED)
        if session.state is not SessionState.READY:
            why = f"it is {session.state}" + (f": {session.reason}" if session.reason else "")
            raise Refused(f"session {session.id} can't be opened", why)
        connection = await self._connection_of(session)
        ports = None
        if self._remote is not None and self.config.cluster.route != "direct":
            ports = self._remote.open_port
        return connection, ports

    async def _keep(self, session: Session, route: routes.Route) -> routes.Route:
        """Record an open route; close it where that fails."""
        try:
            if route.is_pvserver and route.kind == "tunnel":
                name = f"{session.app} {session.id} ({route.server_version})"
                route.server_file = paraview.write_server_file(session.id, name, route.url)
            await self.tunnels.add(session, route)
        except BaseException:
            await route.close()
            raise
        return route

    async def open_desktop(
        self, session: Session, *, handoff: bool = False
    ) -> tuple[routes.Route, bool]:
        """Open a route and start the user's browser on it; whether one was started. Where there is
        none, or ``handoff`` asks for it, the route is one for ``hand_off``.

        Raises NotFound, Refused or Unreachable.
        """
        if session.service == "pvserver":
            return await self._open_paraview(session, handoff=handoff)
        handoff = handoff or not have_browser()
        route = await self.open_route(session, handoff=handoff)
        if await self.show(route):
            return route, True
        if route.kind == "tunnel":
            await route.close()
            route = await self.open_route(session, handoff=True)
        return route, False

    async def _open_paraview(self, session: Session, *, handoff: bool) -> tuple[routes.Route, bool]:
        """As ``open_desktop``, with ParaView instead of a browser. One of another version is
        refused.
        """
        handoff = handoff or not has_screen()
        client = None if handoff else await asyncio.to_thread(paraview.find_paraview)
        if client is not None and session.mine and session.state is SessionState.READY:
            server = (await self._connection_of(session)).server_version
            paraview.check_versions(session.id, client, server)
        route = await self.open_route(session, handoff=handoff)
        return route, not handoff and await self.show(route)

    async def show(self, route: routes.Route) -> bool:
        """Start the user's browser, or ParaView, on a route; False where there is none."""
        if route.is_pvserver:
            client = await asyncio.to_thread(paraview.find_paraview)
            return client is not None and await paraview.start_paraview(client, route.url)
        return await self._browsers.show(route)

    async def wait_pages_loaded(self) -> None:
        """Wait until browsers have loaded the pages that this process serves for direct routes."""
        await self._browsers.wait_pages_loaded()

    async def hand_off(
        self, route: routes.Route, session: Session, attempt: int = 0
    ) -> handoff.Handoff:
        """What to run on the user's own computer; ``attempt`` counts the ports taken there."""
        host = await handoff.host_name(self.config.cluster)
        return handoff.make_handoff(route, session.id, host, attempt)

    def preview(
        self, session: Session, size: Callable[[], tuple[int, int]]
    ) -> AsyncGenerator[Picture, None]:
        """Live pictures of a ready session's desktop; see ``preview.session_pictures``."""
        return session_pictures(session, self._store, self._forwarder, size)

    async def close(self) -> None:
        """Remove the pages that browsers were given."""
        await self._browsers.close()
