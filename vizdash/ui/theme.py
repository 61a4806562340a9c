"""The one theme, and the tones in which everything is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from textual.content import Content
from textual.theme import Theme

from vizdash.ui.format import escape_control

#: What a piece of text is, not how it looks: each has a colour in the theme and a component
#: class in the tables. A tone never says anything that the words beside it do not.
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

THEME = Theme(
    name="vizdash",
    dark=True,
    primary="#6cb6ff",
    secondary="#b8a4ff",
    accent="#5eead4",
    foreground="#d6deeb",
    background="#0c1118",
    surface="#121924",
    panel="#1b2533",
    success="#7ee2a0",
    warning="#f5c069",
    error="#ff8b8b",
    variables={
        "tone-text": "#d6deeb",
        "tone-muted": "#93a1b5",
        "tone-faint": "#5b6a80",
        "tone-strong": "#ffffff",
        "tone-accent": "#5eead4",
        "tone-good": "#7ee2a0",
        "tone-warn": "#f5c069",
        "tone-bad": "#ff8b8b",
        "tone-busy": "#6cb6ff",
        "line": "#2a3749",
        "line-focus": "#5eead4",
        "row-cursor": "#22324a",
        "row-rest": "#161f2c",
        "footer-key-foreground": "#5eead4",
        "input-cursor-background": "#5eead4",
        "input-selection-background": "#5eead4 25%",
        "block-cursor-background": "#22324a",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-text-style": "bold",
        "scrollbar": "#2a3749",
        "scrollbar-hover": "#3a4a60",
        "scrollbar-active": "#5eead4",
        "scrollbar-background": "#0c1118",
        "scrollbar-background-hover": "#0c1118",
        "scrollbar-background-active": "#0c1118",
        "scrollbar-corner-color": "#0c1118",
    },
)


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line. ``text`` may be anybody's: it is escaped before it is shown."""

    text: str
    tone: Tone = "text"
    bold: bool = False


Line = tuple[Span, ...]


def line(*parts: Span | str) -> Line:
    """A line of spans; bare strings are in the usual tone."""
    return tuple(Span(part) if isinstance(part, str) else part for part in parts if part)


def content(spans: Iterable[Span]) -> Content:
    """Spans for a widget that draws Content. Never read as markup."""
    return Content.assemble(*(_styled(span) for span in spans))


def lines(found: Iterable[Line]) -> Content:
    """Several lines for a widget that draws Content."""
    return Content("\n").join(content(one) for one in found)


def _styled(span: Span) -> tuple[str, str]:
    style = f"$tone-{span.tone}" + (" bold" if span.bold else "")
    return escape_control(span.text), style
