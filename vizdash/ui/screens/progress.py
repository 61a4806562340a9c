"""A change to several nodes while it goes on: each node's step, bytes, rate and time left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Static

from vizdash.images.progress import NodeProgress, Phase, Progress
from vizdash.ui.format import bar, countdown, escape_control, plural, size, width
from vizdash.ui.theme import Line, Span, Tone, content, keys_line
from vizdash.ui.widgets.clicked import Keys
from vizdash.ui.widgets.rows import Rows
from vizdash.ui.widgets.table import Column, Now, Table

_EVERY_S = 0.25
_PHASES: dict[Phase, tuple[str, Tone]] = {
    Phase.WAITING: ("○", "muted"),
    Phase.DONE: ("✓", "good"),
    Phase.FAILED: ("✗", "bad"),
    Phase.CANCELLED: ("–", "warn"),
    Phase.SKIPPED: ("–", "muted"),
}


@dataclass(slots=True)
class Run:
    """A change that was begun: what it is, how far, and how to break it off. ``over`` says that
    it has ended.
    """

    title: str
    progress: Progress
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
    return (Span(size(row.bytes_done) if row.copied else "", "text"),)


def _sent(row: NodeProgress, now: Now, cells: int) -> Line:
    return (Span(size(row.bytes_sent) if row.bytes_sent else "", "muted"),)


def _rate(row: NodeProgress, now: Now, cells: int) -> Line:
    copying = row.phase is Phase.COPYING and row.rate
    return (Span(f"{size(int(row.rate))}/s" if copying else "", "muted"),)


def _left(row: NodeProgress, now: Now, cells: int) -> Line:
    return (Span("" if row.left_s is None else countdown(row.left_s), "text"),)


def _note(row: NodeProgress, now: Now, cells: int) -> Line:
    return (Span(row.note, "bad" if row.phase is Phase.FAILED else "muted"),)


PROGRESS: tuple[Column[NodeProgress], ...] = (
    Column("NODE", _node, 8, 20, measure=lambda r: width(escape_control(r.node or "shared"))),
    Column("STEP", _phase, 11, 11),
    Column("", _bar, 6, 20, rank=3),
    Column("THERE", _bytes, 8, 9, rank=2, right=True),
    Column("SENT", _sent, 8, 9, rank=4, right=True),
    Column("RATE", _rate, 9, 11, rank=5, right=True),
    Column("LEFT", _left, 5, 8, rank=1, right=True),
    Column("NOTE", _note, 14, 120, grows=1, measure=lambda r: width(escape_control(r.note))),
)


class ProgressScreen(Screen[None]):
    """Escape leaves, and it goes on; x breaks it off."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Back", show=False),
        Binding("x", "break_off", "Break off", show=False),
    ]
    AUTO_FOCUS = "Table"

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self.table: Table[NodeProgress] = Table(PROGRESS, lambda r: r.node, id="progress")

    def compose(self) -> ComposeResult:
        """Title, nodes, the note of the one under the cursor, keys."""
        yield Static(id="progress-title", markup=False)
        yield self.table
        yield Static(id="progress-note", markup=False)
        yield Keys(id="progress-keys", markup=False)

    def on_mount(self) -> None:
        """Draw now, and again while it goes on."""
        self._draw()
        self.set_interval(_EVERY_S, self._draw)

    def _draw(self) -> None:
        run, progress = self._run, self._run.progress
        rows = [replace(row) for row in progress.nodes.values()]
        self.table.set_rows(rows, Now())
        over = sum(row.phase.over for row in rows)
        told = f"{over} of {plural(len(rows), 'node')}"
        if progress.left_s is not None:
            told += f" · {countdown(progress.left_s)} left"
        if progress.bytes_total:
            told += f" · {size(progress.bytes_done) or '0 MiB'} of {size(progress.bytes_total)}"
        if progress.rate:
            told += f" · {size(int(progress.rate))}/s"
        if progress.bytes_sent:
            told += f" · {size(progress.bytes_sent)} sent"
        spans = (Span(f"{run.title}   ", "strong", bold=True), Span(told, "muted"))
        self.query_one("#progress-title", Static).update(content(spans))
        row = self.table.row
        failed = row is not None and row.phase is Phase.FAILED
        text = f"{row.node}: {row.note}" if row is not None and row.note else ""
        note = Span(escape_control(text), "bad" if failed else "muted")
        self.query_one("#progress-note", Static).update(content((note,)))
        keys = [("esc", "Back" if run.over else "Back (it goes on)")]
        if not run.over:
            keys.append(("x", "Break off (the same again goes on from there)"))
        self.query_one("#progress-keys", Rows).put(keys_line(keys), layout=False)

    def action_break_off(self) -> None:
        """End it; what arrived stays for the next time."""
        if not self._run.over:
            self._run.cancel()
