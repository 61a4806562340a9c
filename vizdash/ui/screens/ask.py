"""A line of text that an action needs: a reason, a message."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from vizdash.ui.format import escape_control
from vizdash.ui.theme import Line, lines
from vizdash.ui.widgets.clicked import Dialog


class AskScreen(ModalScreen[str | None]):
    """Enter gives the text back, Escape nothing. ``needed`` texts can't be empty."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Cancel", show=False),
    ]

    def __init__(
        self, title: str, text: tuple[Line, ...], *, hint: str, does: str, needed: bool = True
    ) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._hint = hint
        self._does = does
        self._needed = needed

    def compose(self) -> ComposeResult:
        """What is done, and the line for it."""
        with Dialog() as dialog:
            dialog.border_title = escape_control(self._title)
            dialog.border_subtitle = f"enter {self._does} · esc cancels"
            yield Static(lines(self._text), id="question")
            yield Input(placeholder=self._hint, max_length=200, id="asked")

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        if text or not self._needed:
            self.dismiss(text)
