"""Wires the dashboard to a service: snapshots down, wishes up. No I/O of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.screen import Screen

from vizdash.actions import Context, stoppable, timed
from vizdash.building import Building
from vizdash.config import Config
from vizdash.errors import VizdashError
from vizdash.imaging import Imaging
from vizdash.model import Session, SessionRequest, Snapshot
from vizdash.operations import extension_request
from vizdash.poller import Poller
from vizdash.service import Service
from vizdash.sessions.choice import same_again
from vizdash.ui.board import Board, Notice
from vizdash.ui.builddesk import BuildDesk
from vizdash.ui.commands import Actions
from vizdash.ui.desktops import Desktops, Opened
from vizdash.ui.driver import TerminalDriver
from vizdash.ui.format import escape_control
from vizdash.ui.imaging import ImageDesk
from vizdash.ui.keys import keyed
from vizdash.ui.linkwatch import LinkWatch
from vizdash.ui.operators import Operators
from vizdash.ui.screenhelp import ScreenHelp
from vizdash.ui.screens.address import AddressScreen
from vizdash.ui.screens.commands import CommandsScreen
from vizdash.ui.screens.copy import CopyScreen
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.screens.deadline import Choice, DeadlineScreen, more_s
from vizdash.ui.screens.help import HelpScreen, help_lines
from vizdash.ui.screens.history import HistoryScreen
from vizdash.ui.screens.log import LogScreen
from vizdash.ui.screens.look import LookScreen, Seen
from vizdash.ui.screens.start import StartScreen
from vizdash.ui.signals import Signals
from vizdash.ui.theme import THEMES
from vizdash.ui.widgets.table import Now

#: Seconds for which news stays on the screen; errors stay longer.
_NEWS_S, _ERROR_S = 6, 12
#: Seconds of the load's history in the header, and between looks at the config files.
_HOUR_S, _CONFIG_S = 3600.0, 2.0


class VizdashApp(ScreenHelp):
    """The dashboard of one cluster. ``clock`` gives seconds since the epoch; ``reload`` gives the
    config when it was changed, and is called now and then. ``stay`` are the keys of the config in
    force that could not be taken over, see Service.use.

    Raises ConfigError for keys that can't be.
    """

    TITLE = "vizdash"
    CSS_PATH = "vizdash.tcss"
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {Actions}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True),
        Binding("ctrl+c", "quit", "Quit", show=False),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, priority=True),
    ]
    ENABLE_COMMAND_PALETTE = True
    #: Of the screens over the dashboard: where there are few rows, dialogs do without empty ones.
    VERTICAL_BREAKPOINTS = [(0, "-cramped"), (20, "-roomy")]  # noqa: RUF012

    def __init__(
        self,
        service: Service,
        *,
        desktops: Desktops | None = None,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
        reload: Callable[[], Config | None] = lambda: None,
        imaging: Callable[[], Imaging] | None = None,
        stay: Sequence[str] = (),
    ) -> None:
        super().__init__(driver_class=TerminalDriver)
        for theme in THEMES.values():
            self.register_theme(theme)
        self.theme = THEMES[service.config.ui.theme].name
        self._reload = reload
        self._stay = stay
        self._forced_read_only = read_only
        self._service = service
        self._clock = clock
        self._board = Board()
        self._signals = Signals(service, self._write)
        self._desktops = desktops or Desktops(service)
        self._operators = Operators(service, self)
        self._images = ImageDesk(self, self, imaging, self.look_again) if imaging else None
        self.desk = BuildDesk(self, Building(service))
        registry = keyed(service.config)
        read_only = read_only or service.config.read_only
        self._dashboard = Dashboard(registry, read_only=read_only, looks=self._desktops)
        self._poller = Poller(service, on_snapshot=self._on_snapshot, on_failure=self._on_failure)
        self._link = LinkWatch(service, clock, fail=self._on_no_link, back=self.link_back)

    def get_default_screen(self) -> Screen[None]:
        """The dashboard lies under everything."""
        return self._dashboard

    def on_mount(self) -> None:
        """Begin to ask, and to count the seconds."""
        self.run_worker(self._poller.run(), name="poller", group="poller")
        self.set_interval(1, self.tick)
        self.set_interval(_CONFIG_S, self._look_at_config)
        self._signals.entitle(self._board.snapshot)
        self.remember()
        if self._stay:
            self.tell_config(self._stay)

    async def on_unmount(self) -> None:
        """However vizdash ends, its routes end with it, unless somebody takes them over."""
        self._signals.close()
        await self._desktops.look_away()
        if not self.return_value:
            await self._desktops.close()
        await self.desk.close()

    # ------------------------------------------------------------------ down

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        snapshot = snapshot.called(self._service.config.called)
        if self._board.snapshot is None:  # before anyone answers, there is no one to ask
            self.run_worker(self._ask_rights(), name="rights", group="reads")
        for notice in self._board.take(snapshot, self._clock()):
            self._tell(notice)
        self._dashboard.history = self._service.history.since(self._clock() - _HOUR_S)
        self._signals.entitle(self._board.snapshot)
        self._show()
        self.ask_image_rights(snapshot)
        self.mind_tunnels(snapshot)

    def _on_failure(self, line: str) -> None:
        if not self._link.down:
            self._on_no_link(line)

    def _on_no_link(self, line: str) -> None:
        self._board.fail(line)
        self._show()

    def _show(self) -> None:
        self._dashboard.show(self._board, self._board.now(self._clock()))

    def tick(self) -> None:
        """A second went by: ages and countdowns move."""
        if self.screen_stack:  # it may go by once more while vizdash ends
            self._link.tick()
            self._dashboard.tick(self._board.now(self._clock()))

    async def _ask_rights(self) -> None:
        try:
            info = await self._service.info()
        except VizdashError:  # the next snapshot says why
            return
        self._dashboard.admin, self._dashboard.node_admin = info.admin, info.node_admin

    def _tell(self, notice: Notice) -> None:
        session = notice.session
        if notice.kind == "ready":
            text = f"{session.app} is ready on {session.node}"
            self.news(f"{text} — press o to open it")
            self._signals.ring(text)
        elif notice.kind == "limit":
            text = f"{session.app} on {session.node} reaches its time limit soon"
            self.warn(f"{text} — press w on its row for the choices")
            self._signals.ring(text)
        elif session.result == "failed":
            step = f" at step {session.step}" if session.step else ""
            why = f": {session.error}" if session.error else ""
            text = f"{session.app} failed{step}{why}"
            self.trouble(f"{text} (press l for its log)")
            self._signals.ring(text)
        elif session.result in {"timed out", "cancelled"}:
            why = "reached its time limit" if session.result == "timed out" else "was cancelled"
            note = f": {session.note}" if session.note else ""
            text = f"{session.app} on {session.node or 'no node'} {why}{note}"
            self.warn(text)
            self._signals.ring(text)

    def news(self, text: str) -> None:
        """One line that goes away by itself."""
        self.notify(escape_control(text), timeout=_NEWS_S, markup=False)

    def warn(self, text: str) -> None:
        """One line to act upon."""
        self.notify(escape_control(text), severity="warning", timeout=_ERROR_S, markup=False)

    def trouble(self, text: str) -> None:
        """One line that names cause and mend."""
        self.notify(escape_control(text), severity="error", timeout=_ERROR_S, markup=False)

    # ------------------------------------------------------------------ the terminal

    def _write(self, sequence: str) -> None:
        """To the terminal itself, past the screen."""
        if sequence and self._driver is not None:
            self._driver.write(sequence)

    def _next_theme(self) -> None:
        names = list(THEMES)
        name = names[(names.index(self.theme.removeprefix("vizdash-")) + 1) % len(names)]
        self.theme = THEMES[name].name
        self.news(f"theme {name} (to keep it: ui: {{theme: {name}}} in the config)")

    # ------------------------------------------------------------------ up

    @on(Dashboard.Wanted)
    async def _wanted(self, event: Dashboard.Wanted) -> None:
        context = event.context
        if context.session is not None and self._want_of(event.action_id, context.session):
            return
        match event.action_id:
            case "start":
                self._want_start(context)
            case "stop":
                self.want_stop(stoppable(context))
            case "deadline":
                self._want_time(timed(context))
            case "extend":
                self._want_time(context.session)
            case "drain" if context.node:
                self._operators.drain(context.node)
            case "resume" if context.node:
                self._operators.resume(context.node)
            case "copy":
                self._want_copy(context.session)
            case "theme":
                self._next_theme()
            case "quit":
                await self.action_quit()
            case _ if not self.want_away(event.action_id) and not self.want_images(
                event.action_id, context
            ):
                self._want_screen(event.action_id, context)

    def _want_of(self, action_id: str, session: Session) -> bool:
        """What is done to one session; whether it was one of these."""
        match action_id:
            case "open":
                self._want_open(session)
            case "logs":
                self.push_screen(LogScreen(self._service, session, find=self._board.find))
            case "look":
                self._want_look(session)
            case "again":
                self._want_again(session)
            case "renew":
                self.renew(session)
            case "message":
                self._operators.message(session)
            case _:
                return False
        return True

    def _want_look(self, session: Session) -> None:
        board = self._dashboard

        def seen() -> Seen:
            found = self._board.find(session.job_id)
            return Seen(found, board.context(), self.moment(), board.registry)

        board.look_away()
        self.push_screen(LookScreen(session, self._desktops, seen), board.look_back)

    def moment(self) -> Now:
        """See shelf.Shelf."""
        return self._board.now(self._clock())

    def look_again(self) -> None:
        """See operators.Face."""
        self._poller.refresh()

    def _want_screen(self, action_id: str, context: Context) -> None:
        match action_id:
            case "help":
                self.push_screen(HelpScreen(help_lines(self._dashboard.registry, context)))
            case "history":
                self.push_screen(HistoryScreen(self._service.history.since, self._clock))
            case "commands":
                self.push_screen(CommandsScreen(lambda: self._service.ran))

    def _want_start(self, context: Context, first: SessionRequest | None = None) -> None:
        node = context.node.name if context.node else ""
        nodes = context.snapshot.nodes if context.snapshot else ()
        form = StartScreen(
            self._service, self._start, nodes=nodes, node=node, first=first, clock=self._clock
        )
        self.push_screen(form)

    def _want_again(self, session: Session) -> None:
        self._want_start(Context(snapshot=self._board.snapshot), same_again(session))

    def _want_time(self, session: Session | None) -> None:
        if session is None:
            return

        def chosen(choice: Choice | None) -> None:
            if choice not in {"again", "extend"}:  # which may yet come to nothing
                self._board.let_be(session)
            if choice == "again":
                self._want_again(session)
            elif choice == "extend":
                self.extend(session)
            elif choice == "request":
                self.copy_to_clipboard(extension_request(session, more_s(session)))
                self.news("the request to your operators is copied, if your terminal allows it")
            self._show()

        may = self._dashboard.admin or self._service.engine.name == "local"
        screen = DeadlineScreen(session, self._board.find, self.moment, may_extend=may)
        self.push_screen(screen, chosen)

    def _want_copy(self, session: Session | None) -> None:
        """Cells of it or of the row under the cursor, and an opened desktop's address first."""
        pane = self._dashboard.sessions if session else self._dashboard.pane
        row = session or pane.row
        if row is None:
            self.warn("Copy: there is no row")
            return
        cells = pane.cells(row)
        if session and (route := self._desktops.route(session)):
            cells.insert(0, ("ADDRESS", route.url))

        def copied(what: tuple[str, str] | None) -> None:
            if what is not None:
                self.news(f"{what[0].lower()} is copied, if your terminal allows it")

        self.push_screen(CopyScreen(cells), copied)

    async def _start(self, request: SessionRequest) -> Session:
        """Start it, show it at once and ask the cluster again. Raises VizdashError."""
        session = await self._service.start(request)
        self._board.started(session, self._clock())
        self.remember(request)
        self._show()
        self._dashboard.point_at(session)
        self._poller.refresh()
        self.news(f"{session.app} is on its way as job {session.job_id}")
        return session

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
        self._show()
        if opened.new and opened.route.kind != "direct":
            await self._watch(opened)

    async def _show_address(self, opened: Opened) -> None:
        """There's no browser here: say what to do at the person's own computer. Nothing may lie
        over it: what was told before is over.
        """
        session, route = opened.session, opened.route
        self.clear_notifications()
        if route.kind != "handoff":
            self.push_screen(AddressScreen(route, session))
            return
        hand_off = partial(self._service.hand_off, route, session)
        self.push_screen(AddressScreen(route, session, await hand_off(), hand_off))

    async def _watch(self, opened: Opened) -> None:
        """Tell when a tunnel is gone although its session is not."""
        cause = await self._desktops.lost(opened)
        session = self._board.find(opened.session.job_id)
        if cause and session is not None and session.live:
            where = f"the tunnel to {session.app} on {session.node} is gone"
            self.trouble(f"{where}: {cause} (press o to open it again)")
            self._poller.refresh()

    def action_command_palette(self) -> None:
        """The palette acts on the dashboard: elsewhere its actions have nothing to act on."""
        if self.screen is self._dashboard:
            super().action_command_palette()
