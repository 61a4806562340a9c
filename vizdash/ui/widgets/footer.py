"""The footer: keys of the actions that are enabled for the row under the cursor."""

from __future__ import annotations

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from vizdash.actions import Action, ActionRegistry, Context, key_label
from vizdash.ui.present.lines import Span, content
from vizdash.util.text import cell_width, escape_control

#: Textual's command palette, and its rank among the actions.
_PALETTE = ("command_palette", "^p", "Palette")
_PALETTE_RANK = 4
#: Cells between two keys.
_GAP = 2


class Footer(Widget):
    """One line of keys; a click on one presses it. ``palette`` adds the command palette."""

    class Pressed(Message):
        """The key of an action was clicked."""

        def __init__(self, action_id: str) -> None:
            self.action_id = action_id
            super().__init__()

    def __init__(self, registry: ActionRegistry, *, palette: bool = True) -> None:
        super().__init__()
        self._registry = registry
        self._palette = palette
        self._shown_for = Context()

    def use(self, registry: ActionRegistry) -> None:
        """Use another registry."""
        self._registry = registry
        self.refresh()

    def show(self, context: Context) -> None:
        """Show the actions that are enabled in this context."""
        if context != self._shown_for:
            before, self._shown_for = self.shown(), context
            if before != self.shown():
                self.refresh()

    def shown(self) -> list[tuple[str, str, str]]:
        """Action id, key and title of each entry that fits."""
        ranked = [(a.footer, _entry(a)) for a in self._registry if self._works(a)]
        if self._palette:
            ranked.append((_PALETTE_RANK, _PALETTE))
        while sum(entry_cells(entry) for _, entry in ranked) - _GAP > self.size.width and ranked:
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
        """Press the key under the pointer."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        end = 0
        for entry in self.shown():
            end += entry_cells(entry)
            if offset.x < end - _GAP:
                self.post_message(self.Pressed(entry[0]))
                return


def warn_if_disabled(widget: Widget, action: Action, reason: str) -> bool:
    """Show why the action is disabled; returns whether it is."""
    if reason:
        message = f"{action.title}: {escape_control(reason)}"
        widget.notify(message, severity="warning", markup=False)
    return bool(reason)


def _entry(action: Action) -> tuple[str, str, str]:
    return action.id, key_label(action.keys[0]), action.title


def entry_cells(entry: tuple[str, str, str]) -> int:
    """Cells that a key, its title and the gap after it take."""
    _, key, title = entry
    return cell_width(key) + 1 + cell_width(title) + _GAP
