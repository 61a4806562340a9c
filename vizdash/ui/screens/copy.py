"""Copies a cell of a row, or its address, into the clipboard of the person's terminal (OSC 52)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from vizdash.ui.format import ellipsis, escape_control
from vizdash.ui.theme import Span, content
from vizdash.ui.widgets.clicked import Dialog

_NAME = 12


class CopyScreen(ModalScreen[tuple[str, str] | None]):
    """Enter (or a click) copies; gives back what was copied: its name and its text."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,c", "dismiss", "Close", show=False),
        Binding("j", "down", "Down", show=False),
        Binding("k", "up", "Up", show=False),
    ]

    def __init__(self, cells: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._cells = [(name, text) for name, text in cells if text not in {"", "–"}]

    def compose(self) -> ComposeResult:
        """A line for each cell that has something."""
        with Dialog() as dialog:
            dialog.border_title = "Copy"
            dialog.border_subtitle = "enter copies · esc closes"
            yield OptionList(*(Option(self._drawn(*cell)) for cell in self._cells))

    def _drawn(self, name: str, text: str) -> Content:
        shown = ellipsis(escape_control(text), 52)
        return content((Span(name.lower().ljust(_NAME), "muted"), Span(shown, "strong")))

    def action_down(self) -> None:
        """Like the arrow."""
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        """Like the arrow."""
        self.query_one(OptionList).action_cursor_up()

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        name, text = self._cells[event.option_index]
        self.app.copy_to_clipboard(text)
        self.dismiss((name, text))
