"""The input fields of the start form: their labels, hints and errors."""

from __future__ import annotations

from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Label, Static

from vizdash.util.text import escape_control


class OtherSettings(Horizontal):
    """A line with the settings that have no field; hidden while there are none."""

    def compose(self) -> ComposeResult:
        """A label, the settings, and the key that clears them."""
        yield Label("Also", classes="name")
        yield Static(id="also-what", markup=False)
        yield Label("^l clears", id="also-key")

    def show(self, words: str) -> None:
        """Show these settings."""
        self.set_class(bool(words), "-shown")
        self.query_one("#also-what", Static).update(escape_control(words))

    async def on_click(self, event: events.Click) -> None:
        """A click on the key presses it."""
        if event.widget is not None and event.widget.id == "also-key":
            await self.run_action("screen.clear")


class MoreToggle(Static, can_focus=True):
    """The line that shows or hides the rarer fields."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "screen.more", show=False)]

    async def on_click(self) -> None:
        """A click is Enter."""
        await self.run_action("screen.more")


class SizeNameInput(Input):
    """The input for the name of a saved size."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "give_up", "Don't save", show=False),
    ]

    class Named(Message):
        """A name was entered; an empty one when cancelled."""

        def __init__(self, name: str) -> None:
            self.name = name
            super().__init__()

    def __init__(self) -> None:
        super().__init__(id="naming", placeholder="a name for this size", max_length=24)

    def begin(self, name: str) -> None:
        """Ask for a name."""
        self.add_class("-shown")
        with self.prevent(Input.Changed):
            self.value = name
        self.focus()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._end(event.value.strip())

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()

    def action_give_up(self) -> None:
        """Cancel."""
        self._end("")

    def _end(self, name: str) -> None:
        self.remove_class("-shown")
        self.post_message(self.Named(name))
