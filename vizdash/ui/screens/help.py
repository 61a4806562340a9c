"""Every key and what it does, from the registry, the focused pane's first; and the signs."""

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
from vizdash.ui.format import width
from vizdash.ui.theme import Line, Span, line, lines
from vizdash.ui.widgets.clicked import Dialog
from vizdash.ui.words import LEGEND

_MOVING = (
    ("↑ ↓  j k", "one row up or down"),
    ("PgUp PgDn", "one page"),
    ("Home End", "the first or the last row"),
    ("Tab", "the next pane"),
    ("^p  :", "the palette: find an action by its name"),
    ("mouse", "click rows, titles, keys, header; twice opens a session"),
)
_PANES = {"session": "Sessions", "node": "Nodes", "image": "Images"}
_KEYS = 10
#: Cells of a line in the dialog at most, and of its border, padding and scrollbar.
_CELLS, _FRAME = 72, 8


def help_lines(registry: ActionRegistry, context: Context) -> list[Line]:
    """The whole help, for the pane that has the focus."""
    here = [a for a in registry if a.on == context.pane != "any"]
    everywhere = [a for a in registry if a.on == "any"]
    found: list[Line] = []
    if here:
        found += [line(Span(_PANES[context.pane], "accent", bold=True)), *_rows(here, context), ()]
    found += [line(Span("Everywhere", "accent", bold=True)), *_rows(everywhere, context)]
    found += [row(keys, Span(what, "muted")) for keys, what in _MOVING]
    for pane, name in _PANES.items():
        others = [a for a in registry if a.on == pane and a.on != context.pane]
        if others:
            title = line(Span(f"{name}, when they have the focus", "accent", bold=True))
            found += [(), title, *_rows(others, context)]
    return [*found, (), *_signs()]


def own_help(name: str, registry: ActionRegistry, context: Context) -> list[Line]:
    """That of a screen which has its own actions."""
    title = line(Span(name, "accent", bold=True))
    mouse = row("mouse", Span("click a key in the line at the bottom", "muted"))
    return [title, *_rows(registry, context), mouse, (), *_signs()]


def _signs() -> Iterable[Line]:
    yield line(Span("Signs", "accent", bold=True))
    yield line(Span("! key".ljust(13), "warn"), Span("it asks before it does it", "muted"))
    for glyph, tone, word, what in LEGEND:
        yield line(Span(f"{glyph} {word}".ljust(13), tone), Span(what, "muted"))


def row(keys: str, *spans: Span, sign: str = " ") -> Line:
    """Keys, and what they do."""
    first = Span(sign, "warn", bold=True)
    return line(first, Span(keys.ljust(_KEYS) + " ", "accent", bold=True), *spans)


def _rows(actions: Iterable[Action], context: Context) -> Iterable[Line]:
    for action in actions:
        keys = " ".join(key_label(key) for key in action.keys) or "–"
        yield row(keys, Span(action.help), sign="!" if action.dangerous else " ")
        if action.on in {context.pane, "any"} and (reason := action.reason(context)):
            yield row("", Span(f"not now: {reason}", "warn"))


def hung(rows: Iterable[Line], cells: int) -> Iterable[Line]:
    """Rows whose last text is too long for ``cells`` go on below where that text began."""
    for row in rows:
        *first, last = row or (Span(""),)
        at = sum(width(span.text) for span in first)
        for n, text in enumerate(textwrap.wrap(last.text, max(20, cells - at)) or [""]):
            part = replace(last, text=text)
            yield line(*first, part) if n == 0 else line(Span(" " * at), part)


class HelpScreen(ModalScreen[None]):
    """Closed by the key that opened it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "Close", show=False),
        Binding("j", "scroll('down')", "Down", show=False),
        Binding("k", "scroll('up')", "Up", show=False),
    ]

    def __init__(self, shown: Iterable[Line]) -> None:
        super().__init__()
        self._lines = tuple(shown)

    def compose(self) -> ComposeResult:
        """One text that scrolls where it's too long."""
        with Dialog() as dialog:
            dialog.border_title = "Keys"
            dialog.border_subtitle = "↑ ↓ scroll · esc closes"
            with VerticalScroll(id="help-scroll"):
                yield Static(id="help-text")

    def on_resize(self, event: events.Resize) -> None:
        """Lines as long as there's room for. (While vizdash ends, the text may have gone.)"""
        cells = min(_CELLS, event.size.width - _FRAME)
        for text in self.query("#help-text").results(Static):
            text.update(lines(hung(self._lines, cells)))

    def action_scroll(self, way: str) -> None:
        """Like the arrows."""
        scroll = self.query_one("#help-scroll", VerticalScroll)
        if way == "down":
            scroll.scroll_down(animate=False)
        else:
            scroll.scroll_up(animate=False)
