"""Styled text: spans with a tone, lines of spans, and labelled lines for details."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from textual.content import Content

from vizdash.ui.widgets.plot import bar
from vizdash.util.text import escape_control

#: Cells of labels, and of the bars behind them.
LABEL_CELLS = 11
_METER_CELLS = 24


def labelled(name: str, *spans: Span | str) -> Line:
    """A label and its value."""
    return line(Span(name.ljust(LABEL_CELLS), "faint"), *spans)


def labelled_meter(name: str, used: float, total: float, words_: str) -> Line:
    """A label, a bar and its figures."""
    tone: Tone = "warn" if total and used / total >= 0.9 else "busy"
    filled, rest = bar(used, total, _METER_CELLS)
    return labelled(name, Span(filled, tone), Span(rest, "faint"), Span(f"  {words_}"))


#: What a piece of text is, not how it looks: each has a colour in the theme and a component
#: class in the tables. A tone never carries meaning alone.
Tone = Literal["text", "muted", "faint", "strong", "accent", "good", "warn", "bad", "busy"]
TONES: tuple[Tone, ...] = (
    "text",
    "muted",
    "faint",
    "strong",
    "accent",
    "good",
    "warn",
    "bad",
    "busy",
)

#: Symbols, each with its tone, its word and its meaning.
Legend = tuple[tuple[str, Tone, str, str], ...]


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line. ``text`` may come from anywhere: it is escaped before it is shown."""

    text: str
    tone: Tone = "text"
    bold: bool = False


Line = tuple[Span, ...]


def line(*parts: Span | str) -> Line:
    """A line of spans; plain strings get the normal tone."""
    return tuple(Span(part) if isinstance(part, str) else part for part in parts if part)


def content(spans: Iterable[Span]) -> Content:
    """Spans as Textual Content, never parsed as markup."""
    return Content.assemble(*(_styled(span) for span in spans))


def keys_line(keys: Iterable[tuple[str, str]]) -> Content:
    """Keys and what each does, for the bottom line of a screen."""
    pairs = ((Span(key, "accent", bold=True), Span(f" {what}   ", "muted")) for key, what in keys)
    return content(span for pair in pairs for span in pair)


def lines(rows: Iterable[Line]) -> Content:
    """Several lines as Textual Content."""
    return Content("\n").join(content(one) for one in rows)


def _styled(span: Span) -> tuple[str, str]:
    style = f"$tone-{span.tone}" + (" bold" if span.bold else "")
    return escape_control(span.text), style
