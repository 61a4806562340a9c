"""The progress of a change to images: each node's step, bytes, rate and time left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Static

from vizdash.images.progress import ChangeProgress, NodeProgress, Phase
from vizdash.ui.present.lines import Line, Span, Tone, content, keys_line
from vizdash.ui.widgets.clickable_keys import KeyLine
from vizdash.ui.widgets.columns import Column, Now
from vizdash.ui.widgets.diff_text import DiffText
from vizdash.ui.widgets.plot import bar
from vizdash.ui.widgets.table import Table
from vizdash.util.text import cell_width, escape_control, plural
from vizdash.util.units import format_countdown, format_rate, format_size

_EVERY_S = 0.25
_PHASES: dict[Phase, tuple[str, Tone]] = {
    Phase.WAITING: ("○", "muted"),
    Phase.DONE: ("✓", "good"),
    Phase.FAILED: ("✗", "bad"),
    Phase.CANCELLED: ("–", "warn"),
    Phase.SKIPPED: ("–", "muted"),
}


@dataclass(slots=True)
class RunningChange:
    """A change that was started: its title, its progress, and how to cancel it. ``over`` is whether
    it has ended.
    """

    title: str
    progress: ChangeProgress
    cancel: Callable[[], None]
    over: bool = False


def _node(row: NodeProgress, now: Now, cells: int) -> Line:
    return (Span(row.node or "shared", "strong"),)


def _phase(row: NodeProgress, now: Now, cells: int) -> Line:
    glyph, tone = _PHASES.get(row.phase, ("◐", "busy"))
    return (Span(f"{glyph} {row.phase}", tone),)


def _bar(row: NodeProgress, now: Now, cells: int) -> Line:
    if not row.copied or not row.bytes_total:
        return (Span(""),)
    full, rest = bar(row.bytes_done, row.bytes_total, cells)
    return (Span(full, "busy"), Span(rest, "faint"))


def _bytes(row: NodeProgress, now: Now, cells: int) -> Line:
    return (Span(format_size(row.bytes_done) if row.copied else "", "text"),)


def _sent(row: NodeProgress, now: Now, cells: int) -> Line:
    return (Span(format_size(row.bytes_sent) if row.bytes_sent else "", "muted"),)


def _rate(row: NodeProgress, now: Now, cells: int) -> Line:
    copying = row.phase is Phase.COPYING and row.rate
    return (Span(format_rate(row.rate) if copying else "", "muted"),)


def _left(row: NodeProgress, now: Now, cells: int) -> Line:
    return (Span("" if row.left_s is None else format_countdown(row.left_s), "text"),)


def _note(row: NodeProgress, now: Now, cells: int) -> Line:
    return (Span(row.note, "bad" if row.phase is Phase.FAILED else "muted"),)


PROGRESS_COLUMNS: tuple[Column[NodeProgress], ...] = (
    Column("NODE", _node, 8, 20, measure=lambda r: cell_width(escape_control(r.node or "shared"))),
    Column("STEP", _phase, 11, 11),
    Column("", _bar, 6, 20, rank=3),
    Column("COPIED", _bytes, 8, 9, rank=2, right=True),
    Column("SENT", _sent, 8, 9, rank=4, right=True),
    Column("RATE", _rate, 9, 11, rank=5, right=True),
    Column("LEFT", _left, 5, 8, rank=1, right=True),
    Column("NOTE", _note, 14, 120, grows=1, measure=lambda r: cell_width(escape_control(r.note))),
)


class ChangeProgressScreen(Screen[None]):
    """Escape closes the screen and leaves the change running; x cancels the change."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Back", show=False),
        Binding("x", "cancel", "Cancel", show=False),
    ]
    AUTO_FOCUS = "Table"

    def __init__(self, run: RunningChange) -> None:
        super().__init__()
        self._run = run
        self.table: Table[NodeProgress] = Table(PROGRESS_COLUMNS, lambda r: r.node, id="progress")

    def compose(self) -> ComposeResult:
        """Title, nodes, the note of the selected node, keys."""
        yield Static(id="progress-title", markup=False)
        yield self.table
        yield Static(id="progress-note", markup=False)
        yield KeyLine(id="progress-keys", markup=False)

    def on_mount(self) -> None:
        """Show the progress now, and repeatedly."""
        self._draw()
        self.set_interval(_EVERY_S, self._draw)

    def _draw(self) -> None:
        run, progress = self._run, self._run.progress
        rows = [replace(row) for row in progress.nodes.values()]
        self.table.set_rows(rows, Now())
        over = sum(row.phase.over for row in rows)
        summary = f"{over} of {plural(len(rows), 'node')}"
        if progress.left_s is not None:
            summary += f" · {format_countdown(progress.left_s)} left"
        if progress.bytes_total:
            done = format_size(progress.bytes_done) or "0.0 GiB"
            summary += f" · {done} of {format_size(progress.bytes_total)}"
        if progress.rate:
            summary += f" · {format_rate(progress.rate)}"
        if progress.bytes_sent:
            summary += f" · {format_size(progress.bytes_sent)} sent"
        spans = (Span(f"{run.title}   ", "strong", bold=True), Span(summary, "muted"))
        self.query_one("#progress-title", Static).update(content(spans))
        row = self.table.row
        failed = row is not None and row.phase is Phase.FAILED
        text = f"{row.node}: {row.note}" if row is not None and row.note else ""
        note = Span(escape_control(text), "bad" if failed else "muted")
        self.query_one("#progress-note", Static).update(content((note,)))
        keys = [("esc", "Back" if run.over else "Back (keeps running)")]
        if not run.over:
            keys.append(("x", "Cancel (the same command resumes it)"))
        self.query_one("#progress-keys", DiffText).put(keys_line(keys), layout=False)

    def action_cancel(self) -> None:
        """Cancel the change; what was copied is kept for the next attempt."""
        if not self._run.over:
            self._run.cancel()
