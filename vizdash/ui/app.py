"""Wires the dashboard to a service: snapshots down, wishes up. No I/O of its own."""

from __future__ import annotations

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
from vizdash.errors import VizdashError
from vizdash.imaging import Imaging
from vizdash.model import Matrix, Session, SessionRequest, Snapshot
from vizdash.poller import Poller
from vizdash.service import Service
from vizdash.ui.board import Board, Notice
from vizdash.ui.commands import Actions
from vizdash.ui.desktops import Desktops, Opened
from vizdash.ui.format import escape_control
from vizdash.ui.imaging import ImageDesk
from vizdash.ui.screens.address import AddressScreen
from vizdash.ui.screens.confirm import Confirm, quitting, stopping
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.screens.help import HelpScreen
from vizdash.ui.screens.log import LogScreen
from vizdash.ui.screens.start import StartScreen
from vizdash.ui.theme import THEME
from vizdash.ui.widgets.table import Now

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
        imaging: Imaging | None = None,
    ) -> None:
        super().__init__()
        self.register_theme(THEME)
        self.theme = THEME.name
        self._service = service
        self._clock = clock
        self._board = Board()
        self._desktops = Desktops(service)
        refresh = self._refresh_images
        self._images = ImageDesk(self, self, imaging, refresh) if imaging else None
        self._dashboard = Dashboard(read_only=read_only or service.config.read_only)
        self._rights_asked = False
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
        await self._desktops.close()

    # ------------------------------------------------------------------ down

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        for notice in self._board.take(snapshot, self._clock()):
            self._tell(notice)
        self._show()
        if self._images is not None and snapshot.places and not self._rights_asked:
            self._rights_asked = True
            asking = self._ask_image_rights(self._images, snapshot.matrix)
            self.run_worker(asking, name="image-rights", group="reads", exit_on_error=False)

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
            case ("deploy" | "rollback" | "matrix") as action_id, _:
                self._want_images(action_id, event.context)
            case "refresh", _:
                self._poller.refresh()
            case "help", _:
                self.push_screen(HelpScreen())
            case "quit", _:
                await self.action_quit()

    def _want_images(self, action_id: str, context: Context) -> None:
        if self._images is not None:
            self._images.want(action_id, context, self._seen)

    def _seen(self) -> tuple[Snapshot | None, Now]:
        return self._board.snapshot, self._board.now(self._clock())

    def _refresh_images(self) -> None:
        self._poller.refresh()

    async def _ask_image_rights(self, desk: ImageDesk, matrix: Matrix) -> None:
        self._dashboard.image_rights = await desk.rights(matrix)

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
        busy = self._images is not None and self._images.busy
        if not self._desktops.held and not busy:
            self.exit()
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.exit()

        if not isinstance(self.screen, Confirm):
            self.push_screen(Confirm(quitting(self._desktops.held, changing=busy)), answered)
