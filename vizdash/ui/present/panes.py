"""The panes of the dashboard: their titles, and the text of an empty one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from textual.content import Content

from vizdash.model import Snapshot
from vizdash.ui.present.free_capacity import FittingSessions, more_fit_text
from vizdash.ui.present.images import images_unknown, no_images_lines
from vizdash.ui.present.lines import Line, Span, content, line
from vizdash.ui.widgets.table import Table
from vizdash.util.text import escape_control


def empty_pane_lines(snapshot: Snapshot, *, read_only: bool) -> tuple[tuple[Line, ...], ...]:
    """The text of empty nodes, sessions and images."""
    start = line("No sessions yet. Press ", Span("n", "accent", bold=True), " to start one.")
    if read_only:
        start = line("No sessions (vizdash is read-only)")
    where = f"partition {snapshot.partition}" if snapshot.partition else "the cluster"
    no_nodes = line(f"No nodes in {where}. Check sinfo, or run vizdash doctor.")
    return (no_nodes,), (start,), tuple(no_images_lines(snapshot))


@dataclass(frozen=True, slots=True)
class PaneFacts:
    """What a pane's title shows: ``counts`` by state, the filter, and how many more fit."""

    snapshot: Snapshot | None
    counts: Mapping[str, int]
    filtered: str = ""
    mine: bool = False
    fitting: FittingSessions | None = None


def pane_title(table: Table[Any], key: str, name: str, facts: PaneFacts) -> Content:
    """The title: number, name and counts."""
    sums = " · ".join(f"{n} {escape_control(word)}" for word, n in facts.counts.items())
    shown, total = len(table.rows), len(table.all_rows)
    count = f" {shown}" if shown == total else f" {shown} of {total}"
    if table.id == "images" and images_unknown(facts.snapshot):
        count = "  not checked"
    spans = [Span(f"{key} ", "accent"), Span(name, bold=True)]
    spans.append(Span(count if facts.snapshot else "", "muted"))
    if facts.mine:
        spans.append(Span("  mine", "accent"))
    if facts.filtered:
        spans.append(Span(f"  /{facts.filtered}", "accent"))
    spans.append(Span(table.summary, "accent"))
    if (fitting := facts.fitting) is not None:
        spans.append(Span(f"  {more_fit_text(fitting.total, fitting.app)}", "muted"))
    spans.append(Span(f"  {sums}" if sums else "", "muted"))
    return content(spans)
