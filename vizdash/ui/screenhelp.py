"""``?`` on a screen that has keys of its own: what they do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen

from vizdash.actions import key_label
from vizdash.ui.keyed import Keyed
from vizdash.ui.reloading import Reloading
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.screens.help import HelpScreen, row
from vizdash.ui.theme import Line, Span, line


class ScreenHelp(Reloading):
    """A part of the app. The dashboard and screens with actions of the registry have their own."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "screen_help", "Help", show=False)
    ]

    def action_screen_help(self) -> None:
        """Show the keys of the screen on top. A dialog names its keys itself."""
        screen = self.screen
        if not isinstance(screen, Dashboard | Keyed | ModalScreen):
            self.push_screen(HelpScreen(key_lines(screen)))


def key_lines(screen: Screen[object]) -> Iterable[Line]:
    """A screen's own keys, one line for each thing that they do."""
    yield line(Span("Keys of this screen", "accent", bold=True))
    keys: dict[str, list[str]] = {}
    for binding in type(screen).BINDINGS:
        if isinstance(binding, Binding) and binding.description:
            names = [key_label(key) for key in binding.key.split(",")]
            keys.setdefault(binding.description, []).extend(names)
    for description, names in keys.items():
        yield row(" ".join(names), Span(description))
    yield row("↑ ↓ PgUp", Span("scroll", "muted"))
