"""The header: cluster, load, age of the data, and a warning line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.geometry import Offset
from textual.widget import Widget
from textual.widgets import Static

from vizdash.model import Capacity, Session, Snapshot
from vizdash.ui.present.lines import Line, Span, Tone, content
from vizdash.ui.widgets.columns import Now
from vizdash.ui.widgets.footer import Footer
from vizdash.ui.widgets.plot import bar, spark
from vizdash.util.text import escape_control
from vizdash.util.units import format_countdown, format_gib, format_rough_duration

if TYPE_CHECKING:
    from vizdash.images.drift import DriftCache
    from vizdash.service.load_history import LoadSample

#: Between two figures of the load; cells of the shortest bar.
_GAP = "    "
_LEAST_BAR = 3


class Header(Vertical):
    """``show`` takes a snapshot, ``tick`` the time."""

    def __init__(self) -> None:
        super().__init__()
        # Attributes, not queries: a tick may come while the screen is being removed.
        self._who = Static(id="who", markup=False)
        self._age = Static(id="age", markup=False)
        self._load = LoadBars(id="load")
        self._warning = Static(id="warning", markup=False)
        self._failing = self._saved = False
        #: Whether ``w`` acts on the session that ends soon, by the cursor.
        self.here = True

    @cached_property
    def _judgement(self) -> DriftCache:
        from vizdash.images.drift import DriftCache

        return DriftCache()

    def compose(self) -> ComposeResult:
        """Cluster and age, load, warning."""
        with Horizontal(id="title"):
            yield self._who
            yield self._age
        yield self._load
        yield self._warning

    def show(self, snapshot: Snapshot, history: Sequence[LoadSample], *, read_only: bool) -> None:
        """Show the cluster's name and load."""
        self._saved = snapshot.saved
        who = content(_who(snapshot, read_only=read_only))
        if self._who.content != who:
            self._who.update(who)
        drift = 0
        if snapshot.image_roots and not snapshot.saved:
            drift = self._judgement.count_drift(snapshot.matrix)
        self._load.show(snapshot.capacity, history, drift)

    def tick(self, now: Now, *, has_data: bool, failure: str, urgent: Session | None) -> None:
        """Show the age of the data, why there is no newer, or which session ends soon."""
        age, warning = self._age, self._warning
        self._failing = bool(failure)
        shown = content((_age(now, has_data=has_data, failing=bool(failure), saved=self._saved),))
        if age.content != shown:
            age.update(shown, layout=False)
        warning.set_class(bool(failure or urgent), "-shown")
        if failure:
            age_note = f"data from {format_rough_duration(now.age_s)} ago; " if has_data else ""
            text = Content(f"⚠ {escape_control(failure)} · {age_note}retrying")
        elif urgent is not None:
            left = format_countdown((urgent.ends_in_s or 0) - now.age_s)
            where = escape_control(f"{urgent.app} on {urgent.node}")
            key = "press w" if self.here else "press w on its row"
            text = Content(f"◷ {where} ends in {left} — {key} for options")
        else:
            return
        if warning.content != text:
            warning.update(text, layout=bool(failure))

    def on_click(self, event: events.Click) -> None:
        """Open what was clicked: clusters for the name, refresh for the age, history for the load,
        the images by node for the badge, the choices for the warning.
        """
        at = Offset(int(event.screen_x), int(event.screen_y))
        badge = self._load.on_badge(at.x - self._load.region.x)
        for widget, request in (
            (self._who, "clusters"),
            (self._age, "refresh"),
            (self._load, "matrix" if badge else "history"),
            (self._warning, "refresh" if self._failing else "urgent"),
        ):
            if widget.region.contains_point(at):
                self.post_message(Footer.Pressed(request))


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


def _age(now: Now, *, has_data: bool, failing: bool, saved: bool) -> Span:
    if not has_data:
        return Span("⚠ no answer yet", "warn") if failing else Span("querying …", "muted")
    if failing:
        return Span(f"⚠ {format_rough_duration(now.age_s)} old", "warn", bold=True)
    if saved:
        return Span(f"saved {format_rough_duration(now.age_s)} ago", "warn")
    return Span(f"{format_rough_duration(now.age_s)} ago", "muted")


class LoadBars(Widget):
    """Bars of allocated cores, memory and GPUs, their last hour, and a badge that counts drift."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._capacity: Capacity | None = None
        self._history: tuple[LoadSample, ...] = ()
        self._drift = 0

    def show(self, capacity: Capacity, history: Sequence[LoadSample], drift: int = 0) -> None:
        """Draw these values."""
        shown = (capacity, tuple(history), drift)
        if shown != (self._capacity, self._history, self._drift):
            self._capacity, self._history, self._drift = shown
            self.refresh()

    def on_badge(self, x: int) -> bool:
        """Whether the badge is at this cell."""
        at = self.render().plain.find("≠")
        return 0 <= at <= x

    def render(self) -> Content:
        """Draw as much as fits: bars are dropped first, then the last figures."""
        load = self._capacity
        if load is None:
            return Content("")
        if not load.cores:
            return content((Span("no node accepts jobs now    ", "warn"), _badge(self._drift)))
        parts = [part for part in _parts(load, self._history) if part.total]
        wide = self.size.width >= 120
        badge = _badge(self._drift)
        cells_each = (self.size.width - _figures(parts) - len(badge.text)) // len(parts)
        sparks = min(20, cells_each // 2) if wide else 0
        cells = max(_LEAST_BAR, min(24, cells_each - sparks - (2 if sparks else 0)))
        # The gap after the last figure is free unless a badge follows.
        left = self.size.width + (0 if badge.text else len(_GAP)) - len(badge.text)
        if _figures(parts) + cells * len(parts) > left:
            cells = 0
            while len(parts) > 1 and _figures(parts) > left:
                parts.pop()
        spans: list[Span] = []
        for part in parts:
            spans += _bar(part, cells, sparks)
        return content((*spans, badge))


def _badge(drift: int) -> Span:
    """The number of images or nodes with drift; the key opens the images by node."""
    return Span(f"≠ {drift} drift: M" if drift else "", "warn", bold=True)


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    used: float
    total: float
    text: str
    history: list[float]


def _parts(load: Capacity, history: Sequence[LoadSample]) -> list[_Part]:
    memory = f"{format_gib(load.memory_alloc_mib)}/{format_gib(load.memory_mib)} GiB"
    cores = [_share(s.cores_alloc, s.cores) for s in history]
    in_use = [_share(s.memory_alloc_mib, s.memory_mib) for s in history]
    gpus = [_share(s.gpus_used, s.gpus) for s in history]
    return [
        _Part("cores", load.cores_alloc, load.cores, f"{load.cores_alloc}/{load.cores}", cores),
        _Part("memory", load.memory_alloc_mib, load.memory_mib, memory, in_use),
        _Part("GPU", load.gpus_used, load.gpus, f"{load.gpus_used}/{load.gpus}", gpus),
    ]


def _figures(parts: Sequence[_Part]) -> int:
    """Cells that names, figures and gaps take."""
    return sum(len(part.name) + len(part.text) + 2 + len(_GAP) for part in parts)


def _share(used: float, total: float) -> float:
    return used / total if total else 0.0


def _bar(part: _Part, cells: int, sparks: int) -> list[Span]:
    tone: Tone = "warn" if part.used / part.total >= 0.9 else "good"
    filled, rest = bar(part.used, part.total, cells)
    plot = spark(part.history, sparks) if sparks and len(part.history) > 1 else ""
    return [
        Span(f"{part.name} ", "muted"),
        Span(filled, tone),
        Span(rest, "faint"),
        Span(f" {part.text}" if cells else part.text, "text"),
        Span(f" {plot}" if plot else "", "busy"),
        Span(_GAP),
    ]
