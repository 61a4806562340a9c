"""Every key and what it does, from the registry; and what the signs mean."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from vizdash.actions import REGISTRY
from vizdash.ui.theme import Line, Span, line, lines
from vizdash.ui.widgets.footer import key_label
from vizdash.ui.words import LEGEND

_MOVING = (
    ("↑ ↓  j k", "one row up or down"),
    ("PgUp PgDn", "one page"),
    ("Home End", "the first or the last row"),
    ("Tab", "the next pane"),
    ("^p  :", "the palette: find an action by its name"),
)


def help_lines() -> list[Line]:
    """The whole help."""
    found: list[Line] = []
    for action in REGISTRY:
        keys = " ".join(key_label(key) for key in action.keys)
        mark = Span("  asks first", "warn") if action.dangerous else Span("")
        found.append(line(Span(keys.ljust(11), "accent", bold=True), action.help, mark))
    found.append(())
    found += [line(Span(keys.ljust(11), "accent"), Span(what, "muted")) for keys, what in _MOVING]
    found.append(())
    for glyph, tone, word, what in LEGEND:
        found.append(line(Span(f"{glyph} {word}".ljust(13), tone), Span(what, "muted")))
    return found


class HelpScreen(ModalScreen[None]):
    """Closed by the key that opened it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "Close", show=False),
        Binding("j", "scroll('down')", "Down", show=False),
        Binding("k", "scroll('up')", "Up", show=False),
    ]

    def compose(self) -> ComposeResult:
        """One text that scrolls where it's too long."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Keys"
            dialog.border_subtitle = "esc closes"
            with VerticalScroll(id="help-scroll"):
                yield Static(lines(help_lines()), id="help-text")

    def action_scroll(self, way: str) -> None:
        """Like the arrows."""
        scroll = self.query_one("#help-scroll", VerticalScroll)
        if way == "down":
            scroll.scroll_down(animate=False)
        else:
            scroll.scroll_up(animate=False)
