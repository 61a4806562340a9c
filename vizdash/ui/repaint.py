"""Writes only the cells that are to be drawn anew: it counts on a slow link."""

from __future__ import annotations

import re

from rich.console import Console, RenderableType
from rich.control import Control
from textual._compositor import ChopsUpdate
from textual.app import App
from textual.screen import Screen

_RESET = "\x1b[0m"
_COLOURS = re.compile(r"(\x1b\[[\d;]*m)")
_MOVES = re.compile(r"\x1b\[\d+;\d+H")


class Spans(ChopsUpdate):
    """Textual's own update (8.2) writes a line from the left edge of its widget up to the end of
    each span, once for every span of the line; this one begins where the span begins.
    """

    def render_segments(self, console: Console) -> str:
        """For the terminal."""
        found: list[str] = []
        for y, x1, x2 in self.spans:
            for end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                if strip is None or x >= x2 or end <= x1:
                    continue
                first = max(x, x1)
                found.append(Control.move_to(first, y).segment.text)
                found.append(strip.crop(first - x, min(end, x2) - x).render(console))
        return lean("".join(found))


def lean(text: str) -> str:
    """``text`` without the colours that are set again as they were: most of what is written."""
    found: list[str] = []
    active, over = "", False
    for token in _COLOURS.split(text):
        if token == _RESET:
            over = True
        elif _COLOURS.fullmatch(token):
            if over and token == active:
                over = False
                continue
            found += [_RESET, token] if over else [token]
            active, over = token if over or not active else active + token, False
        else:
            if over and _MOVES.sub("", token):
                found.append(_RESET)
                active, over = "", False
            found.append(token)
    return "".join([*found, _RESET] if over else found)


class Sparing(App[str]):
    """A part of the app."""

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        if type(renderable) is ChopsUpdate:
            renderable = Spans(renderable.chops, renderable.spans, renderable.chop_ends)
        super()._display(screen, renderable)
