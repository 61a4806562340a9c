"""The themes, and the tones in which everything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


@dataclass(frozen=True, slots=True)
class _Palette:
    """The colours of one theme. ``tones`` are in the order of TONES."""

    tones: tuple[str, ...]
    background: str
    surface: str
    panel: str
    line: str
    cursor: str
    rest: str
    dark: bool = True


def _theme(name: str, colours: _Palette) -> Theme:
    tones = dict(zip(TONES, colours.tones, strict=True))
    return Theme(
        name=name,
        dark=colours.dark,
        primary=tones["busy"],
        secondary=tones["muted"],
        accent=tones["accent"],
        foreground=tones["text"],
        background=colours.background,
        surface=colours.surface,
        panel=colours.panel,
        success=tones["good"],
        warning=tones["warn"],
        error=tones["bad"],
        variables={
            **{f"tone-{tone}": colour for tone, colour in tones.items()},
            "line": colours.line,
            "line-focus": tones["accent"],
            "row-cursor": colours.cursor,
            "row-rest": colours.rest,
            "footer-key-foreground": tones["accent"],
            "input-cursor-background": tones["accent"],
            "input-cursor-foreground": colours.background,
            "input-selection-background": f"{tones['accent']} 25%",
            "block-cursor-background": colours.cursor,
            "block-cursor-foreground": tones["strong"],
            "block-cursor-text-style": "bold",
            "scrollbar": colours.line,
            "scrollbar-hover": tones["faint"],
            "scrollbar-active": tones["accent"],
            "scrollbar-background": colours.background,
            "scrollbar-background-hover": colours.background,
            "scrollbar-background-active": colours.background,
            "scrollbar-corner-color": colours.background,
        },
    )


# Tones: text, muted, faint, strong, accent, good, warn, bad, busy.
_DARK = _Palette(
    (
        "#d6deeb",
        "#93a1b5",
        "#6f7f97",
        "#ffffff",
        "#5eead4",
        "#7ee2a0",
        "#f5c069",
        "#ff8b8b",
        "#6cb6ff",
    ),
    background="#0c1118",
    surface="#121924",
    panel="#1b2533",
    line="#2a3749",
    cursor="#22324a",
    rest="#161f2c",
)
_LIGHT = _Palette(
    (
        "#24303f",
        "#4d5d70",
        "#6b7a8c",
        "#000000",
        "#006b5e",
        "#176b34",
        "#8a5300",
        "#b3261e",
        "#0b5cad",
    ),
    background="#fbfcfe",
    surface="#eef2f7",
    panel="#e1e8f0",
    line="#b9c5d3",
    cursor="#cfe3fa",
    rest="#eaf0f7",
    dark=False,
)
_CONTRAST = _Palette(
    (
        "#ffffff",
        "#ffffff",
        "#d0d0d0",
        "#ffffff",
        "#00ffff",
        "#00ff5f",
        "#ffff00",
        "#ff8787",
        "#87d7ff",
    ),
    background="#000000",
    surface="#000000",
    panel="#262626",
    line="#c0c0c0",
    cursor="#0000af",
    rest="#262626",
)

#: By the name that the config knows; the first is the usual one.
THEMES: Mapping[str, Theme] = {
    name: _theme(f"vizdash-{name}", colours)
    for name, colours in (("dark", _DARK), ("light", _LIGHT), ("contrast", _CONTRAST))
}


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


def keys_line(keys: Iterable[tuple[str, str]]) -> Content:
    """Keys and what each does, for the line at the bottom of a screen."""
    pairs = ((Span(key, "accent", bold=True), Span(f" {what}   ", "muted")) for key, what in keys)
    return content(span for pair in pairs for span in pair)


def lines(found: Iterable[Line]) -> Content:
    """Several lines for a widget that draws Content."""
    return Content("\n").join(content(one) for one in found)


def _styled(span: Span) -> tuple[str, str]:
    style = f"$tone-{span.tone}" + (" bold" if span.bold else "")
    return escape_control(span.text), style
