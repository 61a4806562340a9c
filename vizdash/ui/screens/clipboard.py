"""Copies a cell of a row, or the desktop's address, to the terminal's clipboard (OSC 52)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from vizdash.ui.dialog_screen import DialogScreen
from vizdash.ui.present.lines import Span, content
from vizdash.ui.widgets.clickable_keys import Dialog
from vizdash.util.text import escape_control, truncate

_NAME = 12


class ClipboardScreen(DialogScreen[tuple[str, str] | None]):
    """Enter or a click copies. Returns the name and the text that were copied."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,c", "dismiss", "Close", show=False),
        Binding("j", "down", "Down", show=False),
        Binding("k", "up", "Up", show=False),
    ]

    def __init__(self, cells: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._cells = [(name, text) for name, text in cells if text not in {"", "–"}]

    def compose(self) -> ComposeResult:
        """One line for each cell with text."""
        with Dialog() as dialog:
            dialog.border_title = "Copy"
            dialog.border_subtitle = "enter copies · esc closes"
            yield OptionList(*(Option(self._drawn(*cell)) for cell in self._cells))

    def _drawn(self, name: str, text: str) -> Content:
        shown = truncate(escape_control(text), 52)
        return content((Span(name.lower().ljust(_NAME), "muted"), Span(shown, "strong")))

    def action_down(self) -> None:
        """Move down."""
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        """Move up."""
        self.query_one(OptionList).action_cursor_up()

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        name, text = self._cells[event.option_index]
        self.app.copy_to_clipboard(text)
        self.dismiss((name, text))
