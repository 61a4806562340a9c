"""docs/faults.md: the table of faults with the times of one run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tests.lab.faults.fault import Measured
from tests.lab.faults.table import render

PAGE = Path(__file__).parents[3] / "docs/faults.md"
_TABLE = re.compile(r"^\| fault \|.*\n(?:\|.*\n)+", re.MULTILINE)


def table(text: str) -> str:
    """The table of a page's text."""
    found = _TABLE.search(text)
    return found[0] if found else ""


def times(text: str) -> list[Measured]:
    """The times that a page shows."""
    cells = [[c.strip() for c in line.strip("| ").split(" | ")] for line in table(text).split("\n")]
    return [
        Measured(row[0], _seconds(row[3]), _seconds(row[4])) for row in cells[2:] if len(row) == 6
    ]


def _seconds(cell: str) -> float | None:
    return float(cell.removesuffix(" s")) if cell.endswith(" s") else None


def update(path: Path, measured: Iterable[Measured]) -> None:
    """Write new times into a page; rows that were not measured keep theirs."""
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(table(text), render([*times(text), *measured])), encoding="utf-8")
