"""Which rows of a list are shown, in which order, and which are marked. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

R = TypeVar("R")


def _all(row: Any) -> bool:
    return True


@dataclass(slots=True)
class View(Generic[R]):
    """``keep`` says which rows stay, ``sort`` by what they are sorted (None: as they come),
    ``marks`` are keys of rows that the person marked.
    """

    key: Callable[[R], str]
    keep: Callable[[R], bool] = _all
    sort: Callable[[R], Any] | None = None
    reverse: bool = False
    marks: set[str] = field(default_factory=set)

    @property
    def arrow(self) -> str:
        """Which way they are sorted."""
        return "▼" if self.reverse else "▲"

    def rows(self, found: Iterable[R]) -> tuple[R, ...]:
        """Those that are shown, in their order. Sorting is stable."""
        kept = [row for row in found if self.keep(row)]
        if self.sort is not None:
            kept.sort(key=self.sort, reverse=self.reverse)
        return tuple(kept)

    def forget(self, found: Sequence[R]) -> None:
        """Marks of rows that are gone go too."""
        if self.marks:
            self.marks &= {self.key(row) for row in found}

    def mark(self, row: R) -> None:
        """Mark it, or take its mark away."""
        self.marks ^= {self.key(row)}

    def marked(self, found: Iterable[R]) -> tuple[R, ...]:
        """The marked ones of these."""
        return tuple(row for row in found if self.key(row) in self.marks)
