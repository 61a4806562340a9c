"""Columns of a list: what they draw, and how they share the width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from vizdash.ui.present.lines import Line
from vizdash.util.text import escape_control, pad

R = TypeVar("R")

#: Cells before the first column, and between columns.
GUTTER = 2
GAP = 2
#: Unlimited width: the whole text of a cell, without bar and symbol.
WHOLE = 10**4


@dataclass(frozen=True, slots=True)
class Now:
    """The moment being drawn: seconds since the epoch, and how old the rows are in seconds."""

    at: float = 0.0
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Column(Generic[R]):
    """One column. ``cell`` draws a row in a given number of cells; ``least`` and ``most`` bound its
    width, ``measure`` gives a row's preferred width (else ``most``). Columns with a higher ``rank``
    are dropped first; those with ``grows`` share what is left over. ``short`` is the width of a
    column that can be drawn shorter before any is dropped. ``ticks`` marks a column that depends on
    the time, ``sparse`` one that is left out while all its cells are empty. ``sort`` is its sort
    key (None: not sortable).
    """

    title: str
    cell: Callable[[R, Now, int], Line]
    least: int
    most: int
    rank: int = 0
    grows: int = 0
    short: int = 0
    right: bool = False
    ticks: bool = False
    sparse: bool = False
    measure: Callable[[R], int] | None = None
    sort: Callable[[R], Any] | None = None

    def text(self, row: R, now: Now) -> str:
        """The whole text of a cell, without bar and symbol."""
        drawn = "".join(span.text for span in self.cell(row, now, WHOLE)).strip()
        sign, _, words = drawn.partition(" ")
        signed = len(sign) == 1 and not sign.isascii() and not sign.isalnum()
        return words.strip() if signed and words else drawn


@dataclass(frozen=True, slots=True)
class PlacedColumn(Generic[R]):
    """A column with its position and width."""

    column: Column[R]
    x: int
    width: int

    def changed(self, was: R, before: Now, row: R, now: Now) -> tuple[int, int]:
        """The range of cells in which two rows at two times differ; empty for none."""
        old, new = self.column.cell(was, before, self.width), self.column.cell(row, now, self.width)
        if old == new:
            return 0, 0
        if not len(old) == len(new) == 1 or replace(old[0], text="") != replace(new[0], text=""):
            return 0, self.width
        texts = [self._fitted(span.text) for span in (*old, *new)]
        if any(len(text) != self.width for text in texts):
            return 0, self.width  # a character may be two cells wide
        differ = [i for i, (one, other) in enumerate(zip(*texts, strict=True)) if one != other]
        return (differ[0], differ[-1] + 1) if differ else (0, 0)

    def _fitted(self, text: str) -> str:
        return pad(escape_control(text), self.width, right=self.column.right)


def place_columns(
    columns: Sequence[Column[R]], preferred: Sequence[int], width: int
) -> list[PlacedColumn[R]]:
    """Choose columns and widths for ``width`` cells. A column is shown whole or not at all, a
    growing one from its least width; only columns of rank 0 and 1 may be cut.
    """
    needs = [
        c.least if w and (c.grows or c.measure is None) else w
        for c, w in zip(columns, preferred, strict=True)
    ]
    if _sum(needs, [i for i, need in enumerate(needs) if need]) > width:
        needs = [min(need, c.short or need) for c, need in zip(columns, needs, strict=True)]
    chosen = [i for i, need in enumerate(needs) if need]
    while len(chosen) > 1 and _sum(needs, chosen) > width:
        last = max(chosen, key=lambda i: (columns[i].rank, i))
        if columns[last].rank < 2:
            break
        chosen.remove(last)
    if _sum(needs, chosen) > width:
        needs = [min(need, c.least) for c, need in zip(columns, needs, strict=True)]
        while len(chosen) > 1 and _sum(needs, chosen) > width:
            chosen.remove(max(chosen, key=lambda i: (columns[i].rank, i)))
    widths = _widths(columns, preferred, {i: needs[i] for i in chosen}, width)
    placed, x = [], GUTTER
    for i in chosen:
        placed.append(PlacedColumn(columns[i], x, widths[i]))
        x += widths[i] + GAP
    return placed


def _widths(
    columns: Sequence[Column[R]], preferred: Sequence[int], widths: dict[int, int], width: int
) -> dict[int, int]:
    """Distribute what is left over: first up to the preferred widths, then to growing columns."""
    left = max(0, width - _sum([*widths.values()], range(len(widths))))
    ranked = sorted(widths, key=lambda i: (columns[i].rank, i))
    open_ = [i for i in ranked if columns[i].measure is None]
    for i in ranked:
        # Columns without a preferred width, such as bars, share equally.
        while left and (
            short := [k for k in (open_ if i in open_ else [i]) if widths[k] < preferred[k]]
        ):
            for k in short[:left]:
                widths[k] += 1
                left -= 1
    growing = [i for i in widths if columns[i].grows]
    shares = sum(columns[i].grows for i in growing)
    for n, i in enumerate(growing):
        more = left if n == len(growing) - 1 else left * columns[i].grows // shares
        widths[i] += more
        left -= more
        shares -= columns[i].grows
    return widths


def _sum(needs: Sequence[int], chosen: Sequence[int]) -> int:
    return sum(needs[i] for i in chosen) + GAP * max(0, len(chosen) - 1)
