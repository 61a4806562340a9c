"""Opening desktops, and the tunnels to those that are open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from vizdash.errors import Refused, VizdashError
from vizdash.model import Session, Snapshot
from vizdash.service.service import Service
from vizdash.sessions.folder_summary import FolderSummary
from vizdash.sessions.preview import Picture
from vizdash.sessions.routes import Route
from vizdash.sessions.viewer import RunningViewer, has_screen
from vizdash.ui.controllers.interface import Handlers, Ui, for_session
from vizdash.ui.widgets.thumbnail import PictureSource

if TYPE_CHECKING:
    from vizdash.ui.screens.tunnels import Tunnel

#: Seconds to wait, when vizdash ends, for the routes of previews to close.
_PREVIEW_CLOSE_S = 5.0


@dataclass(frozen=True, slots=True)
class OpenDesktop:
    """A desktop that can be reached; ``shown`` is whether a browser was started on it."""

    session: Session
    route: Route
    shown: bool
    new: bool


@dataclass(frozen=True, slots=True)
class ViewedDesktop:
    """A desktop in a native viewer of this kind, which asks for ``password`` where it has one;
    ``ended`` gives what failed, or an empty text, once the viewer has ended.
    """

    session: Session
    kind: str
    password: str = field(repr=False)
    ended: asyncio.Task[str]


class OpenDesktops:
    """The desktops of one cluster that this vizdash has opened, and their routes.

    They outlive a dashboard: those of a cluster stay open while another one is shown.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._routes: dict[str, Route] = {}
        self._sessions: dict[str, Session] = {}
        self._opening: set[str] = set()
        self._viewers: dict[str, asyncio.Task[str]] = {}
        self._previewing: set[asyncio.Task[object]] = set()

    @property
    def tunnel_count(self) -> int:
        """How many browser tabs and viewers lose their desktop when vizdash ends."""
        return sum(route.kind != "direct" for route in self._routes.values()) + len(self._viewers)

    @property
    def tunnels(self) -> tuple[Tunnel, ...]:
        """Every route, as the list of tunnels shows it."""
        from vizdash.ui.screens.tunnels import Tunnel

        return tuple(
            Tunnel(job_id, self._sessions[job_id].app, self._sessions[job_id].node, route.near_end)
            for job_id, route in self._routes.items()
        )

    async def query_other_tunnels(self) -> tuple[Tunnel, ...]:
        """Your tunnels that other processes on this machine hold. Raises VizdashError."""
        from vizdash.ui.screens.tunnels import Tunnel

        here = self._service.config.cluster.name
        return tuple(
            Tunnel(r.job_id, r.app, r.node, r.address, r.id, r.pid, r.holder,
                   "" if r.cluster == here else r.cluster)
            for r in await self._service.desktops.tunnels.read_others()
        )  # fmt: skip

    async def close_tunnel(self, tunnel: Tunnel) -> None:
        """Close a tunnel; its session keeps running. Raises VizdashError where another process
        holds it and does not close it.
        """
        if tunnel.id:
            await self._service.desktops.tunnels.close_other(tunnel.id)
        else:
            await self._close_route(tunnel.job_id)

    @property
    def tunnelled(self) -> tuple[OpenDesktop, ...]:
        """The desktops whose tunnel can be lost."""
        return tuple(
            OpenDesktop(self._sessions[job_id], route, shown=False, new=False)
            for job_id, route in self._routes.items()
            if route.kind != "direct"
        )

    @property
    def routes(self) -> dict[str, Route]:
        """The routes by job id."""
        return dict(self._routes)

    async def _close_route(self, job_id: str) -> None:
        route = self._routes.pop(job_id, None)
        if route is not None:
            await route.close()

    async def close_ended(self, live: Collection[str]) -> None:
        """Close the routes and viewers of all jobs but the ``live`` ones."""
        for job_id in [job_id for job_id in self._routes if job_id not in live]:
            await self._close_route(job_id)
        for job_id in [job_id for job_id in self._viewers if job_id not in live]:
            self._viewers[job_id].cancel()

    def is_opening(self, session: Session) -> bool:
        """Whether its route is being made."""
        return session.job_id in self._opening

    def find_route(self, session: Session) -> Route | None:
        """Its route, if it is open."""
        return self._routes.get(session.job_id)

    def address(self, session: Session) -> str:
        """The URL of its desktop, without the password; empty while it is not open."""
        route = self._routes.get(session.job_id)
        return route.url.partition("#")[0] if route is not None else ""

    def picture(self, session: Session) -> PictureSource | None:
        """Pictures of its desktop; None where the config turns previews off."""
        return partial(self._pictures, session) if self._service.config.ui.preview else None

    async def _pictures(
        self, session: Session, size: Callable[[], tuple[int, int]]
    ) -> AsyncGenerator[Picture, None]:
        task = asyncio.current_task()
        assert task is not None
        self._previewing.add(task)
        try:
            async with aclosing(self._service.desktops.preview(session, size)) as pictures:
                async for picture in pictures:
                    yield picture
        finally:
            self._previewing.discard(task)

    async def stop_previews(self) -> None:
        """Stop all previews, and wait until their routes are closed."""
        if tasks := set(self._previewing):
            for task in tasks:
                if not task.cancelling():  # a second cancel would interrupt its clean-up
                    task.cancel()
            await asyncio.wait(tasks, timeout=_PREVIEW_CLOSE_S)

    async def trail(self, session: Session, lines: int) -> FolderSummary:
        """What its session folder tells. Raises VizdashError."""
        return await self._service.sessions.folder_summary(session, lines=lines)

    async def open(self, session: Session, quality: str = "") -> OpenDesktop:
        """Open a route to the desktop, or use the open one, and start a browser on it, with this
        quality of the picture from now on (empty: as before).

        Raises VizdashError when there is no route.
        """
        self._opening.add(session.job_id)
        try:
            if quality:
                await self._service.desktops.save_quality(quality)
            route = self._routes.get(session.job_id)
            new = route is None
            if route is not None and quality:
                await self._service.desktops.set_quality(route)
            if route is None:
                route, shown = await self._service.desktops.open_desktop(session)
                self._routes[session.job_id] = route
                self._sessions[session.job_id] = session
            else:
                shown = await self._service.desktops.show(route)
            return OpenDesktop(session, route, shown, new)
        finally:
            self._opening.discard(session.job_id)

    async def open_viewer(self, session: Session) -> ViewedDesktop:
        """Open a route of its own and start the user's native viewer on it. Raises VizdashError."""
        if not has_screen():
            fix = f"vizdash open {session.id} --viewer shows the line for your own computer"
            raise Refused("a native viewer", "there is no screen here", fix)
        self._opening.add(session.job_id)
        try:
            route, viewer = await self._service.desktops.open_viewer(session)
        finally:
            self._opening.discard(session.job_id)
        assert viewer is not None
        task = asyncio.create_task(_hold_viewer(route, viewer))
        self._viewers[session.job_id] = task
        task.add_done_callback(lambda done: self._forget_viewer(session.job_id, done))
        password = route.password if viewer.asks else ""
        return ViewedDesktop(session, viewer.viewer.kind, password, task)

    def has_viewer(self, session: Session) -> bool:
        """Whether a native viewer shows it."""
        return session.job_id in self._viewers

    def _forget_viewer(self, job_id: str, done: asyncio.Task[str]) -> None:
        if self._viewers.get(job_id) is done:
            del self._viewers[job_id]

    async def wait_lost(self, desktop: OpenDesktop) -> str:
        """Wait until its route is lost, and return why; empty when it was closed from here."""
        cause = await desktop.route.wait_lost()
        if self._routes.get(desktop.session.job_id) is not desktop.route:
            return ""
        del self._routes[desktop.session.job_id]
        await desktop.route.close()
        return cause

    async def close(self) -> None:
        """Close every route and viewer; the sessions keep running."""
        routes, viewers = list(self._routes.values()), list(self._viewers.values())
        self._routes.clear()
        for viewer in viewers:
            viewer.cancel()
        closing = (*(route.close() for route in routes), *viewers)
        await asyncio.gather(*closing, return_exceptions=True)


async def _hold_viewer(route: Route, viewer: RunningViewer) -> str:
    """Hold a route until the viewer on it is closed or the route is lost. Returns what failed;
    empty for a viewer that was closed.
    """
    closed, lost = asyncio.create_task(viewer.wait()), asyncio.create_task(route.wait_lost())
    try:
        await asyncio.wait((closed, lost), return_when=asyncio.FIRST_COMPLETED)
        if closed.done() and not lost.done():
            why = closed.result()
            return f"{viewer.viewer.program}: {why}" if why else ""
        return f"the tunnel was lost: {lost.result()}" if lost.result() else ""
    finally:
        for task in (closed, lost):
            task.cancel()
        await viewer.close()
        await route.close()


class DesktopsController:
    """Handles opening a desktop, and the list of tunnels."""

    def __init__(self, ui: Ui, service: Service, desktops: OpenDesktops) -> None:
        self._ui = ui
        self._service = service
        self._desktops = desktops
        self._watching = False

    @property
    def handlers(self) -> Handlers:
        """The actions that it handles."""
        return {
            "open": for_session(self._open),
            "open_with": for_session(self._choose),
            "tunnels": lambda context: self._show_tunnels(),
        }

    def _choose(self, session: Session) -> None:
        self._ui.run_in_background(self._offer(session), name="choose", group="routes")

    async def _offer(self, session: Session) -> None:
        """Offer the native viewer, and the qualities of the picture in the browser."""
        from vizdash.ui.screens.open_with import VIEWER, OpenWithScreen

        def chosen(choice: str | None) -> None:
            if choice == VIEWER:
                self._open_viewer(session)
            elif choice:
                self._open(session, choice)

        quality = await self._service.desktops.load_quality()
        self._ui.show_screen(OpenWithScreen(session, quality), chosen)

    def _open_viewer(self, session: Session) -> None:
        if self._desktops.has_viewer(session) or self._desktops.is_opening(session):
            self._ui.inform(f"{session.app} on {session.node} is already open in a viewer")
            return
        self._ui.inform(f"connecting to {session.app} on {session.node} …")
        self._ui.run_in_background(self._view(session), name="view", group="routes")

    async def _view(self, session: Session) -> None:
        try:
            viewed = await self._desktops.open_viewer(session)
        except VizdashError as e:
            self._ui.report_error(e.line)
            return
        self._ui.inform(f"{session.app} is open in {viewed.kind}; keep vizdash running")
        if viewed.password:
            self._ui.copy_to_clipboard(viewed.password)
            self._ui.inform(f"{viewed.kind} asks for the password, which is copied if possible")
        # The viewer outlives this dashboard, while another cluster is shown.
        await asyncio.wait([viewed.ended])
        if viewed.ended.cancelled():
            return
        if why := viewed.ended.result():
            self._ui.report_error(f"{session.app} on {session.node}: {why}")
        else:
            self._ui.inform(f"the viewer of {session.app} was closed; the session keeps running")

    def _open(self, session: Session, quality: str = "") -> None:
        if self._desktops.is_opening(session):
            self._ui.inform(f"{session.app} on {session.node} is already being opened")
            return
        self._ui.inform(f"connecting to {session.app} on {session.node} …")
        self._ui.run_in_background(self._connect(session, quality), name="open", group="routes")

    async def _connect(self, session: Session, quality: str) -> None:
        try:
            desktop = await self._desktops.open(session, quality)
        except VizdashError as e:
            self._ui.report_error(e.line)
            return
        if desktop.shown:
            program = "ParaView" if desktop.route.is_pvserver else "your browser"
            self._ui.inform(f"{session.app} is open in {program}; keep vizdash running")
        else:
            await self._show_address(desktop)
        self._ui.redraw()
        if desktop.new and desktop.route.kind != "direct":
            await self._watch(desktop)

    async def _show_address(self, desktop: OpenDesktop) -> None:
        """Show what to run on the user's own computer: this one has no browser."""
        from vizdash.ui.screens.handoff import HandoffScreen

        session, route = desktop.session, desktop.route
        self._ui.clear_notifications()  # nothing may cover the command
        if route.kind != "handoff":
            self._ui.show_screen(HandoffScreen(route, session))
            return
        hand_off = partial(self._service.desktops.hand_off, route, session)
        self._ui.show_screen(HandoffScreen(route, session, await hand_off(), hand_off))

    # ------------------------------------------------------------------ tunnels

    def watch_tunnels(self, snapshot: Snapshot) -> None:
        """Watch the tunnels that are older than this dashboard, as soon as a snapshot shows whose
        sessions are live, and close the tunnels of the others.
        """
        if not self._watching:
            self._watching = True
            for desktop in self._desktops.tunnelled:
                self._ui.run_in_background(self._watch(desktop), name="watch", group="routes")
        if self._desktops.tunnel_count:
            live = {s.job_id for s in snapshot.sessions if s.live}
            closing = self._desktops.close_ended(live)
            self._ui.run_in_background(closing, name="prune", group="routes")

    async def _watch(self, desktop: OpenDesktop) -> None:
        """Report a tunnel that is lost although its session is live."""
        cause = await self._desktops.wait_lost(desktop)
        session = self._ui.state.find(desktop.session.job_id)
        if cause and session is not None and session.live:
            what = f"the tunnel to {session.app} on {session.node} was lost"
            self._ui.report_error(f"{what}: {cause} (press o to open it again)")
            self._ui.refresh_snapshot()

    def _show_tunnels(self) -> None:
        from vizdash.ui.screens.tunnels import TunnelsScreen

        def chosen(job_id: str | None) -> None:
            if job_id and (session := self._ui.state.find(job_id)):
                self._open(session)

        def close(tunnel: Tunnel) -> None:
            self._ui.run_in_background(self._close(tunnel), name="close", group="routes")

        screen = TunnelsScreen(self._desktops.tunnels, close, self._desktops.query_other_tunnels)
        self._ui.show_screen(screen, chosen)

    async def _close(self, tunnel: Tunnel) -> None:
        try:
            await self._desktops.close_tunnel(tunnel)
        except VizdashError as e:
            self._ui.report_error(e.line)
