"""Lines that name keys: a click on a key presses it."""

from __future__ import annotations

from textual import events
from textual.containers import Vertical
from textual.content import Content

from vizdash.ui.key_bindings import key_at
from vizdash.ui.widgets.diff_text import DiffText
from vizdash.util.text import cell_width

#: Cells of a dialog's lower border to the right of its text.
_CORNER = 3


class KeyLine(DiffText):
    """The line of keys at the bottom of a screen."""

    def on_click(self, event: events.Click) -> None:
        """Press the key under the pointer."""
        offset = event.get_content_offset(self)
        if offset is not None and (key := key_at(str(self.content), offset.x)):
            self.app.simulate_key(key)


class Dialog(Vertical):
    """A dialog with its keys in the lower border."""

    DEFAULT_CLASSES = "dialog"

    def on_click(self, event: events.Click) -> None:
        """Press the key under the pointer."""
        if event.screen_y != self.region.bottom - 1:
            return
        subtitle = Content.from_markup(self.border_subtitle or "").plain
        first = self.region.right - _CORNER - cell_width(subtitle)
        if key := key_at(subtitle, int(event.screen_x) - first):
            # Through the app: an event sent by a widget's parent does not bubble above it.
            self.app.call_later(self.app.simulate_key, key)
