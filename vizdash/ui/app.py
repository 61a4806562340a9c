"""Wires the dashboard to a service: snapshots down, wishes up. No I/O of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import ClassVar

from textual import on
from textual.app import App
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.screen import Screen

from vizdash.actions import Context
from vizdash.building import Building
from vizdash.errors import VizdashError
from vizdash.model import Session, SessionRequest, Snapshot
from vizdash.poller import Poller
from vizdash.service import Service
from vizdash.ui.board import Board, Notice
from vizdash.ui.builddesk import BuildDesk
from vizdash.ui.commands import Actions
from vizdash.ui.desktops import Desktops, Opened
from vizdash.ui.format import escape_control
from vizdash.ui.screens.address import AddressScreen
from vizdash.ui.screens.confirm import Confirm, quitting, stopping
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.screens.help import HelpScreen
from vizdash.ui.screens.log import LogScreen
from vizdash.ui.screens.start import StartScreen
from vizdash.ui.theme import THEME

#: Seconds for which news stays on the screen; errors stay longer.
_NEWS_S, _ERROR_S = 6, 12


class VizdashApp(App[None]):
    """The dashboard of one cluster. ``clock`` gives seconds since the epoch."""

    TITLE = "vizdash"
    CSS_PATH = "vizdash.tcss"
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {Actions}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True),
        Binding("ctrl+c", "quit", "Quit", show=False),
    ]
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self,
        service: Service,
        *,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.register_theme(THEME)
        self.theme = THEME.name
        self._service = service
        self._clock = clock
        self._board = Board()
        self._desktops = Desktops(service)
        self.desk = BuildDesk(self, Building(service))
        self._dashboard = Dashboard(read_only=read_only or service.config.read_only)
        self._poller = Poller(service, on_snapshot=self._on_snapshot, on_failure=self._on_failure)

    def get_default_screen(self) -> Screen[None]:
        """The dashboard lies under everything."""
        return self._dashboard

    def on_mount(self) -> None:
        """Begin to ask, and to count the seconds."""
        self.run_worker(self._poller.run(), name="poller", group="poller")
        self.run_worker(self._ask_rights(), name="rights", group="reads", exit_on_error=False)
        self.set_interval(1, self.tick)

    async def on_unmount(self) -> None:
        """However vizdash ends, its routes end with it."""
        await asyncio.gather(self._desktops.close(), self.desk.close())

    # ------------------------------------------------------------------ down

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        for notice in self._board.take(snapshot, self._clock()):
            self._tell(notice)
        self._show()

    def _on_failure(self, line: str) -> None:
        self._board.fail(line)
        self._show()

    def _show(self) -> None:
        if self._dashboard.is_mounted:
            self._dashboard.show(self._board, self._board.now(self._clock()))

    def tick(self) -> None:
        """A second went by: ages and countdowns move."""
        if self._dashboard.is_mounted:
            self._dashboard.tick(self._board.now(self._clock()))

    async def _ask_rights(self) -> None:
        self._dashboard.admin = (await self._service.info()).admin

    def _tell(self, notice: Notice) -> None:
        session = notice.session
        if notice.kind == "ready":
            self.news(f"{session.app} is ready on {session.node} — press o to open it")
        elif session.result == "failed":
            step = f" at step {session.step}" if session.step else ""
            self.trouble(f"{session.app} failed{step}: {session.error} (press l for its log)")

    def news(self, text: str) -> None:
        """One line that goes away by itself."""
        self.notify(escape_control(text), timeout=_NEWS_S, markup=False)

    def trouble(self, text: str) -> None:
        """One line that names cause and mend."""
        self.notify(escape_control(text), severity="error", timeout=_ERROR_S, markup=False)

    # ------------------------------------------------------------------ up

    @on(Dashboard.Wanted)
    async def _wanted(self, event: Dashboard.Wanted) -> None:
        session = event.context.session
        match event.action_id, session:
            case "start", _:
                self._want_start(event.context)
            case "open", Session():
                self._want_open(session)
            case "stop", Session():
                self._want_stop(session)
            case "logs", Session():
                self.push_screen(LogScreen(self._service, session, find=self._board.find))
            case "renew", Session():
                self.run_worker(self._renew(session), name="renew", group="writes")
            case "build", _:
                self.desk.want(session.app if session else "")
            case "refresh", _:
                self._poller.refresh()
            case "help", _:
                self.push_screen(HelpScreen())
            case "quit", _:
                await self.action_quit()

    def _want_start(self, context: Context) -> None:
        node = context.node.name if context.node else ""
        nodes = context.snapshot.nodes if context.snapshot else ()
        self.push_screen(StartScreen(self._service, self._start, nodes=nodes, node=node))

    async def _start(self, request: SessionRequest) -> Session:
        """Start it, show it at once and ask the cluster again. Raises VizdashError."""
        session = await self._service.start(request)
        self._board.started(session, self._clock())
        self._show()
        self._dashboard.point_at(session)
        self._poller.refresh()
        self.news(f"{session.app} is on its way as job {session.job_id}")
        return session

    async def _renew(self, session: Session) -> None:
        """The same size, on the image that new sessions run from."""
        request = SessionRequest(session.app, session.resources, partition=session.partition)
        try:
            await self._start(request)
        except VizdashError as e:
            self.trouble(e.line)

    def _want_stop(self, session: Session) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._stop(session), name="stop", group="writes")

        now = self._board.now(self._clock())
        self.push_screen(Confirm(stopping(session, now)), answered)

    async def _stop(self, session: Session) -> None:
        try:
            await self._service.stop(session)
        except VizdashError as e:
            self.trouble(e.line)
            return
        self._board.stopped(session, self._clock())
        self._show()
        self._poller.refresh()
        self.news(f"{session.app} (job {session.job_id}) is being ended")

    def _want_open(self, session: Session) -> None:
        if self._desktops.opening(session):
            self.news(f"{session.app} on {session.node} is being opened already")
            return
        self.news(f"connecting to {session.app} on {session.node} …")
        self.run_worker(self._open(session), name="open", group="routes")

    async def _open(self, session: Session) -> None:
        try:
            opened = await self._desktops.open(session)
        except VizdashError as e:
            self.trouble(e.line)
            return
        if opened.shown:
            self.news(f"{session.app} is open in your browser; keep vizdash running")
        else:
            await self._show_address(opened)
        if opened.new and opened.route.kind != "direct":
            await self._watch(opened)

    async def _show_address(self, opened: Opened) -> None:
        """There's no browser here: say what to do at the person's own computer."""
        session, route = opened.session, opened.route
        if route.kind != "handoff":
            self.push_screen(AddressScreen(route, session))
            return
        hand_off = partial(self._service.hand_off, route, session)
        self.push_screen(AddressScreen(route, session, await hand_off(), hand_off))

    async def _watch(self, opened: Opened) -> None:
        """Tell when a tunnel is gone although its session is not."""
        cause = await self._desktops.lost(opened)
        session = self._board.find(opened.session.job_id)
        if session is not None and session.live:
            where = f"the tunnel to {session.app} on {session.node} is gone"
            self.trouble(f"{where}: {cause} (press o to open it again)")
            self._poller.refresh()

    async def action_quit(self) -> None:
        """Leave at once, or ask when desktops would go dark."""
        if not self._desktops.held:
            self.exit()
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.exit()

        if not isinstance(self.screen, Confirm):
            self.push_screen(Confirm(quitting(self._desktops.held)), answered)
