"""Shows a change to several nodes: live progress, the outcome as a table, and as JSON."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Any, Self

from vizdash.cli import output
from vizdash.images.progress import ChangeProgress, NodeProgress, Phase
from vizdash.util.text import cell_width, escape_control
from vizdash.util.units import format_duration, format_rate, format_size, format_size_gib

#: Seconds between redraws.
_REDRAW_S = 0.2
_BAR_CELLS = 20


class ProgressDisplay:
    """Shows the progress of nodes on stderr; the last state remains when the context ends."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._terminal = sys.stderr.isatty() and not quiet
        self._rows: dict[str, NodeProgress] = {}
        self._printed: dict[str, str] = {}
        self._drawn = 0
        self._drawn_at = 0.0
        self._finished: set[str] = set()

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

    def show_node(self, row: NodeProgress) -> None:
        """Show a node that changed."""
        self._rows[row.node] = row
        if self._terminal:
            if time.monotonic() - self._drawn_at > _REDRAW_S:
                self._draw()
            return
        words = f"{row.phase}: {row.note}" if row.note else str(row.phase)
        if row.phase is not Phase.WAITING and self._printed.get(row.node) != words:
            self._printed[row.node] = words
            output.print_message(f"{row.node or 'shared'}: {words}")

    def print_line(self, text: str) -> None:
        """Print a line above the nodes."""
        if self._terminal:
            self._erase()
        output.print_message(text)

    def _erase(self) -> None:
        if self._drawn:
            # ECMA-48: cursor up to the block's first line, erase below.
            sys.stderr.write(f"\x1b[{self._drawn}F\x1b[0J")
            self._drawn = 0

    def _draw(self) -> None:
        """Redraw: finished nodes remain above as lines, active ones are shown below."""
        self._erase()
        width, height = shutil.get_terminal_size()
        for node, row in self._rows.items():
            if row.phase.over and node not in self._finished:
                self._finished.add(node)
                sys.stderr.write(_cut(f"{node or 'shared'}: {row.phase}: {row.note}", width) + "\n")
        working = [
            r for r in self._rows.values() if not r.phase.over and r.phase is not Phase.WAITING
        ]
        lines = [_cut(row_line(row), width) for row in working[: max(1, height - 4)]]
        if working:
            lines.append(_cut(self._summary(), width))
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        sys.stderr.flush()
        self._drawn, self._drawn_at = len(lines), time.monotonic()

    def _summary(self) -> str:
        rows = self._rows.values()
        progress = ChangeProgress(())
        progress.nodes = dict(self._rows)
        finished = sum(r.phase.over for r in rows)
        text = f"{finished} of {len(self._rows)} nodes"
        if progress.bytes_total:
            text += (
                f" · {format_size_gib(progress.bytes_done)} of {format_size(progress.bytes_total)}"
            )
        if progress.rate:
            text += f" · {format_rate(progress.rate)}"
        if progress.left_s is not None:
            text += f" · {format_duration(int(progress.left_s))} left"
        return text + " · Ctrl-C interrupts; run again to continue"


def row_line(row: NodeProgress) -> str:
    """Return the line of one active node: ``viz-node001 copying ━━─── 1.2 of 3.4 GiB 80 MiB/s``."""
    text = f"{row.node or 'shared':<16} {row.phase:<10}"
    if row.phase is Phase.COPYING and row.bytes_total:
        full = round(_BAR_CELLS * row.bytes_done / row.bytes_total)
        text += f" {'━' * full}{'─' * (_BAR_CELLS - full)}"
        text += f" {format_size_gib(row.bytes_done)} of {format_size(row.bytes_total)}"
        if row.rate:
            text += f"  {format_rate(row.rate)}"
        if row.left_s is not None:
            text += f"  {format_duration(int(row.left_s))}"
    return f"{text} {row.note}".rstrip()


def _cut(text: str, width: int) -> str:
    text = escape_control(text)
    while cell_width(text) > width - 1:
        text = text[:-1]
    return text


def outcomes(progress: ChangeProgress) -> list[dict[str, Any]]:
    """Return one JSON object for each node."""
    return [
        {
            "node": row.node,
            "outcome": str(row.phase),
            "bytes_sent": row.bytes_sent,
            "bytes_total": row.bytes_total if row.copied else 0,
            "copied": row.copied,
            "switched": row.switched,
            "note": row.note,
        }
        for row in progress.nodes.values()
    ]


def outcome_table(progress: ChangeProgress) -> str:
    """Return the table of outcomes, a line for each node."""
    rows = [
        (row.node or "shared", str(row.phase), format_size_gib(row.bytes_sent), row.note)
        for row in progress.nodes.values()
    ]
    return output.table(("NODE", "OUTCOME", "SENT GIB", "NOTE"), rows)
