"""Which key a person means who clicks on it, in a line that names keys and what they do. Pure."""

from __future__ import annotations

import re

from vizdash.ui.format import width

_PARTS = re.compile(r"( · |\s{2,})")
_NAMES = {
    "esc": "escape",
    "/": "slash",
    "?": "question_mark",
    "@": "at",
    "⏎": "enter",
    "↑": "down",
    "↓": "down",
    "←": "right",
    "→": "right",
}
_KEY = re.compile(r"enter|tab|space|f[1-9][0-2]?|(ctrl\+)?[A-Za-z0-9]")


def key_at(text: str, cell: int) -> str:
    """The key, in Textual's notation, of the part of ``text`` that has this cell, such as
    ``esc Back   n N Next`` or ``enter copies · esc closes``; empty where there is none.
    """
    at = 0
    for part in _PARTS.split(text):
        end = at + width(part)
        if at <= cell < end:
            return _key(part.split(" ")[0])
        at = end
    return ""


def _key(word: str) -> str:
    key = _NAMES.get(word, word.replace("^", "ctrl+"))
    return key if word in _NAMES or _KEY.fullmatch(key) else ""
