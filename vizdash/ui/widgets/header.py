"""The two lines at the top: which cluster, how full, how old the data; a third when it fails."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from vizdash.model import Capacity, Snapshot
from vizdash.ui.format import about, bar, escape_control, gib, spark
from vizdash.ui.theme import Line, Span, Tone, content
from vizdash.ui.widgets.table import Now


class Header(Vertical):
    """``show`` takes a snapshot, ``tick`` the moment."""

    def compose(self) -> ComposeResult:
        """Who and how old, the load, and the warning."""
        with Horizontal(id="title"):
            yield Static(id="who", markup=False)
            yield Static(id="age", markup=False)
        yield Load(id="load")
        yield Static(id="warning", markup=False)

    def show(self, snapshot: Snapshot, history: Sequence[float], *, read_only: bool) -> None:
        """Name the cluster and draw its load."""
        self.query_one("#who", Static).update(content(_who(snapshot, read_only=read_only)))
        self.query_one(Load).show(snapshot.capacity, history)

    def tick(self, now: Now, *, asked: bool, failure: str) -> None:
        """How old the data is, and why there's none newer."""
        age = self.query_one("#age", Static)
        shown = content((_age(now, asked=asked, failing=bool(failure)),))
        if age.content != shown:
            age.update(shown, layout=False)
        warning = self.query_one("#warning", Static)
        warning.set_class(bool(failure), "-shown")
        if failure:
            kept = f"shown is what was seen {about(now.age_s)} ago; " if asked else ""
            text = Content(f"⚠ {escape_control(failure)} · {kept}trying again")
            if warning.content != text:
                warning.update(text)


def _who(snapshot: Snapshot, *, read_only: bool) -> Line:
    facts = [snapshot.engine]
    if snapshot.partition:
        facts.append(f"partition {snapshot.partition}")
    facts.append(snapshot.user)
    spans = [Span("vizdash", "accent", bold=True), Span("  ")]
    spans += [Span(snapshot.cluster, "strong", bold=True), Span("  " + " · ".join(facts), "muted")]
    if read_only:
        spans.append(Span("  read-only", "warn", bold=True))
    return tuple(spans)


def _age(now: Now, *, asked: bool, failing: bool) -> Span:
    if not asked:
        return Span("⚠ no answer yet", "warn") if failing else Span("asking …", "muted")
    if failing:
        return Span(f"⚠ {about(now.age_s)} old", "warn", bold=True)
    return Span(f"{about(now.age_s)} ago", "muted")


class Load(Widget):
    """Bars of cores, memory and GPUs in use, and how the cores went."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._capacity = Capacity()
        self._history: list[float] = []

    def show(self, capacity: Capacity, history: Sequence[float]) -> None:
        """Draw these."""
        self._capacity, self._history = capacity, list(history)
        self.refresh()

    def render(self) -> Content:
        """As wide as the room allows."""
        load = self._capacity
        if not load.cores:
            return content((Span("no node takes jobs now" if self._history else "", "warn"),))
        of_memory = f"{gib(load.memory_alloc_mib)}/{gib(load.memory_mib)} GiB"
        parts = [
            ("cores", load.cores_alloc, load.cores, f"{load.cores_alloc}/{load.cores}"),
            ("memory", load.memory_alloc_mib, load.memory_mib, of_memory),
        ]
        if load.gpus:
            parts.append(("GPU", load.gpus_used, load.gpus, f"{load.gpus_used}/{load.gpus}"))
        wide = self.size.width >= 120
        texts = sum(len(name) + len(text) + 6 for name, _, _, text in parts)
        room = self.size.width - texts - (30 if wide else 0)
        cells = max(3, min(24, room // len(parts)))
        spans: list[Span] = []
        for name, used, total, text in parts:
            spans += _bar(name, used, total, text, cells)
        if wide and len(self._history) > 1:
            spans += [Span("cores lately ", "faint"), Span(spark(self._history, 16), "busy")]
        return content(spans)


def _bar(name: str, used: float, total: float, text: str, cells: int) -> list[Span]:
    tone: Tone = "warn" if used / total >= 0.9 else "good"
    filled, rest = bar(used, total, cells)
    return [
        Span(f"{name} ", "muted"),
        Span(filled, tone),
        Span(rest, "faint"),
        Span(f" {text}    ", "text"),
    ]
