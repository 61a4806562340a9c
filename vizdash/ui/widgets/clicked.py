"""Lines that name keys, where a click on a key is the key."""

from __future__ import annotations

from textual import events
from textual.containers import Vertical
from textual.content import Content

from vizdash.ui.format import width
from vizdash.ui.keyline import key_at
from vizdash.ui.widgets.rows import Rows

#: Cells of a dialog's lower border to the right of its words.
_CORNER = 3


class Keys(Rows):
    """The line of keys of a screen."""

    def on_click(self, event: events.Click) -> None:
        """Press the key under the pointer."""
        offset = event.get_content_offset(self)
        if offset is not None and (key := key_at(str(self.content), offset.x)):
            self.app.simulate_key(key)


class Dialog(Vertical):
    """A box over the screen; the keys stand in its lower border."""

    DEFAULT_CLASSES = "dialog"

    def on_click(self, event: events.Click) -> None:
        """Press the key under the pointer."""
        if event.screen_y != self.region.bottom - 1:
            return
        said = Content.from_markup(self.border_subtitle or "").plain
        first = self.region.right - _CORNER - width(said)
        if key := key_at(said, int(event.screen_x) - first):
            # By the app: an event that a widget's parent sends does not rise above that parent.
            self.app.call_later(self.app.simulate_key, key)
