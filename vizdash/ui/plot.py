"""Samples over time as columns of eighths of a cell. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def resample(
    points: Sequence[tuple[float, float]], begin: float, end: float, cells: int, hold_s: float = 0
) -> list[float | None]:
    """The mean of the values in each of ``cells`` equal spans of time. A span without any has the
    value before it if that is at most ``hold_s`` seconds old, else None.
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
    found: list[float | None] = []
    held: tuple[float, float] | None = None
    for i, count in enumerate(counts):
        held = last[i] or held
        if count:
            found.append(sums[i] / count)
        else:
            fresh = held is not None and begin + i * width - held[0] <= hold_s
            found.append(held[1] if held is not None and fresh else None)
    return found


def columns(values: Sequence[float | None], most: float, rows: int) -> list[str]:
    """``rows`` lines, the highest first. A value above nothing shows at least an eighth."""
    heights = []
    for value in values:
        share = min(1.0, (value or 0.0) / most) if most > 0 else 0.0
        eighths = round(share * rows * 8)
        heights.append(max(1, eighths) if value else eighths)
    found = []
    for row in reversed(range(rows)):
        cells = []
        for value, height in zip(values, heights, strict=True):
            part = min(8, max(0, height - row * 8))
            empty = value is None and row == 0
            cells.append("·" if empty else _EIGHTHS[part])
        found.append("".join(cells))
    return found


def clock(at: float) -> str:
    """``14:05``, in the person's own time."""
    return time.strftime("%H:%M", time.localtime(at))
