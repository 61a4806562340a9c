"""Memory, times and sizes: parsed, for display, and for Slurm (sbatch(1), --mem and --time)."""

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

    Raises ValueError with a message for the user.
    """
    match = _MEMORY.fullmatch(text.strip())
    mib = round(float(match[1]) * _MIB[match[2].upper()]) if match else 0
    if mib < 1:
        raise ValueError(f"{text!r} is not an amount of memory (write e.g. 4G or 512M)")
    return mib


def parse_duration(text: str) -> int:
    """Seconds from ``2h``, ``1h30m``, ``90m``, or Slurm's forms: minutes, ``MM:SS``,
    ``HH:MM:SS``, ``D-HH``, ``D-HH:MM``, ``D-HH:MM:SS``.

    Raises ValueError with a message for the user.
    """
    text = text.strip()
    seconds = 0
    if text and (units := _UNITS.fullmatch(text)):
        d, h, m, s = (int(part or 0) for part in units.groups())
        seconds = ((d * 24 + h) * 60 + m) * 60 + s
    elif clock := _CLOCK.fullmatch(text):
        seconds = _slurm_time(clock)
    if seconds < 1:
        raise ValueError(f"{text!r} is not a length of time (write e.g. 2h, 90m or 1-12:00:00)")
    return seconds


def _slurm_time(clock: re.Match[str]) -> int:
    days, first, second, third = clock.groups()
    if days is not None:
        h, m, s = int(first), int(second or 0), int(third or 0)
        return ((int(days) * 24 + h) * 60 + m) * 60 + s
    if third is not None:
        return (int(first) * 60 + int(second)) * 60 + int(third)
    return int(first) * 60 + int(second or 0)


def format_slurm_time(seconds: int) -> str:
    """``D-HH:MM:SS`` for sbatch's --time, rounded up to whole minutes as Slurm does."""
    minutes = -(-seconds // 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}-{hours:02}:{minutes:02}:00"


def format_duration(seconds: int) -> str:
    """``2 h``, ``1 h 30 min``, ``45 s``: for sentences."""
    if seconds < 60:
        return f"{seconds} s"
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    parts = [(days, "d"), (hours, "h"), (rest // 60, "min")]
    return " ".join(f"{n} {unit}" for n, unit in parts if n)


def format_clock(at: float, now: float) -> str:
    """``14:20``, or ``Sat 16 Jan, 14:20`` when that isn't today (both in epoch seconds)."""
    then, today = time.localtime(at), time.localtime(now)
    return time.strftime("%H:%M" if then[:3] == today[:3] else "%a %d %b, %H:%M", then)


def format_gib(mib: float) -> str:
    """Mebibytes as GiB with one decimal: ``1.5``, ``64.0``; without it from 100: ``1509``."""
    value = round(mib / 1024, 1)
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def format_gib_short(mib: float) -> str:
    """``format_gib`` without a decimal that is 0, for small cells: ``1.5``, ``64``."""
    return format_gib(mib).removesuffix(".0")


def format_memory(mib: float) -> str:
    """Memory with its unit: ``0.5 GiB``, ``64.0 GiB``, ``<0.1 GiB``."""
    text = format_gib(mib)
    return "<0.1 GiB" if text == "0.0" and mib > 0 else f"{text} GiB"


def format_comparison(mib: int, other_mib: int) -> tuple[str, str]:
    """Two different amounts of memory with their unit; exactly where they would look alike."""
    texts = format_memory(mib), format_memory(other_mib)
    return (f"{mib} MiB", f"{other_mib} MiB") if len(set(texts)) == 1 else texts


def memory_input(mib: int) -> str:
    """Memory as a person types it, exactly: ``4G``, ``1500M``."""
    return f"{mib // 1024}G" if mib and mib % 1024 == 0 else f"{mib}M"


def duration_input(seconds: int) -> str:
    """A length of time as a person types it, exactly: ``2h``, ``1h30m``, ``45s``."""
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{n}{unit}" for n, unit in parts if n) or "0s"


def format_size(count: float) -> str:
    """Bytes of a file: ``0.8 GiB``, ``<0.1 GiB``; empty when unknown."""
    return f"{format_size_gib(count)} GiB" if count else ""


def format_size_gib(count: float) -> str:
    """Bytes as GiB without the unit, for the column of a table: ``0.8``, ``<0.1``, ``0.0``."""
    return format_memory(count / 2**20).removesuffix(" GiB")


def format_rate(per_s: float) -> str:
    """Bytes in a second: ``80 MiB/s``, with a decimal below 10."""
    value = per_s / 2**20
    return f"{value:.1f} MiB/s" if value < 10 else f"{value:.0f} MiB/s"


def format_countdown(seconds: float) -> str:
    """Time left on a clock's face: ``1d 04:00``, ``3:07:09``, ``7:09``, ``0:42``."""
    whole = max(0, int(seconds))
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    if days:
        return f"{days}d {hours:02}:{minutes:02}"
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def format_rough_duration(seconds: float) -> str:
    """A length of time in its largest unit: ``3 s``, ``12 min``, ``2 h``, ``5 d``."""
    whole = max(0, int(seconds))
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= unit:
            return f"{whole // unit} {name}"
    return f"{whole} s"
