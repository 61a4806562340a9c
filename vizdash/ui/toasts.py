"""Toasts: at most two, the same text once, none over a dialog, and Escape takes them away."""

from __future__ import annotations

import time
from typing import Self

from textual import events
from textual.app import ScreenStackError
from textual.driver import Driver
from textual.notifications import Notification, Notifications
from textual.screen import ModalScreen
from textual.widgets import Input
from textual.worker import WorkerFailed

from vizdash.errorlog import report
from vizdash.ui import dispatch
from vizdash.ui.format import escape_control
from vizdash.ui.repaint import Sparing

dispatch.install()

#: Toasts that are shown at once.
_MOST = 2
#: Seconds for which an unexpected error is shown.
_ERROR_S = 12
#: Errors in handlers without a key in between, after which the next one ends the dashboard.
_UNASKED = 20


class Latest(Notifications):
    """The last ``_MOST``; errors stay longer than other news. While ``held`` none grows old."""

    held = False

    def add(self, notification: Notification) -> Self:
        """The newest; one of the same text is not kept beside it."""
        for other in list(self):
            if other.message == notification.message:
                del self[other]
        super().add(notification)
        while len(self) > _MOST:
            older = list(self)[:-1]
            del self[next((n for n in older if n.severity != "error"), older[0])]
        return self

    def release(self) -> None:
        """They are shown from now on."""
        self.held = False
        for notification in self._notifications.values():
            notification.raised_at = time.time()

    def _reap(self) -> Self:
        return self if self.held else super()._reap()


class Toasts(Sparing):
    """A part of the app. An exception in a worker or a message handler becomes a toast, too, and
    an entry in the log of errors: it ends no dashboard.
    """

    def __init__(self, driver_class: type[Driver] | None = None) -> None:
        super().__init__(driver_class)
        self._latest = Latest()
        self._notifications = self._latest
        self._unasked = 0

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

    async def on_event(self, event: events.Event) -> None:
        """Escape over a list of the dashboard takes the toasts away, and only them."""
        if isinstance(event, events.Key):
            self._unasked = 0
        if isinstance(event, events.Key) and event.key == "escape" and not event.is_forwarded:
            listed = len(self.screen_stack) == 1 and not isinstance(self.screen.focused, Input)
            if listed and len(self._latest):
                self.clear_notifications()
                return
        await super().on_event(event)

    def _handle_exception(self, error: Exception) -> None:
        if not isinstance(error, WorkerFailed):
            super()._handle_exception(error)
            return
        self._tell_error(error.error)

    def survive(self, error: Exception) -> bool:
        """See dispatch.install. Not where errors come by themselves, again and again."""
        self._unasked += 1
        if self._unasked > _UNASKED:
            return False
        self._tell_error(error)
        return True

    def _tell_error(self, error: BaseException) -> None:
        text = escape_control(report(error, "the dashboard"))
        self.notify(text, severity="error", timeout=_ERROR_S, markup=False)
