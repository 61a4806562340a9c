"""Help: every key and its action, those of the focused pane first, and the symbols."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from vizdash.actions import Action, ActionRegistry, Context, key_label
from vizdash.ui.present.lines import Legend, Line, Span, line, lines
from vizdash.ui.present.nodes import NODE_LEGEND
from vizdash.ui.present.sessions import SESSION_LEGEND
from vizdash.ui.widgets.clickable_keys import Dialog
from vizdash.util.text import cell_width

_MOVING = (
    ("↑ ↓  j k", "one row up or down"),
    ("PgUp PgDn", "one page"),
    ("Home End", "the first or the last row"),
    ("Tab", "the next pane"),
    ("^p  :", "the command palette: find an action by name"),
    ("F1", "help, also in a text field"),
    ("mouse", "click rows, titles, keys, the header; double-click opens a session"),
)
_PANES = {"session": "Sessions", "node": "Nodes", "image": "Images"}
_KEYS = 10
#: The longest line in cells, and the cells of border, padding and scrollbar.
_CELLS, _FRAME = 72, 8


def help_lines(registry: ActionRegistry, context: Context) -> list[Line]:
    """The help of the dashboard, for the focused pane."""
    here = [a for a in registry if a.on == context.pane != "any"]
    everywhere = [a for a in registry if a.on == "any"]
    rows: list[Line] = []
    if here:
        rows += [line(Span(_PANES[context.pane], "accent", bold=True)), *_rows(here, context), ()]
    rows += [line(Span("General", "accent", bold=True)), *_rows(everywhere, context)]
    rows += [key_row(keys, Span(what, "muted")) for keys, what in _MOVING]
    for pane, name in _PANES.items():
        others = [a for a in registry if a.on == pane and a.on != context.pane]
        if others:
            title = line(Span(f"{name} pane", "accent", bold=True))
            rows += [(), title, *_rows(others, context)]
    rows.append(key_row("!", Span("asks for confirmation first", "muted")))
    sessions = legend_lines("Symbols of sessions", SESSION_LEGEND)
    nodes = legend_lines("Symbols of nodes", NODE_LEGEND)
    both = (nodes, sessions) if context.pane == "node" else (sessions, nodes)
    return [*rows, (), *both[0], (), *both[1]]


def screen_help_lines(
    name: str, registry: ActionRegistry, context: Context, legend: Legend
) -> list[Line]:
    """The help of a screen with its own actions, and the legend of what it shows."""
    title = line(Span(name, "accent", bold=True))
    mouse = key_row("mouse", Span("click a key in the line at the bottom", "muted"))
    asks = key_row("!", Span("asks for confirmation first", "muted"))
    return [title, *_rows(registry, context), mouse, asks, (), *legend_lines("Symbols", legend)]


def legend_lines(title: str, legend: Legend) -> list[Line]:
    """Each symbol with its word and its meaning."""
    cells = max(len(word) for _, _, word, _ in legend) + 4
    return [
        line(Span(title, "accent", bold=True)),
        *(
            line(Span(f"{glyph} {word}".ljust(cells), tone), Span(what, "muted"))
            for glyph, tone, word, what in legend
        ),
    ]


def key_row(keys: str, *spans: Span, sign: str = " ") -> Line:
    """Keys, and what they do."""
    first = Span(sign, "warn", bold=True)
    return line(first, Span(keys.ljust(_KEYS) + " ", "accent", bold=True), *spans)


def _rows(actions: Iterable[Action], context: Context) -> Iterable[Line]:
    for action in actions:
        keys = " ".join(key_label(key) for key in action.keys) or "–"
        yield key_row(keys, Span(action.help), sign="!" if action.dangerous else " ")
        if action.on in {context.pane, "any"} and (reason := action.reason(context)):
            yield key_row("", Span(f"unavailable: {reason}", "warn"))


def wrap_rows(rows: Iterable[Line], cells: int) -> Iterable[Line]:
    """Wrap the last text of each row to ``cells``, indented below where it began."""
    for key_row in rows:
        *first, last = key_row or (Span(""),)
        at = sum(cell_width(span.text) for span in first)
        for n, text in enumerate(textwrap.wrap(last.text, max(20, cells - at)) or [""]):
            part = replace(last, text=text)
            yield line(*first, part) if n == 0 else line(Span(" " * at), part)


class HelpScreen(ModalScreen[None]):
    """Closed by the key that opened it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,f1,q,enter", "dismiss", "Close", show=False),
        Binding("j", "scroll('down')", "Down", show=False),
        Binding("k", "scroll('up')", "Up", show=False),
    ]

    def __init__(self, shown: Iterable[Line]) -> None:
        super().__init__()
        self._lines = tuple(shown)

    def compose(self) -> ComposeResult:
        """One text that scrolls."""
        with Dialog() as dialog:
            dialog.border_title = "Keys"
            dialog.border_subtitle = "↑ ↓ scroll · esc closes"
            with VerticalScroll(id="help-scroll"):
                yield Static(id="help-text")

    def on_resize(self, event: events.Resize) -> None:
        """Wrap to the width. (While vizdash exits, the text may be gone.)"""
        cells = min(_CELLS, event.size.width - _FRAME)
        for text in self.query("#help-text").results(Static):
            text.update(lines(wrap_rows(self._lines, cells)))

    def action_scroll(self, way: str) -> None:
        """Scroll up or down."""
        scroll = self.query_one("#help-scroll", VerticalScroll)
        if way == "down":
            scroll.scroll_down(animate=False)
        else:
            scroll.scroll_up(animate=False)
