"""Slurm's ways of writing numbers, times, memory and GRES, read leniently.

What can't be read becomes None, 0 or nothing: a dashboard shows the rest of the row.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import lru_cache

from vizdash.model import Gres

#: Texts whose values are remembered: thousands of jobs ask for the same few things.
_KEPT = 4096

#: What Slurm prints for "nothing here".
_EMPTY = frozenset({"", "(null)", "N/A", "None", "NONE", "none", "n/a", "(none)"})

#: No honest number has more digits; Python refuses to read one of over 4,300.
_DIGITS = "[0-9]{1,18}"
_MEMORY = re.compile(rf"({_DIGITS}(?:\.[0-9]{{1,18}})?)([KMGTPE]?)B?([cn]?)\Z", re.IGNORECASE)
_IN_MIB = {"k": 1 / 1024, "": 1.0, "m": 1.0, "g": 1024.0, "t": 1024.0**2, "p": 1024.0**3}
_TIME = re.compile(rf"(?:({_DIGITS})-)?({_DIGITS})(?::({_DIGITS}))?(?::({_DIGITS}))?\Z")
_COUNT = re.compile(rf"({_DIGITS})([KMGT]?)\Z")
_WHOLE = re.compile(_DIGITS)
_IN_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def text(value: str) -> str:
    """``value``, or empty when it is one of Slurm's words for nothing."""
    return "" if value in _EMPTY else value


@lru_cache(maxsize=_KEPT)
def number(value: str) -> int:
    """A whole number, or 0."""
    return int(value) if _WHOLE.fullmatch(value) else 0


@lru_cache(maxsize=_KEPT)
def real(value: str) -> float | None:
    """A number, or None (CPULoad is ``N/A`` until a node has reported)."""
    try:
        parsed = float(value)
    except ValueError:
        return None
    return parsed if math.isfinite(parsed) else None


@lru_cache(maxsize=_KEPT)
def names(value: str) -> tuple[str, ...]:
    """A comma-separated list; commas inside parentheses or brackets don't separate."""
    return tuple(part for part in _parts(text(value)) if part)


def _parts(value: str) -> Iterator[str]:
    depth = start = 0
    for at, char in enumerate(value):
        if char in "([":
            depth += 1
        elif char in ")]":
            depth -= 1
        elif char == "," and depth <= 0:
            yield value[start:at]
            start = at + 1
    yield value[start:]


@lru_cache(maxsize=_KEPT)
def seconds(value: str) -> int | None:
    """A span of time, ``D-HH:MM:SS`` and its shorter forms, in seconds; None for no limit.

    Slurm's tools print one number as minutes only on input, so a bare number doesn't occur
    in output; ``M:SS`` does. ``INVALID`` (time left of a job past its limit) is 0.
    """
    if value == "INVALID":
        return 0
    match = _TIME.match(value)
    if match is None:
        return None
    days, *parts = match.groups()
    given = [int(part) for part in parts if part is not None]
    # With days the first part is hours, else the last part is seconds (a bare number: minutes).
    if days is not None or len(given) == 3:
        given += [0] * (3 - len(given))
    elif len(given) == 2:
        given.insert(0, 0)
    else:
        given = [0, given[0], 0]
    hours, minutes, secs = given
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + secs


def epoch(value: str) -> int | None:
    """Seconds since the epoch (``SLURM_TIME_FORMAT=%s``), or None; 0 means unset."""
    return number(value) or None


@lru_cache(maxsize=_KEPT)
def mebibytes(value: str, cores: int = 1) -> int:
    """Memory in MiB, from ``2G``, ``2048M``, ``512Mc`` (per CPU: times ``cores``), ``4Gn``.

    A number without unit is MiB. 0 for what can't be read and for none asked.
    """
    match = _MEMORY.match(value)
    if match is None:
        return 0
    amount, unit, per = match.groups()
    factor = _IN_MIB.get(unit.lower())
    if factor is None:
        return 0
    total = float(amount) * factor * (cores if per.lower() == "c" else 1)
    return int(total + 0.5) if total >= 1 or total == 0 else 1


def limit(value: str) -> int | None:
    """A whole-number limit, None when there is none."""
    return int(value) if _WHOLE.fullmatch(value) else None


@lru_cache(maxsize=_KEPT)
def gres(value: str) -> tuple[tuple[str, str, int], ...]:
    """A GRES list as (name, type, count).

    Seen: ``gpu:4``, ``gpu:a100:2(S:0-1)``, ``gpu:(null):4``, ``gpu:a100:1(IDX:0)``, ``gpu``,
    ``gres:gpu:1`` and ``gres/gpu:1`` (squeue's %b), ``lustre:no_consume:4G``, ``gres/gpu=2``.
    """
    entries = []
    for part in names(value):
        bare = re.sub(r"\((?!null\))[^()]*\)", "", part).replace("=", ":")
        bare = re.sub(r"^gres[:/]", "", bare)
        name, *rest = bare.split(":")
        rest = [word for word in rest if word != "no_consume"]
        count = 1
        if rest and (match := _COUNT.match(rest[-1])):
            count = int(match[1]) * _IN_UNITS[match[2]]
            rest.pop()
        kind = text(rest[0]) if rest else ""
        if name:
            entries.append((name, kind, count))
    return tuple(entries)


@lru_cache(maxsize=_KEPT)
def node_gres(total: str, used: str) -> tuple[Gres, ...]:
    """A node's GRES with what is in use of each. Slurm may know the type only of those in use
    (``shard:80``, ``shard:a100:40(0/80)``).
    """
    whole: dict[tuple[str, str], int] = {}
    for name, kind, count in gres(total):
        whole[name, kind] = whole.get((name, kind), 0) + count
    in_use: dict[tuple[str, str], int] = {}
    for name, kind, count in gres(used):
        key = (name, kind if (name, kind) in whole else "")
        in_use[key] = in_use.get(key, 0) + count
    return tuple(Gres(n, t, c, in_use.get((n, t), 0)) for (n, t), c in whole.items())


def count_ids(ids: str) -> int:
    """How many ids ``0-2,5`` are."""
    total = 0
    for part in ids.split(","):
        first, _, last = part.partition("-")
        total += number(last or first) - number(first) + 1
    return total


_RESTRICTED = re.compile(r"([0-9]+)\(([0-9,-]+)\)")


def restricted_cores(value: str) -> tuple[int, int]:
    """A node's RestrictedCoresPerGPU, ``2(0-1,8-9)``: cores for each GPU, and how many in all."""
    match = _RESTRICTED.fullmatch(value)
    return (number(match[1]), count_ids(match[2])) if match else (0, 0)
