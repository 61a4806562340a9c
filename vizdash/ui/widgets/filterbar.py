"""The line in which a filter is typed."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input


class FilterBar(Input):
    """Tells of each change; Enter keeps the filter, Escape takes it away."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "give_up", "No filter", show=False),
        Binding("down", "keep", "Back to the rows", show=False),
    ]

    class Typed(Message):
        """Another filter of the pane that the bar was opened for."""

        def __init__(self, pane: str, text: str) -> None:
            self.pane = pane
            self.text = text
            super().__init__()

    class Left(Message):
        """The person is done with typing."""

    def __init__(self) -> None:
        super().__init__(id="filter", placeholder="words  !not  state:ready  user:me  node:003")
        self._pane = ""

    def open_on(self, pane: str, text: str) -> None:
        """Begin with ``text``, the filter of ``pane``."""
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
        """Back to the rows, with the filter on."""
        self.remove_class("-shown")
        self.post_message(self.Left())

    def action_give_up(self) -> None:
        """Back to all rows."""
        self.post_message(self.Typed(self._pane, ""))
        self.action_keep()
