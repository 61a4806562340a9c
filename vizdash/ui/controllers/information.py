"""Help, the load's history, the command log, and copying a cell."""

from __future__ import annotations

from collections.abc import Iterable

from textual.binding import Binding
from textual.command import CommandPalette
from textual.screen import ModalScreen, Screen

from vizdash.actions import Context, key_label
from vizdash.model import Session
from vizdash.service.service import Service
from vizdash.ui.action_screen import ActionScreen
from vizdash.ui.controllers.desktops import OpenDesktops
from vizdash.ui.controllers.interface import Handlers, Ui
from vizdash.ui.present.lines import Line, Span, line
from vizdash.ui.screens.dashboard import Dashboard


class InformationController:
    """Handles the actions that only show something."""

    def __init__(self, ui: Ui, service: Service, desktops: OpenDesktops) -> None:
        self._ui = ui
        self._service = service
        self._desktops = desktops

    @property
    def handlers(self) -> Handlers:
        """The actions that it handles."""
        return {
            "help": self._show_help,
            "history": lambda context: self._show_history(),
            "commands": lambda context: self._show_commands(),
            "copy": lambda context: self._choose_cell(context.session),
        }

    def _show_help(self, context: Context) -> None:
        from vizdash.ui.screens.help import HelpScreen, help_lines

        self._ui.show_screen(HelpScreen(help_lines(self._ui.dashboard.registry, context)))

    def show_screen_help(self) -> None:
        """Show the keys of the screen on top; the help itself closes."""
        from vizdash.ui.screens.help import HelpScreen

        screen = self._ui.screen_stack[-1]
        if isinstance(screen, Dashboard | ActionScreen):
            screen.perform("help")
        elif isinstance(screen, HelpScreen):
            screen.dismiss()
        elif not isinstance(screen, CommandPalette):
            self._ui.show_screen(HelpScreen(key_lines(screen)))

    def _show_history(self) -> None:
        from vizdash.ui.screens.load_history import LoadHistoryScreen

        self._ui.show_screen(
            LoadHistoryScreen(self._service.user_data.history.since, self._ui.time)
        )

    def _show_commands(self) -> None:
        from vizdash.ui.screens.command_log import CommandLogScreen

        self._ui.show_screen(CommandLogScreen(lambda: self._service.commands_run))

    def _choose_cell(self, session: Session | None) -> None:
        """Offer the cells of the session or the row under the cursor; the address comes first."""
        from vizdash.ui.screens.clipboard import ClipboardScreen

        dashboard = self._ui.dashboard
        pane = dashboard.sessions if session else dashboard.pane
        chosen = session or pane.row
        if chosen is None:
            self._ui.warn("Copy: no row is selected")
            return
        cells = pane.cells(chosen)
        if session and (route := self._desktops.find_route(session)):
            cells.insert(0, ("ADDRESS", route.url))

        def copied(cell: tuple[str, str] | None) -> None:
            if cell is not None:
                self._ui.inform(f"{cell[0].lower()} is copied, if your terminal allows it")

        self._ui.show_screen(ClipboardScreen(cells), copied)


def key_lines(screen: Screen[object]) -> Iterable[Line]:
    """A screen's own keys, one line for each thing that they do."""
    from vizdash.ui.screens.help import key_row

    yield line(Span("Keys of this screen", "accent", bold=True))
    keys: dict[str, list[str]] = {}
    for binding in type(screen).BINDINGS:
        if isinstance(binding, Binding) and binding.description:
            names = [key_label(key) for key in binding.key.split(",")]
            keys.setdefault(binding.description, []).extend(names)
    for description, names in keys.items():
        yield key_row(" ".join(names), Span(description))
    if not isinstance(screen, ModalScreen):
        yield key_row("↑ ↓ PgUp", Span("scroll", "muted"))
