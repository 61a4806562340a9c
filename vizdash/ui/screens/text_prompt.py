"""Asks for a line of text that an action needs: a reason, a message."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from vizdash.ui.dialog_screen import DialogScreen
from vizdash.ui.present.lines import Line, lines
from vizdash.ui.widgets.clickable_keys import Dialog
from vizdash.ui.widgets.diff_text import DiffText
from vizdash.util.text import escape_control


class TextPromptScreen(DialogScreen[str | None]):
    """Enter returns the text, Escape None. A ``needed`` text can't be empty; ``look`` gives the
    question about the current state.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Cancel", show=False),
    ]

    def __init__(
        self,
        title: str,
        look: Callable[[], tuple[Line, ...]],
        *,
        hint: str,
        does: str,
        needed: bool = True,
    ) -> None:
        super().__init__()
        self._title = title
        self._look = look
        # An attribute, not a query: a tick may come while the screen is being removed.
        self._question = DiffText(lines(look()), id="question", markup=False)
        self._hint = hint
        self._does = does
        self._needed = needed

    def compose(self) -> ComposeResult:
        """The question and the input."""
        with Dialog() as dialog:
            dialog.border_title = escape_control(self._title)
            dialog.border_subtitle = f"enter {self._does} · esc cancels"
            yield self._question
            yield Input(placeholder=self._hint, max_length=200, id="asked")

    def on_mount(self) -> None:
        """Follow the state while the user types."""
        self.set_interval(1, self.follow)

    def follow(self) -> None:
        """Show the question about the current state."""
        self._question.put(lines(self._look()))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        if text or not self._needed:
            self.dismiss(text)
