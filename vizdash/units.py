"""Amounts as people and Slurm write them (sbatch(1), --mem and --time)."""

from __future__ import annotations

import re
import time

_MEMORY = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_MIB = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024 * 1024}
_N = "([0-9]{1,12})"
_UNITS = re.compile(rf"(?:{_N}d)?(?:{_N}h)?(?:{_N}m)?(?:{_N}s)?", re.IGNORECASE)
_CLOCK = re.compile(rf"(?:{_N}-)?{_N}(?::{_N})?(?::{_N})?")


def parse_memory(text: str) -> int:
    """Memory in MiB from ``2G``, ``512M``, ``1.5GiB`` or a bare number of MiB.

    Raises ValueError with a sentence for people.
    """
    match = _MEMORY.fullmatch(text.strip())
    mib = round(float(match[1]) * _MIB[match[2].upper()]) if match else 0
    if mib < 1:
        raise ValueError(f"{text!r} is no amount of memory (write e.g. 4G or 512M)")
    return mib


def parse_duration(text: str) -> int:
    """Seconds from ``2h``, ``1h30m``, ``90m``, or Slurm's forms: minutes, ``MM:SS``,
    ``HH:MM:SS``, ``D-HH``, ``D-HH:MM``, ``D-HH:MM:SS``.

    Raises ValueError with a sentence for people.
    """
    text = text.strip()
    seconds = 0
    if text and (units := _UNITS.fullmatch(text)):
        d, h, m, s = (int(part or 0) for part in units.groups())
        seconds = ((d * 24 + h) * 60 + m) * 60 + s
    elif clock := _CLOCK.fullmatch(text):
        seconds = _slurm_time(clock)
    if seconds < 1:
        raise ValueError(f"{text!r} is no length of time (write e.g. 2h, 90m or 1-12:00:00)")
    return seconds


def _slurm_time(clock: re.Match[str]) -> int:
    days, first, second, third = clock.groups()
    if days is not None:
        h, m, s = int(first), int(second or 0), int(third or 0)
        return ((int(days) * 24 + h) * 60 + m) * 60 + s
    if third is not None:
        return (int(first) * 60 + int(second)) * 60 + int(third)
    return int(first) * 60 + int(second or 0)


def slurm_time(seconds: int) -> str:
    """``D-HH:MM:SS`` for sbatch's --time, rounded up to whole minutes as Slurm does."""
    minutes = -(-seconds // 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}-{hours:02}:{minutes:02}:00"


def duration_words(seconds: int) -> str:
    """``2 h``, ``1 h 30 min``, ``45 s``: for sentences."""
    if seconds < 60:
        return f"{seconds} s"
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    parts = [(days, "d"), (hours, "h"), (rest // 60, "min")]
    return " ".join(f"{n} {unit}" for n, unit in parts if n)


def clock_words(at: float, now: float) -> str:
    """``14:20``, or ``Sat 16 Jan, 14:20`` when that isn't today (both in epoch seconds)."""
    then, today = time.localtime(at), time.localtime(now)
    return time.strftime("%H:%M" if then[:3] == today[:3] else "%a %d %b, %H:%M", then)
