"""Filter, order and marks of a list's rows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

R = TypeVar("R")


def _all(row: Any) -> bool:
    return True


@dataclass(slots=True)
class RowView(Generic[R]):
    """``keep`` selects rows, ``sort`` is their sort key (None: unsorted), ``marks`` are the keys of
    marked rows.
    """

    key: Callable[[R], str]
    keep: Callable[[R], bool] = _all
    sort: Callable[[R], Any] | None = None
    reverse: bool = False
    marks: set[str] = field(default_factory=set)

    @property
    def arrow(self) -> str:
        """The sort direction."""
        return "▼" if self.reverse else "▲"

    def rows(self, rows: Iterable[R]) -> tuple[R, ...]:
        """The selected rows in their order. Sorting is stable."""
        kept = [row for row in rows if self.keep(row)]
        if self.sort is not None:
            kept.sort(key=self.sort, reverse=self.reverse)
        return tuple(kept)

    def forget(self, rows: Sequence[R]) -> None:
        """Remove marks of rows that no longer exist."""
        if self.marks:
            self.marks &= {self.key(row) for row in rows}

    def mark(self, row: R) -> None:
        """Mark or unmark a row."""
        self.marks ^= {self.key(row)}

    def marked(self, rows: Iterable[R]) -> tuple[R, ...]:
        """The marked rows of these."""
        return tuple(row for row in rows if self.key(row) in self.marks)
