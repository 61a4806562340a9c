"""Text for a terminal: escaping of what acts on it, width in cells, shortening, lists of names."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

#: Categories whose characters move the cursor, hide or reorder text: controls (Cc), formats such
#: as bidi overrides and zero-width ones (Cf), lone surrogates (Cs), line separators (Zl, Zp).
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_PLAIN = re.compile(r"[ -~]*")
#: More marks than this on one character are drawn over its neighbours ("zalgo").
_MARKS = 3

ELLIPSIS = "…"


def is_unsafe(char: str) -> bool:
    """Whether a character can move the cursor, hide text or reorder it."""
    return unicodedata.category(char) in _UNSAFE


def escape_control(text: str) -> str:
    """``text`` with every character that could act on the terminal written as an escape."""
    if _PLAIN.fullmatch(text):
        return text
    shown, marks = [], 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        unsafe = marks > _MARKS or is_unsafe(char)
        shown.append(char.encode("unicode_escape").decode("ascii") if unsafe else char)
    return "".join(shown)


def cell_width(text: str) -> int:
    """Cells that ``text`` takes on a terminal (wide characters take two, marks none)."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # only where it is needed: most verbs print ASCII alone

    return cell_len(text)


def shown_width(text: str) -> int:
    """Cells that ``text`` takes once it is escaped."""
    return len(text) if _PLAIN.fullmatch(text) else _escaped_width(text)


@lru_cache(maxsize=1024)
def _escaped_width(text: str) -> int:
    # Of thousands of rows many have the same text, such as the state of a node.
    return cell_width(escape_control(text))


def truncate(text: str, cells: int) -> str:
    """``text`` in at most ``cells`` cells; a longer one ends with an ellipsis."""
    if cell_width(text) <= cells:
        return text
    if cells < 1:
        return ""
    if text.isascii():
        return text[: cells - 1] + ELLIPSIS
    from rich.cells import split_graphemes

    used, end = 0, 0
    for _start, stop, taken in split_graphemes(text)[0]:
        if used + taken > cells - 1:
            break
        used, end = used + taken, stop
    return text[:end] + ELLIPSIS


def pad(text: str, cells: int, *, right: bool = False) -> str:
    """``text`` in exactly ``cells`` cells; ``right`` puts it at the right edge."""
    text = truncate(text, cells)
    blank = " " * (cells - cell_width(text))
    return blank + text if right else text + blank


def plural(count: int, noun: str) -> str:
    """``1 node``, ``3 nodes``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_NUMBER = re.compile(r"(\d+)")


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts ``node2`` before ``node10``."""
    parts = _NUMBER.split(name)
    return tuple((int(p), "") if p.isdecimal() else (-1, p) for p in parts)
