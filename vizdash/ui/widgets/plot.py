"""Bars, sparklines and plots drawn with characters. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence


def bar(used: float, total: float, cells: int) -> tuple[str, str]:
    """A bar in ``cells`` cells: its filled and its empty part, to half a cell. They differ in
    shape, not only in colour. Anything above 0 shows at least half a cell, and only a full bar
    looks full.
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
    """A sparkline of the last ``cells`` shares (0 to 1), oldest first."""
    return "".join(_SPARKS[round(min(1.0, max(0.0, s)) * 7)] for s in shares[-cells:])


_EIGHTHS = " ▁▂▃▄▅▆▇█"


def resample(
    points: Sequence[tuple[float, float]], begin: float, end: float, cells: int, hold_s: float = 0
) -> list[float | None]:
    """The mean of the values in each of ``cells`` equal spans of time. A span without values
    repeats the one before if that is at most ``hold_s`` seconds old, else it is None.
    """
    sums, counts = [0.0] * cells, [0] * cells
    last: list[tuple[float, float] | None] = [None] * cells
    width = max(1e-9, end - begin) / cells
    for at, value in points:
        if begin <= at <= end:
            i = min(cells - 1, int((at - begin) / width))
            sums[i] += value
            counts[i] += 1
            last[i] = (at, value)
    resampled: list[float | None] = []
    held: tuple[float, float] | None = None
    for i, count in enumerate(counts):
        held = last[i] or held
        if count:
            resampled.append(sums[i] / count)
        else:
            fresh = held is not None and begin + i * width - held[0] <= hold_s
            resampled.append(held[1] if held is not None and fresh else None)
    return resampled


def column_rows(values: Sequence[float | None], most: float, rows: int) -> list[str]:
    """The plot as ``rows`` lines, the highest first. A value above 0 shows at least an eighth."""
    heights = []
    for value in values:
        share = min(1.0, (value or 0.0) / most) if most > 0 else 0.0
        eighths = round(share * rows * 8)
        heights.append(max(1, eighths) if value else eighths)
    texts = []
    for row in reversed(range(rows)):
        cells = []
        for value, height in zip(values, heights, strict=True):
            part = min(8, max(0, height - row * 8))
            empty = value is None and row == 0
            cells.append("·" if empty else _EIGHTHS[part])
        texts.append("".join(cells))
    return texts


def clock_time(at: float) -> str:
    """Local time: ``14:05``."""
    return time.strftime("%H:%M", time.localtime(at))
