"""The ways to a ready session's desktop: a browser here, a line to run elsewhere, pictures."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from vizdash.config import Config
from vizdash.errors import Refused
from vizdash.model import Session, SessionState
from vizdash.sessions import opening, routes
from vizdash.sessions.byhand import ByHand
from vizdash.sessions.preview import Picture, of_session
from vizdash.sessions.store import SessionStore
from vizdash.sessions.tunnel_records import HeldTunnels
from vizdash.sessions.viewer import have_browser
from vizdash.transport.base import PortForwarder, Remote

#: Why a suspended session can't be opened, and what helps.
SUSPENDED = ("its job is suspended", "an operator can resume it: scontrol resume")


class Reach:
    """What a service does once a session is ready. Methods raise VizdashError."""

    config: Config
    remote: Remote | None
    _forwarder: PortForwarder
    _store: SessionStore
    _by_hand: ByHand | None
    _showing: opening.Showing
    tunnels: HeldTunnels

    async def open_route(self, session: Session, *, handoff: bool = False) -> routes.Route:
        """Make the way to a ready session. Raises NotFound, Refused or Unreachable."""
        if not session.mine:
            raise Refused(f"session {session.id}", f"only {session.user} can open it")
        if session.state is SessionState.SUSPENDED:
            raise Refused(f"session {session.id} can't be opened", *SUSPENDED)
        if session.state is not SessionState.READY:
            why = f"it is {session.state}" + (f": {session.reason}" if session.reason else "")
            raise Refused(f"session {session.id} can't be opened", why)
        if self._by_hand is not None and self._by_hand.has(session):
            connection = self._by_hand.connection(session)
        else:
            connection = await self._store.connection(session.id)
        ports = None
        if self.remote is not None and self.config.cluster.route != "direct":
            ports = self.remote.open_port
        route = await routes.open_route(connection, self._forwarder, ports, handoff=handoff)
        try:
            await self.tunnels.add(session, route)
        except BaseException:
            await route.close()
            raise
        return route

    async def open_desktop(
        self, session: Session, *, handoff: bool = False
    ) -> tuple[routes.Route, bool]:
        """Make the way and start the person's browser on it. Where there's none (and whenever
        ``handoff`` says so) it is a way for ``hand_off``, and the second value is False.

        Raises NotFound, Refused or Unreachable.
        """
        handoff = handoff or not have_browser()
        route = await self.open_route(session, handoff=handoff)
        if await self.show(route):
            return route, True
        if route.kind == "tunnel":
            await route.close()
            route = await self.open_route(session, handoff=True)
        return route, False

    async def show(self, route: routes.Route) -> bool:
        """Start the person's browser on a route; False when there's none to be had."""
        return await self._showing.show(route)

    async def wait_shown(self) -> None:
        """Wait until browsers have what leads them to direct routes: it ends with this process."""
        await self._showing.wait_taken()

    async def hand_off(
        self, route: routes.Route, session: Session, attempt: int = 0
    ) -> opening.Handoff:
        """What to run on one's own computer; ``attempt`` counts ports that were taken there."""
        host = await opening.host_name(self.config.cluster)
        return opening.hand_off(route, session.id, host, attempt)

    def preview(
        self, session: Session, size: Callable[[], tuple[int, int]]
    ) -> AsyncGenerator[Picture, None]:
        """Pictures of a ready session's desktop until it is closed; see ``preview.of_session``."""
        return of_session(session, self._store, self._forwarder, size)
