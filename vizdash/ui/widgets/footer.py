"""The keys that work on the row under the cursor, now."""

from __future__ import annotations

from collections.abc import Iterable

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from vizdash.actions import Action, ActionRegistry, Context
from vizdash.ui.format import width
from vizdash.ui.theme import Span, content

#: Shown on the panes' own titles instead.
_ELSEWHERE = ("focus_",)
#: Dropped first where the line is too short.
_LESSER = ("refresh",)
_LABELS = {"question_mark": "?", "enter": "⏎", "colon": ":", "escape": "esc"}
_PALETTE = ("command_palette", "^p", "Palette")


def key_label(key: str) -> str:
    """A key in Textual's notation as it's printed on the screen."""
    return _LABELS.get(key, key.replace("ctrl+", "^"))


class Footer(Widget):
    """One line of keys; a click on one is the key."""

    class Pressed(Message):
        """The action whose key was clicked."""

        def __init__(self, action_id: str) -> None:
            self.action_id = action_id
            super().__init__()

    def __init__(self, registry: ActionRegistry) -> None:
        super().__init__()
        self._registry = registry
        self._shown_for = Context()

    def show(self, context: Context) -> None:
        """What can be done here."""
        if context != self._shown_for:
            self._shown_for = context
            self.refresh()

    def keys(self) -> list[tuple[str, str, str]]:
        """Action, key and title of each that is shown, as many as there's room for."""
        enabled = [a for a in self._registry if _footed(a) and not a.reason(self._shown_for)]
        found = [(a.id, key_label(a.keys[0]), a.title) for a in enabled]
        found.append(_PALETTE)
        for lesser in (*_LESSER, _PALETTE[0]):
            if _cells(found) > self.size.width:
                found = [one for one in found if one[0] != lesser]
        return found

    def render(self) -> Content:
        """``n New session  o Open  …``."""
        spans: list[Span] = []
        for _, key, title in self.keys():
            spans += [Span(key, "accent", bold=True), Span(f" {title}   ", "muted")]
        return content(spans)

    def on_click(self, event: events.Click) -> None:
        """Find the key under the pointer."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        end = 0
        for action_id, key, title in self.keys():
            end += width(key) + width(title) + 4
            if offset.x < end - 2:
                self.post_message(self.Pressed(action_id))
                return


def _footed(action: Action) -> bool:
    return bool(action.keys) and not action.id.startswith(_ELSEWHERE)


def _cells(found: Iterable[tuple[str, str, str]]) -> int:
    return sum(width(key) + width(title) + 4 for _, key, title in found) - 3
