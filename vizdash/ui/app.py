"""The dashboard's app: routes key presses to controllers and snapshots to the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.command import Provider
from textual.screen import Screen
from typing_extensions import override

from vizdash.config import Config
from vizdash.model import Snapshot
from vizdash.ui.dashboard_state import DashboardState
from vizdash.ui.key_bindings import APP_BINDINGS, configured_actions
from vizdash.ui.pending_service import ControllerOptions, PendingService
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.terminal.signals import TerminalSignals
from vizdash.ui.terminal.terminal_app import TerminalApp
from vizdash.ui.theme import THEMES
from vizdash.ui.widgets.columns import Now

if TYPE_CHECKING:
    from vizdash.service.poller import Poller
    from vizdash.service.service import Service
    from vizdash.ui.controllers.controllers import Controllers
    from vizdash.ui.controllers.desktops import OpenDesktops

#: Seconds of the load's history in the header, and between two checks of the config files.
_HOUR_S, _CONFIG_S = 3600.0, 2.0


def _actions() -> type[Provider]:
    from vizdash.ui.palette import Actions

    return Actions


class VizdashApp(TerminalApp):
    """The dashboard of one cluster.

    A PendingService is connected once the first screen, with what an earlier dashboard saw, is
    drawn; until then the keys of lists work, and actions wait. Controllers are made when they are
    first needed.

    ``clock`` gives seconds since the epoch; ``stay`` are the keys of the active config that could
    not be applied, see Service.use. Its result is empty, ``hold`` when its tunnels are to be kept,
    or ``cluster:NAME`` to show another cluster; only without a result are the tunnels closed.

    Raises ConfigError for keys that can't be used.
    """

    TITLE = "vizdash"
    CSS_PATH = "vizdash.tcss"
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {_actions}
    BINDINGS = APP_BINDINGS
    ENABLE_COMMAND_PALETTE = True
    #: Dialogs have no empty rows where there are few.
    VERTICAL_BREAKPOINTS = [(0, "-cramped"), (20, "-roomy")]  # noqa: RUF012

    #: What shows and changes the cluster; there once it is ``connected``.
    service: Service
    open_desktops: OpenDesktops
    controllers: Controllers
    _poller: Poller

    def __init__(
        self,
        service: Service | PendingService,
        *,
        desktops: OpenDesktops | None = None,
        clock: Callable[[], float] = time.time,
        options: ControllerOptions = ControllerOptions(),  # noqa: B008 (it is frozen)
        stay: Sequence[str] = (),
    ) -> None:
        super().__init__()
        for theme in THEMES.values():
            self.register_theme(theme)
        config = service.config
        self.begin_with_theme(THEMES[config.ui.theme].name)
        self.state = DashboardState()
        read_only = options.read_only or config.read_only
        self.dashboard = Dashboard(configured_actions(config), read_only=read_only)
        self.time = clock
        self._stay = stay
        self._options = options
        self._signals = TerminalSignals(lambda: self._config.ui, self.write_to_terminal)
        #: Whether ``service`` is there, and what waits for it.
        self.connected = False
        self._waiting: list[Callable[[Controllers], object]] = []
        #: Why there is no service: the app has ended.
        self.failure: Exception | None = None
        self._pending: PendingService | None = None
        if isinstance(service, PendingService):
            self._pending = service
        else:
            self._use(service, desktops)

    @property
    def _config(self) -> Config:
        return self._pending.config if self._pending is not None else self.service.config

    def get_default_screen(self) -> Screen[None]:
        """The dashboard, below all other screens."""
        return self.dashboard

    def on_mount(self) -> None:
        """Show what an earlier dashboard saw, and start the timers."""
        self.set_interval(1, self.tick)
        self.set_interval(_CONFIG_S, self._check_config)
        self._signals.set_title(None)
        source = self._pending or self.service.user_data
        if (saved := source.saved_snapshot) is not None:
            self.state.show_saved(saved.rename(self._config.cluster_name))
            self.redraw()
        if self._pending is None:
            self._start_polling()
        else:
            self.dashboard.call_after_refresh(self._connect_soon)

    async def on_unmount(self) -> None:
        """Close the routes, unless another dashboard or process takes them over."""
        self._signals.close()
        if not self.connected:
            return
        await self.open_desktops.stop_previews()
        if not self.return_value:
            await self.open_desktops.close()
        await self.controllers.builds.close()

    # ------------------------------------------------------------------ the service

    def _connect_soon(self) -> None:
        self._connect()  # its coroutine is made by the worker: the app may end before that

    @work(name="connect", group="connect")
    async def _connect(self) -> None:
        """Make the service, do what waited for it, and poll. Without it, the app ends."""
        assert self._pending is not None
        try:
            service, desktops = await self._pending.connect()
        except Exception as e:  # noqa: BLE001 (it is raised again, outside)
            self.failure = e
            self.exit()
            return
        self._use(service, desktops)
        self._start_polling()
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call(self.controllers)

    def _use(self, service: Service, desktops: OpenDesktops | None) -> None:
        from vizdash.service.poller import Poller
        from vizdash.ui.controllers.controllers import Controllers
        from vizdash.ui.controllers.desktops import OpenDesktops

        self.service, self._pending, self.connected = service, None, True
        self.open_desktops = desktops or OpenDesktops(service)
        self.dashboard.use_details(self.open_desktops)
        self.controllers = Controllers(
            self, service, self.open_desktops, self._options, self._signals.ring, self._set_theme
        )
        on_failure = self.controllers.connection.take_failure
        self._poller = Poller(service, on_snapshot=self.take_snapshot, on_failure=on_failure)

    def _start_polling(self) -> None:
        self.run_worker(self._poller.run(), name="poller", group="poller")
        self.controllers.sessions.use_last_size()
        if self._stay:
            self.controllers.config.report_change(self._stay)

    def _when_connected(self, call: Callable[[Controllers], object]) -> None:
        if self.connected:
            call(self.controllers)
        else:
            self._waiting.append(call)

    def _check_config(self) -> None:
        if self.connected:
            self.controllers.config.check()

    # ------------------------------------------------------------------ snapshots

    def take_snapshot(self, snapshot: Snapshot) -> None:
        """Show a new snapshot, and report changes of the user's sessions."""
        snapshot = snapshot.rename(self.service.config.cluster_name)
        if not self.state.answered:  # before the first answer the cluster may be unreachable
            self.run_worker(
                self.controllers.connection.query_rights(), name="rights", group="reads"
            )
        for notice in self.state.take(snapshot, self.time()):
            self.controllers.sessions.announce(notice)
        self.dashboard.history = self.service.user_data.history.since(self.time() - _HOUR_S)
        self._signals.set_title(self.state.snapshot)
        self.redraw()
        self.controllers.follow(snapshot)

    def tick(self) -> None:
        """Advance ages and countdowns; called every second."""
        if self.screen_stack:  # a last tick may come while vizdash ends
            if self.connected:
                self.controllers.connection.tick()
            self.dashboard.tick(self.now())

    def _set_theme(self, name: str) -> None:
        self.theme = THEMES[name].name

    # ------------------------------------------------------------------ actions

    @on(Dashboard.ActionRequested)
    async def _handle_action(self, event: Dashboard.ActionRequested) -> None:
        if event.action_id == "quit":
            await self.action_quit()
        else:
            self._when_connected(
                lambda controllers: controllers.handlers[event.action_id](event.context)
            )

    @override
    async def action_quit(self) -> None:
        if self.connected:
            self.controllers.quit.quit()
        else:
            self.exit()

    def action_screen_help(self) -> None:
        """Show the keys of the screen on top."""
        self._when_connected(lambda controllers: controllers.information.show_screen_help())

    @override
    def action_command_palette(self) -> None:
        if self.screen is self.dashboard:  # elsewhere its actions have nothing to act on
            super().action_command_palette()

    # ------------------------------------------------------------------ for controllers, see Ui

    def now(self) -> Now:
        """The time, and the age of the data."""
        return self.state.now(self.time())

    def redraw(self) -> None:
        """Draw the dashboard from the current state."""
        self.dashboard.show(self.state, self.now())

    def refresh_snapshot(self) -> None:
        """Query the cluster now."""
        self._poller.refresh()
