"""The notifications on the screen: at most two, no text twice, and held back under a dialog."""

from __future__ import annotations

import time
from typing import Self

from textual.notifications import Notification, Notifications
from typing_extensions import override

from vizdash.ui.terminal.textual_private import held_notifications

#: Notifications that are shown at once.
_MAX_SHOWN = 2


class LatestNotifications(Notifications):
    """The latest notifications; an error replaces older news first. While ``held`` none expires."""

    held = False

    @override
    def add(self, notification: Notification) -> Self:
        for other in list(self):
            if other.message == notification.message:
                del self[other]
        super().add(notification)
        while len(self) > _MAX_SHOWN:
            older = list(self)[:-1]
            del self[next((n for n in older if n.severity != "error"), older[0])]
        return self

    def release(self) -> None:
        """Show the notifications that were held, each for its whole time."""
        self.held = False
        for notification in held_notifications(self):
            notification.raised_at = time.time()

    @override
    def _reap(self) -> Self:
        return self if self.held else super()._reap()
