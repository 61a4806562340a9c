"""Columns of a list: what they draw, and how they share the room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from vizdash.ui.format import escape_control, pad
from vizdash.ui.theme import Line

R = TypeVar("R")

#: Cells before the first column, and between columns.
GUTTER = 2
GAP = 2
#: As many cells as there may be: all of a cell's words, and no bar or sign beside them.
WHOLE = 10**4


@dataclass(frozen=True, slots=True)
class Now:
    """The moment being drawn: seconds since the epoch, and how old the rows are in seconds."""

    at: float = 0.0
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Column(Generic[R]):
    """One column. ``cell`` draws a row in a given number of cells; ``least`` and ``most`` bound
    its width, ``measure`` says what a row would like (else ``most``). Columns with a higher
    ``rank`` go first when the room is short; those with ``grows`` share what is left over.
    ``short`` is for one that can draw itself shorter: the cells it does with before any has to go.
    ``ticks`` marks one that depends on the moment, ``sparse`` one that is left out while no row
    has anything for it. ``sort`` is what it sorts by (else it can't be sorted by).
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
        """The cell's words, whole: without the bar that fills its room, and without its sign."""
        drawn = "".join(span.text for span in self.cell(row, now, WHOLE)).strip()
        sign, _, words = drawn.partition(" ")
        signed = len(sign) == 1 and not sign.isascii() and not sign.isalnum()
        return words.strip() if signed and words else drawn


@dataclass(frozen=True, slots=True)
class Placed(Generic[R]):
    """A column where it is drawn."""

    column: Column[R]
    x: int
    width: int

    def changed(self, was: R, before: Now, row: R, now: Now) -> tuple[int, int]:
        """The first cell in which two rows of two moments differ, and the one after the last;
        equal ones for none.
        """
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


def place(columns: Sequence[Column[R]], wishes: Sequence[int], room: int) -> list[Placed[R]]:
    """Choose columns and widths for ``room`` cells. A column is shown whole or not at all, those
    that grow from their least on; only what must be there (rank 0 and 1) may be cut.
    """
    needs = [
        c.least if w and (c.grows or c.measure is None) else w
        for c, w in zip(columns, wishes, strict=True)
    ]
    if _sum(needs, [i for i, need in enumerate(needs) if need]) > room:
        needs = [min(need, c.short or need) for c, need in zip(columns, needs, strict=True)]
    chosen = [i for i, need in enumerate(needs) if need]
    while len(chosen) > 1 and _sum(needs, chosen) > room:
        last = max(chosen, key=lambda i: (columns[i].rank, i))
        if columns[last].rank < 2:
            break
        chosen.remove(last)
    if _sum(needs, chosen) > room:
        needs = [min(need, c.least) for c, need in zip(columns, needs, strict=True)]
        while len(chosen) > 1 and _sum(needs, chosen) > room:
            chosen.remove(max(chosen, key=lambda i: (columns[i].rank, i)))
    widths = _widths(columns, wishes, {i: needs[i] for i in chosen}, room)
    placed, x = [], GUTTER
    for i in chosen:
        placed.append(Placed(columns[i], x, widths[i]))
        x += widths[i] + GAP
    return placed


def _widths(
    columns: Sequence[Column[R]], wishes: Sequence[int], widths: dict[int, int], room: int
) -> dict[int, int]:
    """Give what is left over: first what each wishes, then to those that grow."""
    left = max(0, room - _sum([*widths.values()], range(len(widths))))
    ranked = sorted(widths, key=lambda i: (columns[i].rank, i))
    open_ = [i for i in ranked if columns[i].measure is None]
    for i in ranked:
        # Those that take what they can get, as bars do, get the same.
        while left and (
            short := [k for k in (open_ if i in open_ else [i]) if widths[k] < wishes[k]]
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
