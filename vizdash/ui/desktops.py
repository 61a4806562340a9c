"""Desktops opened through this vizdash: each has a route that lives as long as vizdash does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from vizdash.model import Session
from vizdash.service import Service
from vizdash.sessions.preview import Picture
from vizdash.sessions.routes import Route
from vizdash.sessions.trail import Trail
from vizdash.ui.screens.tunnels import Tunnel
from vizdash.ui.widgets.thumbnail import Source

#: Seconds for which leaving waits until no way to a desktop is left that was only looked at.
_PATIENCE_S = 5.0


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
        self._sessions: dict[str, Session] = {}
        self._opening: set[str] = set()
        self._looking: set[asyncio.Task[object]] = set()

    @property
    def held(self) -> int:
        """Desktops whose browser tab would go dark when vizdash ends."""
        return sum(route.kind != "direct" for route in self._routes.values())

    @property
    def tunnels(self) -> tuple[Tunnel, ...]:
        """Every way that is open."""
        return tuple(
            Tunnel(job_id, self._sessions[job_id].app, self._sessions[job_id].node, route.end)
            for job_id, route in self._routes.items()
        )

    async def elsewhere(self) -> tuple[Tunnel, ...]:
        """Those of this user that other processes on this machine hold."""
        here = self._service.config.cluster.name
        return tuple(
            Tunnel(r.job_id, r.app, r.node, r.address, r.id, r.pid, r.holder,
                   "" if r.cluster == here else r.cluster)
            for r in await self._service.tunnels.elsewhere()
        )  # fmt: skip

    async def close_tunnel(self, tunnel: Tunnel) -> None:
        """Close one; its session keeps running. Raises VizdashError where another process that
        holds it does not.
        """
        if tunnel.id:
            await self._service.tunnels.close_elsewhere(tunnel.id)
        else:
            await self.drop(tunnel.job_id)

    @property
    def kept(self) -> tuple[Opened, ...]:
        """Those whose way may be lost."""
        return tuple(
            Opened(self._sessions[job_id], route, shown=False, new=False)
            for job_id, route in self._routes.items()
            if route.kind != "direct"
        )

    @property
    def routes(self) -> dict[str, Route]:
        """The ways by job id, for who takes them over."""
        return dict(self._routes)

    async def drop(self, job_id: str) -> None:
        """Close one; its session goes on."""
        route = self._routes.pop(job_id, None)
        if route is not None:
            await route.close()

    async def prune(self, live: Collection[str]) -> None:
        """Close those whose job is over."""
        for job_id in [job_id for job_id in self._routes if job_id not in live]:
            await self.drop(job_id)

    def opening(self, session: Session) -> bool:
        """Whether its way is being made."""
        return session.job_id in self._opening

    def route(self, session: Session) -> Route | None:
        """The way to it, if it is open."""
        return self._routes.get(session.job_id)

    def address(self, session: Session) -> str:
        """Where its desktop is, without the password; empty while it is not open."""
        route = self._routes.get(session.job_id)
        return route.url.partition("#")[0] if route is not None else ""

    def picture(self, session: Session) -> Source | None:
        """Pictures of its desktop; None where the config wants none."""
        return partial(self._pictures, session) if self._service.config.ui.preview else None

    async def _pictures(
        self, session: Session, size: Callable[[], tuple[int, int]]
    ) -> AsyncGenerator[Picture, None]:
        looking = asyncio.current_task()
        assert looking is not None
        self._looking.add(looking)
        try:
            async with aclosing(self._service.preview(session, size)) as found:
                async for picture in found:
                    yield picture
        finally:
            self._looking.discard(looking)

    async def look_away(self) -> None:
        """End every look at a desktop, and wait until its way is taken back."""
        if looking := set(self._looking):
            for task in looking:
                if not task.cancelling():  # a second time would break its tidying off
                    task.cancel()
            await asyncio.wait(looking, timeout=_PATIENCE_S)

    async def trail(self, session: Session, lines: int) -> Trail:
        """See Service.trail."""
        return await self._service.trail(session, lines=lines)

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
                self._sessions[session.job_id] = session
            else:
                shown = await self._service.show(route)
            return Opened(session, route, shown, new)
        finally:
            self._opening.discard(session.job_id)

    async def lost(self, opened: Opened) -> str:
        """Wait until the route is gone, take it away, and say why it went; empty for one that was
        closed from here.
        """
        cause = await opened.route.wait_lost()
        if self._routes.get(opened.session.job_id) is not opened.route:
            return ""
        del self._routes[opened.session.job_id]
        await opened.route.close()
        return cause

    async def close(self) -> None:
        """Close every route; the sessions go on."""
        routes = list(self._routes.values())
        self._routes.clear()
        await asyncio.gather(*(route.close() for route in routes), return_exceptions=True)
