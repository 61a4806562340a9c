"""The input line for a pane's filter."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input


class FilterBar(Input):
    """Sends each change; Enter keeps the filter, Escape clears it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "give_up", "No filter", show=False),
        Binding("down", "keep", "Back to the rows", show=False),
    ]

    class Typed(Message):
        """The filter of the pane changed."""

        def __init__(self, pane: str, text: str) -> None:
            self.pane = pane
            self.text = text
            super().__init__()

    class Left(Message):
        """The input line was closed."""

    def __init__(self) -> None:
        super().__init__(id="filter", placeholder="words  !not  state:ready  user:me  node:003")
        self._pane = ""

    def open_on(self, pane: str, text: str) -> None:
        """Edit ``text``, the filter of ``pane``."""
        self._pane = pane
        self.add_class("-shown")
        with self.prevent(Input.Changed):
            self.value = text
        self.cursor_position = len(text)
        self.focus()

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Typed(self._pane, event.value))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_keep()

    def action_keep(self) -> None:
        """Close and keep the filter."""
        self.remove_class("-shown")
        self.post_message(self.Left())

    def action_give_up(self) -> None:
        """Close and clear the filter."""
        self.post_message(self.Typed(self._pane, ""))
        self.action_keep()
