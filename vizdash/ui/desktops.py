"""Desktops opened through this vizdash: each has a route that lives as long as vizdash does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from vizdash.model import Session
from vizdash.service import Service
from vizdash.sessions.routes import Route


@dataclass(frozen=True, slots=True)
class Opened:
    """A desktop that can be reached. ``shown`` is whether a browser was started on it."""

    session: Session
    route: Route
    shown: bool
    new: bool


class Desktops:
    """Opens desktops, keeps their routes, and closes them."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._routes: dict[str, Route] = {}
        self._opening: set[str] = set()

    @property
    def held(self) -> int:
        """Desktops whose browser tab would go dark when vizdash ends."""
        return sum(route.kind != "direct" for route in self._routes.values())

    def opening(self, session: Session) -> bool:
        """Whether its way is being made."""
        return session.job_id in self._opening

    def route(self, session: Session) -> Route | None:
        """The way to it, if it is open."""
        return self._routes.get(session.job_id)

    async def open(self, session: Session) -> Opened:
        """The way to ``session``, a new one or the one that is there, and a browser on it.

        Raises VizdashError when there's no way.
        """
        self._opening.add(session.job_id)
        try:
            route = self._routes.get(session.job_id)
            new = route is None
            if route is None:
                route, shown = await self._service.open_desktop(session)
                self._routes[session.job_id] = route
            else:
                shown = await self._service.show(route)
            return Opened(session, route, shown, new)
        finally:
            self._opening.discard(session.job_id)

    async def lost(self, opened: Opened) -> str:
        """Wait until the route is gone, take it away, and say why it went."""
        cause = await opened.route.wait_lost()
        if self._routes.get(opened.session.job_id) is opened.route:
            del self._routes[opened.session.job_id]
            await opened.route.close()
        return cause

    async def close(self) -> None:
        """Close every route; the sessions go on."""
        routes = list(self._routes.values())
        self._routes.clear()
        await asyncio.gather(*(route.close() for route in routes), return_exceptions=True)
