"""The keys that work on the row under the cursor, now."""

from __future__ import annotations

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from vizdash.actions import Action, ActionRegistry, Context, key_label
from vizdash.ui.format import escape_control, width
from vizdash.ui.theme import Span, content

#: Textual's own palette, with its rank among the actions.
_PALETTE = ("command_palette", "^p", "Palette")
_PALETTE_RANK = 4
#: Cells between two keys.
_GAP = 2


class Footer(Widget):
    """One line of keys; a click on one is the key. ``palette`` is whether it has that too."""

    class Pressed(Message):
        """The action whose key was clicked."""

        def __init__(self, action_id: str) -> None:
            self.action_id = action_id
            super().__init__()

    def __init__(self, registry: ActionRegistry, *, palette: bool = True) -> None:
        super().__init__()
        self._registry = registry
        self._palette = palette
        self._shown_for = Context()

    def use(self, registry: ActionRegistry) -> None:
        """Other keys."""
        self._registry = registry
        self.refresh()

    def show(self, context: Context) -> None:
        """What can be done here."""
        if context != self._shown_for:
            before, self._shown_for = self.shown(), context
            if before != self.shown():
                self.refresh()

    def shown(self) -> list[tuple[str, str, str]]:
        """Action, key and title of each that is shown, as many as there's room for."""
        ranked = [(a.footer, _entry(a)) for a in self._registry if self._works(a)]
        if self._palette:
            ranked.append((_PALETTE_RANK, _PALETTE))
        while sum(cells(entry) for _, entry in ranked) - _GAP > self.size.width and ranked:
            least = max(range(len(ranked)), key=lambda i: (ranked[i][0], i))
            del ranked[least]
        return [entry for _, entry in ranked]

    def _works(self, action: Action) -> bool:
        context = self._shown_for
        elsewhere = action.on == "image" and context.pane != "image"
        shown = bool(action.footer and action.keys) and not elsewhere
        return shown and not action.reason(context)

    def render(self) -> Content:
        """``n New session  o Open  …``."""
        spans: list[Span] = []
        for _, key, title in self.shown():
            spans += [Span(key, "accent", bold=True), Span(f" {title}" + " " * _GAP, "muted")]
        return content(spans)

    def on_click(self, event: events.Click) -> None:
        """Find the key under the pointer."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        end = 0
        for entry in self.shown():
            end += cells(entry)
            if offset.x < end - _GAP:
                self.post_message(self.Pressed(entry[0]))
                return


def refused(widget: Widget, action: Action, reason: str) -> bool:
    """Tell why it can't be done now; whether there was a reason."""
    if reason:
        said = f"{action.title}: {escape_control(reason)}"
        widget.notify(said, severity="warning", markup=False)
    return bool(reason)


def _entry(action: Action) -> tuple[str, str, str]:
    return action.id, key_label(action.keys[0]), action.title


def cells(entry: tuple[str, str, str]) -> int:
    """Cells that a key, its title and the gap after it take."""
    _, key, title = entry
    return width(key) + 1 + width(title) + _GAP
