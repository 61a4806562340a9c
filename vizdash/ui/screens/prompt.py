"""What the login to a cluster asks of a person: passwords, codes, and whether a host is known."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from vizdash.model.link import Prompt
from vizdash.ui.format import escape_control
from vizdash.ui.screens.confirm import Answer
from vizdash.ui.theme import Span, line, lines


class PromptScreen(ModalScreen[tuple[str, ...] | None]):
    """What was typed into each field; () for yes; None for no. It waits as long as it takes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", show=False),
    ]

    def __init__(self, prompt: Prompt) -> None:
        super().__init__()
        self._prompt = prompt

    def compose(self) -> ComposeResult:
        """What is said, then what is asked."""
        prompt = self._prompt
        with Vertical(classes="dialog", id="prompt") as dialog:
            dialog.border_title = escape_control(prompt.title)
            if prompt.lines:
                with VerticalScroll(id="prompt-said", can_focus=False):
                    yield Static(lines([line(escape_control(text)) for text in prompt.lines]))
            for field in prompt.fields:
                yield Static(lines([line(Span(escape_control(field.label), "muted"))]))
                yield Input(password=not field.shown)
            if prompt.fields:
                hint = line(Span("Enter sends it, Escape gives up.", "muted"))
                yield Static(lines([hint]))
            else:
                dialog.border_subtitle = "tab the other · enter answers · esc no"
                with Horizontal(classes="answers"):
                    yield Answer("No", id="no")
                    yield Answer(escape_control(prompt.yes.capitalize() or "Yes"), id="yes")

    def on_mount(self) -> None:
        """The first field, or no, has the focus."""
        self.query(Input if self._prompt.fields else Answer).first().focus()

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        """The next field, or done."""
        fields = list(self.query(Input))
        at = fields.index(event.input)
        if at + 1 < len(fields):
            fields[at + 1].focus()
        else:
            self.dismiss(tuple(field.value for field in fields))

    @on(Answer.Given)
    def _answered(self, event: Answer.Given) -> None:
        self.dismiss(() if event.answer.id == "yes" else None)

    def action_cancel(self) -> None:
        """Never mind."""
        self.dismiss(None)


class WaitScreen(ModalScreen[None]):
    """What the login waits for, and since when; it is taken away when the host answers."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "give_up", "Cancel", show=False),
    ]
    #: Seconds between two counts; the tests let it stand still.
    EVERY_S: ClassVar[float] = 1.0

    def __init__(self, title: str, said: tuple[str, ...]) -> None:
        super().__init__()
        self._title = title
        self._said = said
        self._began = 0.0

    def compose(self) -> ComposeResult:
        """What is said, and the seconds."""
        with Vertical(classes="dialog", id="prompt") as dialog:
            dialog.border_title = escape_control(self._title)
            dialog.border_subtitle = "esc cancels the login"
            with VerticalScroll(id="prompt-said", can_focus=False):
                yield Static(lines([line(escape_control(text)) for text in self._said]))
            yield Static(id="prompt-seconds")

    def on_mount(self) -> None:
        """Count."""
        self._began = time.monotonic()
        self.set_interval(self.EVERY_S, self._count)

    def _count(self) -> None:
        text = f"{time.monotonic() - self._began:.0f} s"
        self.query_one("#prompt-seconds", Static).update(lines([line(Span(text, "muted"))]))

    def action_give_up(self) -> None:
        """Never mind."""
        self.dismiss(None)


class Asker:
    """See Prompter: asks on the dashboard's screen. ``app`` is set once there is one."""

    def __init__(self) -> None:
        self.app: App[Any] | None = None

    async def ask(self, prompt: Prompt) -> tuple[str, ...] | None:
        """See Prompter.ask."""
        assert self.app is not None
        app, screen = self.app, PromptScreen(prompt)
        got: asyncio.Future[tuple[str, ...] | None] = asyncio.get_running_loop().create_future()

        def answered(answer: tuple[str, ...] | None) -> None:
            if not got.done():
                got.set_result(answer)

        # The call comes from the connection's own tasks, so the app does it in its own time.
        app.call_later(app.push_screen, screen, answered)
        try:
            return await got
        finally:
            if not got.done() or got.cancelled():
                app.call_later(_withdraw, screen)

    def show(self, title: str, lines: tuple[str, ...]) -> None:
        """See Prompter.show: a notification, for half a minute."""
        if self.app is not None:
            text = "\n".join(escape_control(line) for line in lines)
            # The call comes from the connection's own tasks, as in ask.
            self.app.call_later(self._notify, escape_control(title), text)

    async def wait(self, title: str, lines: tuple[str, ...]) -> None:
        """See Prompter.wait: a dialog that Escape leaves."""
        assert self.app is not None
        app, screen = self.app, WaitScreen(title, lines)
        left: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def answered(_: None) -> None:
            if not left.done():
                left.set_result(None)

        app.call_later(app.push_screen, screen, answered)
        try:
            await left
        finally:
            if not left.done() or left.cancelled():
                app.call_later(_withdraw, screen)

    def _notify(self, title: str, text: str) -> None:
        if self.app is not None:
            self.app.notify(text, title=title, timeout=30, markup=False)


def _withdraw(screen: PromptScreen | WaitScreen) -> None:
    """Take a question away that nobody waits for any more."""
    if screen.is_attached and screen.is_current:
        screen.dismiss(None)
