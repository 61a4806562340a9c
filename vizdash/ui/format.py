"""Amounts, times and foreign text as the screen shows them. Pure functions."""

from __future__ import annotations

import re
import unicodedata

from rich.cells import cell_len, split_graphemes

#: Categories whose characters move the cursor, hide or reorder text: controls (Cc), formats such
#: as bidi overrides and zero-width ones (Cf), lone surrogates (Cs), line separators (Zl, Zp).
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_PLAIN = re.compile(r"[ -~]*")
#: More marks than this on one character are drawn over its neighbours ("zalgo").
_MARKS = 3

ELLIPSIS = "…"


def escape_control(text: str) -> str:
    """``text`` with every character that could act on the terminal written as an escape."""
    if _PLAIN.fullmatch(text):
        return text
    shown, marks = [], 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        unsafe = marks > _MARKS or unicodedata.category(char) in _UNSAFE
        shown.append(char.encode("unicode_escape").decode("ascii") if unsafe else char)
    return "".join(shown)


def width(text: str) -> int:
    """Cells that ``text`` takes on a terminal (wide characters take two, marks none)."""
    return len(text) if text.isascii() else cell_len(text)


def ellipsis(text: str, cells: int) -> str:
    """``text`` in at most ``cells`` cells, its end replaced by an ellipsis when it's longer."""
    if width(text) <= cells:
        return text
    if cells < 1:
        return ""
    if text.isascii():
        return text[: cells - 1] + ELLIPSIS
    used, end = 0, 0
    for _start, stop, taken in split_graphemes(text)[0]:
        if used + taken > cells - 1:
            break
        used, end = used + taken, stop
    return text[:end] + ELLIPSIS


def pad(text: str, cells: int, *, right: bool = False) -> str:
    """``text`` in exactly ``cells`` cells; ``right`` puts it at the right edge."""
    text = ellipsis(text, cells)
    blank = " " * (cells - width(text))
    return blank + text if right else text + blank


def gib(mib: int) -> str:
    """Mebibytes as GiB: ``1.5``, ``64``, ``1509``."""
    value = mib / 1024
    text = f"{value:.1f}" if value < 100 else f"{value:.0f}"
    return text.removesuffix(".0")


def memory(mib: int) -> str:
    """Memory with its unit: ``512 MiB``, ``1.5 GiB``."""
    return f"{mib} MiB" if mib < 1024 else f"{gib(mib)} GiB"


def memory_input(mib: int) -> str:
    """Memory as a person types it, exactly: ``4G``, ``1500M``."""
    return f"{mib // 1024}G" if mib and mib % 1024 == 0 else f"{mib}M"


def duration_input(seconds: int) -> str:
    """A length of time as a person types it, exactly: ``2h``, ``1h30m``, ``45s``."""
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{n}{unit}" for n, unit in parts if n) or "0s"


def size(count: int) -> str:
    """Bytes of a file: ``812 MiB``, ``3.4 GiB``; empty when unknown."""
    return memory(max(1, round(count / 2**20))) if count else ""


def countdown(seconds: float) -> str:
    """Time left on a clock's face: ``1d 04:00``, ``3:07:09``, ``7:09``, ``0:42``."""
    whole = max(0, int(seconds))
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    if days:
        return f"{days}d {hours:02}:{minutes:02}"
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def about(seconds: float) -> str:
    """A length of time in its largest unit: ``3 s``, ``12 min``, ``2 h``, ``5 d``."""
    whole = max(0, int(seconds))
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= unit:
            return f"{whole // unit} {name}"
    return f"{whole} s"


def bar(used: float, total: float, cells: int) -> tuple[str, str]:
    """A bar in ``cells`` cells: its full part and its empty part, to half a cell.

    The parts differ in shape, not only in colour. Anything in use shows at least half a cell,
    and only a full bar looks full.
    """
    share = min(1.0, max(0.0, used / total)) if total > 0 else 0.0
    halves = round(share * cells * 2)
    if 0 < share < 1:
        halves = min(max(halves, 1), cells * 2 - 1)
    full, half = divmod(halves, 2)
    filled = "━" * full + "╸" * half
    return filled, "─" * (cells - full - half)


_SPARKS = "▁▂▃▄▅▆▇█"


def spark(shares: list[float], cells: int) -> str:
    """A line of the last ``cells`` shares (0 to 1), oldest first."""
    return "".join(_SPARKS[round(min(1.0, max(0.0, s)) * 7)] for s in shares[-cells:])


def plural(count: int, noun: str) -> str:
    """``1 node``, ``3 nodes``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_NUMBER = re.compile(r"(\d+)")


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts ``node2`` before ``node10``."""
    parts = _NUMBER.split(name)
    return tuple((int(p), "") if p.isdecimal() else (-1, p) for p in parts)


def names(found: tuple[str, ...], most: int = 3) -> str:
    """Names in one line; runs that differ in their last number are folded: ``viz[1-4]``."""
    folded: list[str] = []
    run: list[tuple[str, str]] = []
    for name in sorted(found, key=natural):
        match = re.fullmatch(r"(.*?)([0-9]+)", name)
        part = (match[1], match[2]) if match else (name, "")
        if run and not _follows(run[-1], part):
            folded.append(_folded(run))
            run = []
        run.append(part)
    if run:
        folded.append(_folded(run))
    rest = len(folded) - most
    return ", ".join(folded[:most]) + (f" and {rest} more" if rest > 0 else "")


def _follows(last: tuple[str, str], part: tuple[str, str]) -> bool:
    (stem, number), (stem2, number2) = last, part
    if not number or not number2 or stem != stem2 or len(number) != len(number2):
        return False
    return int(number2) == int(number) + 1


def _folded(run: list[tuple[str, str]]) -> str:
    (stem, first), (_, last) = run[0], run[-1]
    if len(run) == 1:
        return stem + first
    return f"{stem}[{first}-{last}]"
