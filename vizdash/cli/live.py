"""A change to several nodes while it goes on: a block of lines that is redrawn on a terminal,
else one line for each step of each node.
"""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Self

from vizdash import output
from vizdash.images.progress import NodeProgress, Phase, Progress
from vizdash.units import duration_words

#: Seconds between redraws.
_EVERY_S = 0.2
_BAR = 20


class Live:
    """Give ``tell`` to what reports; leaving the context draws the last state."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._terminal = sys.stderr.isatty() and not quiet
        self._rows: dict[str, NodeProgress] = {}
        self._told: dict[str, str] = {}
        self._drawn = 0
        self._drawn_at = 0.0
        self._over: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._terminal:
            self._draw()

    def tell(self, row: NodeProgress) -> None:
        """A node changed."""
        self._rows[row.node] = row
        if self._terminal:
            if time.monotonic() - self._drawn_at > _EVERY_S:
                self._draw()
            return
        words = f"{row.phase}: {row.note}" if row.note else str(row.phase)
        if row.phase is not Phase.WAITING and self._told.get(row.node) != words:
            self._told[row.node] = words
            output.talk(f"{row.node or 'shared'}: {words}")

    def say(self, text: str) -> None:
        """Something beside the nodes' own lines."""
        if self._terminal:
            self._wipe()
        output.talk(text)

    def _wipe(self) -> None:
        if self._drawn:
            # ECMA-48: cursor up to the block's first line, erase below.
            sys.stderr.write(f"\x1b[{self._drawn}F\x1b[0J")
            self._drawn = 0

    def _draw(self) -> None:
        """Nodes that are over stay above as lines of their own; below them those at work."""
        self._wipe()
        width, height = shutil.get_terminal_size()
        for node, row in self._rows.items():
            if row.phase.over and node not in self._over:
                self._over.add(node)
                sys.stderr.write(_cut(f"{node or 'shared'}: {row.phase}: {row.note}", width) + "\n")
        working = [
            r for r in self._rows.values() if not r.phase.over and r.phase is not Phase.WAITING
        ]
        lines = [_cut(row_line(row), width) for row in working[: max(1, height - 4)]]
        if working:
            lines.append(_cut(self._sum(), width))
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        sys.stderr.flush()
        self._drawn, self._drawn_at = len(lines), time.monotonic()

    def _sum(self) -> str:
        rows = self._rows.values()
        progress = Progress(())
        progress.nodes = dict(self._rows)
        over = sum(r.phase.over for r in rows)
        text = f"{over} of {len(self._rows)} nodes"
        if progress.bytes_total:
            text += f" · {mib(progress.bytes_done)} of {mib(progress.bytes_total)} MiB"
        if progress.rate:
            text += f" · {mib(progress.rate)} MiB/s"
        if progress.left_s is not None:
            text += f" · {duration_words(int(progress.left_s))} left"
        return text + " · Ctrl-C breaks off; run again to go on"


def row_line(row: NodeProgress) -> str:
    """One node at work: ``viz-node001  copying  ━━━━━━───  120 of 340 MiB  80 MiB/s  3 s``."""
    text = f"{row.node or 'shared':<16} {row.phase:<10}"
    if row.phase is Phase.COPYING and row.bytes_total:
        full = round(_BAR * row.bytes_done / row.bytes_total)
        text += f" {'━' * full}{'─' * (_BAR - full)}"
        text += f" {mib(row.bytes_done)} of {mib(row.bytes_total)} MiB"
        if row.rate:
            text += f"  {mib(row.rate)} MiB/s"
        if row.left_s is not None:
            text += f"  {duration_words(int(row.left_s))}"
    return f"{text} {row.note}".rstrip()


def mib(count: float) -> str:
    """Bytes in MiB, with a decimal where that says something."""
    value = count / 2**20
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _cut(text: str, width: int) -> str:
    text = output.printable(text)
    while output.cells(text) > width - 1:
        text = text[:-1]
    return text
