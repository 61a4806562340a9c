"""Keys one after the other: each is worked off before the next is handed on."""

from __future__ import annotations

import asyncio
from collections import deque

from textual import events
from textual.driver import Driver

from vizdash.ui.toasts import Toasts

#: How often, at most, a key looks whether what the one before brought about is done, and the
#: seconds between two looks. Looks are counted, not time: each lets all that is ready take one
#: more step, so a slow or stalled machine gets no fewer steps than a fast one.
_LOOKS, _LOOK_S = 500, 0.001


class InOrder(Toasts):
    """A part of the app. Keys that are typed fast, or that a slow link brings together, go where
    they were meant: what follows a ``/`` into the filter. Textual (8.2) hands each to what has the
    focus when it comes, although one before it may yet move the focus or open a screen.
    """

    def __init__(self, driver_class: type[Driver] | None = None) -> None:
        super().__init__(driver_class)
        self._typed: deque[events.Key | events.Paste] = deque()
        self._looks = 0

    async def on_event(self, event: events.Event) -> None:
        """As Textual does it, but for what is typed before the last is done with."""
        typed = isinstance(event, events.Key | events.Paste) and not event.is_forwarded
        if not typed or not (self._typed or self._busy()):
            await super().on_event(event)
            return
        assert isinstance(event, events.Key | events.Paste)
        self._typed.append(event)
        if len(self._typed) == 1:
            self._hand_on_later()

    def _hand_on_later(self) -> None:
        self._looks = 0
        self.call_later(self._hand_on)

    async def _hand_on(self) -> None:
        if self._busy() and self._looks < _LOOKS:
            self._looks += 1
            self.call_later(self._hand_on)
            await asyncio.sleep(_LOOK_S)
            return
        await super().on_event(self._typed.popleft())
        if self._typed:
            self._hand_on_later()

    def _busy(self) -> bool:
        """Whether a message waits at the app, the screen, or on the way to what has the focus."""
        if not self.screen_stack:
            return False
        screen = self.screen
        path = screen.focused.ancestors_with_self if screen.focused else [screen, self]
        # The pending one is looked at, for what may take its place, before it is its turn.
        return any(p.message_queue_size or p._pending_message for p in path)  # noqa: SLF001
