"""The words of the dashboard's three panes: their titles, and what an empty one shows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from textual.content import Content

from vizdash.model import Snapshot
from vizdash.ui import words
from vizdash.ui.format import escape_control
from vizdash.ui.room import Room
from vizdash.ui.theme import Line, Span, content, line
from vizdash.ui.widgets.table import Table


def nothing(snapshot: Snapshot, *, read_only: bool) -> tuple[tuple[Line, ...], ...]:
    """For nodes, sessions and images: what each shows while it has no rows."""
    start = line("No sessions yet — press ", Span("n", "accent", bold=True), " to start a desktop")
    if read_only:
        start = line("No sessions (this vizdash is read-only)")
    where = f"partition {snapshot.partition}" if snapshot.partition else "the cluster"
    no_nodes = line(f"No nodes in {where} — see sinfo, or vizdash doctor")
    return (no_nodes,), (start,), tuple(words.no_images(snapshot))


@dataclass(frozen=True, slots=True)
class Facts:
    """What a pane's title says of it: ``counts`` by state, the filter, and how many more fit."""

    snapshot: Snapshot | None
    counts: Mapping[str, int]
    filtered: str = ""
    mine: bool = False
    room: Room | None = None


def title(table: Table[Any], key: str, name: str, facts: Facts) -> Content:
    """Number, name and sums."""
    sums = " · ".join(f"{n} {escape_control(word)}" for word, n in facts.counts.items())
    shown, found = len(table.rows), len(table.found)
    count = f" {shown}" if shown == found else f" {shown} of {found}"
    if table.id == "images" and words.unseen(facts.snapshot):
        count = "  not looked at"
    spans = [Span(f"{key} ", "accent"), Span(name, bold=True)]
    spans.append(Span(count if facts.snapshot else "", "muted"))
    if facts.mine:
        spans.append(Span("  mine", "accent"))
    if facts.filtered:
        spans.append(Span(f"  /{facts.filtered}", "accent"))
    spans.append(Span(table.told, "accent"))
    if (room := facts.room) is not None:
        spans.append(Span(f"  {room.total} more {room.app} fit", "muted"))
    spans.append(Span(f"  {sums}" if sums else "", "muted"))
    return content(spans)
