"""The themes: colours of each tone and part of the screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from textual.theme import Theme

from vizdash.ui.present.lines import TONES


@dataclass(frozen=True, slots=True)
class _Palette:
    """The colours of one theme; ``tones`` in the order of TONES."""

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

#: By name in the config; the first is the default.
THEMES: Mapping[str, Theme] = {
    name: _theme(f"vizdash-{name}", colours)
    for name, colours in (("dark", _DARK), ("light", _LIGHT), ("contrast", _CONTRAST))
}
