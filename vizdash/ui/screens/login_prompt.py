"""The prompts of a login: passwords, codes, and unknown host keys."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input, Static

from vizdash.model.connection_status import Prompt
from vizdash.ui.dialog_screen import DialogScreen
from vizdash.ui.present.lines import Span, line, lines
from vizdash.ui.screens.confirm import Answer
from vizdash.util.text import escape_control


class LoginPromptScreen(DialogScreen[tuple[str, ...] | None]):
    """Returns the text of each field; () for yes; None for no or cancelled. It has no timeout."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", show=False),
    ]

    def __init__(self, prompt: Prompt) -> None:
        super().__init__()
        self._prompt = prompt

    def compose(self) -> ComposeResult:
        """The host's text, then fields or answers."""
        prompt = self._prompt
        with Vertical(classes="dialog", id="prompt") as dialog:
            dialog.border_title = escape_control(prompt.title)
            if prompt.lines:
                with VerticalScroll(id="prompt-text", can_focus=False):
                    yield Static(lines([line(escape_control(text)) for text in prompt.lines]))
            for field in prompt.fields:
                yield Static(lines([line(Span(escape_control(field.label), "muted"))]))
                yield Input(password=not field.shown)
            if prompt.fields:
                hint = line(Span("Enter submits, Escape cancels.", "muted"))
                yield Static(lines([hint]))
            else:
                dialog.border_subtitle = "tab switches · enter answers · esc no"
                with Horizontal(classes="answers"):
                    yield Answer("No", id="no")
                    yield Answer(escape_control(prompt.yes.capitalize() or "Yes"), id="yes")

    def on_mount(self) -> None:
        """Focus the first field, or no."""
        self.query(Input if self._prompt.fields else Answer).first().focus()

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        """Focus the next field, or return the texts."""
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
        """Cancel the login."""
        self.dismiss(None)


class LoginWaitScreen(DialogScreen[None]):
    """What the login waits for, and for how long; closed when the host answers."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "give_up", "Cancel", show=False),
    ]
    #: Seconds between updates; tests set it.
    EVERY_S: ClassVar[float] = 1.0

    def __init__(self, title: str, texts: tuple[str, ...]) -> None:
        super().__init__()
        self._title = title
        self._texts = texts
        self._began = 0.0

    def compose(self) -> ComposeResult:
        """The text and the seconds."""
        with Vertical(classes="dialog", id="prompt") as dialog:
            dialog.border_title = escape_control(self._title)
            dialog.border_subtitle = "esc cancels the login"
            with VerticalScroll(id="prompt-text", can_focus=False):
                yield Static(lines([line(escape_control(text)) for text in self._texts]))
            yield Static(id="prompt-seconds")

    def on_mount(self) -> None:
        """Count the seconds."""
        self._began = time.monotonic()
        self.set_interval(self.EVERY_S, self._count)

    def _count(self) -> None:
        text = f"{time.monotonic() - self._began:.0f} s"
        self.query_one("#prompt-seconds", Static).update(lines([line(Span(text, "muted"))]))

    def action_give_up(self) -> None:
        """Cancel the login."""
        self.dismiss(None)


class LoginPrompter:
    """A Prompter that asks in dialogs over the dashboard. ``app`` is set once it runs."""

    def __init__(self) -> None:
        self.app: App[Any] | None = None

    async def ask(self, prompt: Prompt) -> tuple[str, ...] | None:
        """Ask in a dialog. Returns the texts, () for yes, None for no."""
        assert self.app is not None
        app, screen = self.app, LoginPromptScreen(prompt)
        got: asyncio.Future[tuple[str, ...] | None] = asyncio.get_running_loop().create_future()

        def answered(answer: tuple[str, ...] | None) -> None:
            if not got.done():
                got.set_result(answer)

        # The caller is a task of the connection, so the app does this in its own task.
        app.call_later(app.push_screen, screen, answered)
        try:
            return await got
        finally:
            if not got.done() or got.cancelled():
                app.call_later(_withdraw, screen)

    def show(self, title: str, lines: tuple[str, ...]) -> None:
        """Show the lines in a notification for half a minute."""
        if self.app is not None:
            text = "\n".join(escape_control(line) for line in lines)
            # The call comes from the connection's own tasks, as in ask.
            self.app.call_later(self._notify, escape_control(title), text)

    async def wait(self, title: str, lines: tuple[str, ...]) -> None:
        """Show the lines in a dialog until cancelled, or until Escape closes it."""
        assert self.app is not None
        app, screen = self.app, LoginWaitScreen(title, lines)
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


def _withdraw(screen: LoginPromptScreen | LoginWaitScreen) -> None:
    """Close a prompt whose answer is no longer needed."""
    if screen.is_attached and screen.is_current:
        screen.dismiss(None)
