"""The parts of Textual's App that the dashboard changes: order of keys, toasts, repaint, errors."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rich.console import RenderableType
from textual import events
from textual.app import App, ScreenStackError
from textual.screen import ModalScreen, Screen
from textual.widgets import Input
from textual.worker import Worker, WorkerFailed
from typing_extensions import override

from vizdash.ui.terminal.driver import TerminalDriver
from vizdash.ui.terminal.notifications import LatestNotifications
from vizdash.ui.terminal.repaint import SpansUpdate
from vizdash.ui.terminal.textual_private import (
    ChopsUpdate,
    forget_removed_widgets,
    has_pending_message,
    survive_handler_errors,
    terminal_driver,
    use_notifications,
    write_to_terminal,
)
from vizdash.util.error_log import report
from vizdash.util.text import escape_control

survive_handler_errors()
forget_removed_widgets()

_Result = TypeVar("_Result")

#: Seconds for which news are shown; warnings and errors are shown longer.
_NEWS_S, _ERROR_S = 6, 12
#: Errors in handlers without a key in between, after which the next one ends the dashboard.
_MAX_ERRORS = 20
#: How often, at most, a key checks whether the effects of the key before it are done, and the
#: seconds between two checks. Checks are counted, not time: each lets everything that is ready
#: take one more step, so a slow or stalled machine gets no fewer steps than a fast one.
_MAX_CHECKS, _CHECK_S = 500, 0.001


class TerminalApp(App[str]):
    """An app for slow links and long sessions.

    Keys that are typed fast, or that a slow link delivers together, go where they were meant: what
    follows a ``/`` goes into the filter. Textual (8.2) sends each key to the widget that has the
    focus when it arrives, although a key before it may yet move the focus or open a screen.

    An exception in a worker or a message handler becomes a notification and an entry in the error
    log; it does not end the app.
    """

    def __init__(self) -> None:
        super().__init__(driver_class=TerminalDriver)
        self._latest = LatestNotifications()
        use_notifications(self, self._latest)
        self._waiting_keys: deque[events.Key | events.Paste] = deque()
        self._checks = 0
        self._errors = 0
        self._started = False

    def begin_with_theme(self, name: str) -> None:
        """Choose the theme before the app runs. Assigning it would have the whole style sheet
        parsed twice before the first screen (Textual 8.2, App._watch_theme).
        """
        theme = self.get_theme(name)
        assert theme is not None
        if theme.dark != self.current_theme.dark:  # there is more to change
            self.theme = name
            return
        self.set_reactive(App.theme, name)
        self.set_class(True, f"-theme-{name}", update=False)
        self.stylesheet.set_variables(self.get_css_variables())

    # ------------------------------------------------------------------ keys in order

    @override
    async def on_event(self, event: events.Event) -> None:
        typed = isinstance(event, events.Key | events.Paste) and not event.is_forwarded
        if not typed or not (self._waiting_keys or self._is_busy()):
            await self._handle_event(event)
            return
        assert isinstance(event, events.Key | events.Paste)
        self._waiting_keys.append(event)
        if len(self._waiting_keys) == 1:
            self._send_key_later()

    def _send_key_later(self) -> None:
        self._checks = 0
        self.call_later(self._send_key)

    async def _send_key(self) -> None:
        if self._is_busy() and self._checks < _MAX_CHECKS:
            self._checks += 1
            self.call_later(self._send_key)
            await asyncio.sleep(_CHECK_S)
            return
        await self._handle_event(self._waiting_keys.popleft())
        if self._waiting_keys:
            self._send_key_later()

    def _is_busy(self) -> bool:
        """Whether a message waits at the app, the screen, or between it and the focused widget."""
        if not self.screen_stack:
            return False
        screen = self.screen
        path = screen.focused.ancestors_with_self if screen.focused else [screen, self]
        # Textual peeks at the next message, to merge it with later ones, before it handles it.
        return any(pump.message_queue_size or has_pending_message(pump) for pump in path)

    async def _handle_event(self, event: events.Event) -> None:
        """Escape over a list of the dashboard dismisses the notifications, and does only that."""
        if isinstance(event, events.Key):
            self._errors = 0
            if event.key == "escape" and not event.is_forwarded:
                on_list = len(self.screen_stack) == 1 and not isinstance(self.screen.focused, Input)
                if on_list and len(self._latest):
                    self.clear_notifications()
                    return
        await super().on_event(event)

    # ------------------------------------------------------------------ notifications

    def inform(self, text: str) -> None:
        """Show one line of news."""
        self.notify(escape_control(text), timeout=_NEWS_S, markup=False)

    def warn(self, text: str) -> None:
        """Show one line that asks for attention."""
        self.notify(escape_control(text), severity="warning", timeout=_ERROR_S, markup=False)

    def report_error(self, text: str) -> None:
        """Show one line that names an error, its cause and its fix."""
        self.notify(escape_control(text), severity="error", timeout=_ERROR_S, markup=False)

    @override
    def _refresh_notifications(self) -> None:
        try:
            modal = isinstance(self.screen, ModalScreen)
        except ScreenStackError:
            return
        if modal:
            self._latest.held = True
            return
        if self._latest.held:
            self._latest.release()
        super()._refresh_notifications()

    # ------------------------------------------------------------------ errors

    def on_ready(self) -> None:
        """Survive errors from now on: there is a screen to show them on."""
        self._started = True

    @override
    def _handle_exception(self, error: Exception) -> None:
        if isinstance(error, WorkerFailed):
            self._report_unexpected(error.error)
        elif self._started and self.survive(error):
            self.call_later(self._close_empty_screen)
        else:
            super()._handle_exception(error)

    def _close_empty_screen(self) -> None:
        """Close a screen whose parts could not be composed: it has none, and covers the others."""
        if len(self.screen_stack) > 1 and not self.screen.children:
            self.screen.dismiss()

    def survive(self, error: Exception) -> bool:
        """Report a handler's exception, and return True to keep running.

        False after many of them without a key in between: they would never end.
        """
        self._errors += 1
        if self._errors > _MAX_ERRORS:
            return False
        self._report_unexpected(error)
        return True

    def _report_unexpected(self, error: BaseException) -> None:
        self.report_error(report(error, "the dashboard"))

    # ------------------------------------------------------------------ screens and workers

    def show_screen(
        self,
        screen: Screen[_Result],
        on_result: Callable[[_Result | None], None] | None = None,
        *,
        replace: bool = False,
    ) -> None:
        """Show a screen, in place of the one on top with ``replace``."""
        if replace:
            self.switch_screen(screen)
        else:
            self.push_screen(screen, on_result)

    def run_in_background(
        self, work: Awaitable[_Result], *, name: str, group: str, exclusive: bool = False
    ) -> Worker[_Result]:
        """Run work in an async worker."""
        return self.run_worker(work, name=name, group=group, exclusive=exclusive)

    # ------------------------------------------------------------------ the terminal

    def write_to_terminal(self, sequence: str) -> None:
        """Write a control sequence past the screen."""
        write_to_terminal(self, sequence)

    @override
    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        if type(renderable) is ChopsUpdate:
            renderable = SpansUpdate(renderable.chops, renderable.spans, renderable.chop_ends)
        driver = terminal_driver(self)
        if not isinstance(driver, TerminalDriver):
            super()._display(screen, renderable)
        elif not driver.is_behind:
            with driver.frame():
                super()._display(screen, renderable)
