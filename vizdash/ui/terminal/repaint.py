"""Partial updates of the screen that write only the changed cells, for slow links."""

from __future__ import annotations

import re

from rich.console import Console
from rich.control import Control

from vizdash.ui.terminal.textual_private import ChopsUpdate

_RESET = "\x1b[0m"
_COLOURS = re.compile(r"(\x1b\[[\d;]*m)")
_MOVES = re.compile(r"\x1b\[\d+;\d+H")


class SpansUpdate(ChopsUpdate):
    """An update that starts writing where a changed span starts.

    Textual (8.2) writes a line from the left edge of its widget to the end of each span, once for
    every span of the line.
    """

    def render_segments(self, console: Console) -> str:
        """Render the changed spans as control sequences and text."""
        parts: list[str] = []
        for y, x1, x2 in self.spans:
            for end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                if strip is None or x >= x2 or end <= x1:
                    continue
                first = max(x, x1)
                parts.append(Control.move_to(first, y).segment.text)
                parts.append(strip.crop(first - x, min(end, x2) - x).render(console))
        return drop_repeated_colours("".join(parts))


def drop_repeated_colours(text: str) -> str:
    """``text`` without colour sequences that repeat the active colour: most of what is written."""
    parts: list[str] = []
    active, ended = "", False
    for token in _COLOURS.split(text):
        if token == _RESET:
            ended = True
        elif _COLOURS.fullmatch(token):
            if ended and token == active:
                ended = False
                continue
            parts += [_RESET, token] if ended else [token]
            active, ended = token if ended or not active else active + token, False
        else:
            if ended and _MOVES.sub("", token):
                parts.append(_RESET)
                active, ended = "", False
            parts.append(token)
    return "".join([*parts, _RESET] if ended else parts)
