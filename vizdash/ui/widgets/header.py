"""The two lines at the top: which cluster, how full, how old the data; a third when it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.geometry import Offset
from textual.widget import Widget
from textual.widgets import Static

from vizdash.history import Sample
from vizdash.model import Capacity, Session, Snapshot
from vizdash.model.drift import Judgement
from vizdash.ui.format import about, bar, countdown, escape_control, gib, spark
from vizdash.ui.theme import Line, Span, Tone, content
from vizdash.ui.widgets.footer import Footer
from vizdash.ui.widgets.table import Now

#: Between two figures of the load; cells of the shortest bar.
_GAP = "    "
_LEAST_BAR = 3


class Header(Vertical):
    """``show`` takes a snapshot, ``tick`` the moment."""

    def __init__(self) -> None:
        super().__init__()
        # Held, not looked up: a tick may come while the screen is being taken apart.
        self._who = Static(id="who", markup=False)
        self._age = Static(id="age", markup=False)
        self._load = Load(id="load")
        self._warning = Static(id="warning", markup=False)
        self._judgement = Judgement()
        self._failing = False
        #: Whether ``w`` acts on the session that ends soon, as the cursor stands.
        self.here = True

    def compose(self) -> ComposeResult:
        """Who and how old, the load, and the warning."""
        with Horizontal(id="title"):
            yield self._who
            yield self._age
        yield self._load
        yield self._warning

    def show(self, snapshot: Snapshot, history: Sequence[Sample], *, read_only: bool) -> None:
        """Name the cluster and draw its load."""
        who = content(_who(snapshot, read_only=read_only))
        if self._who.content != who:
            self._who.update(who)
        drift = self._judgement.drift(snapshot.matrix)
        self._load.show(snapshot.capacity, history, drift)

    def tick(self, now: Now, *, asked: bool, failure: str, urgent: Session | None) -> None:
        """How old the data is, why there's none newer, and which session ends soon."""
        age, warning = self._age, self._warning
        self._failing = bool(failure)
        shown = content((_age(now, asked=asked, failing=bool(failure)),))
        if age.content != shown:
            age.update(shown, layout=False)
        warning.set_class(bool(failure or urgent), "-shown")
        if failure:
            kept = f"shown is what was seen {about(now.age_s)} ago; " if asked else ""
            text = Content(f"⚠ {escape_control(failure)} · {kept}trying again")
        elif urgent is not None:
            left = countdown((urgent.time_left_s or 0) - now.age_s)
            where = escape_control(f"{urgent.app} on {urgent.node}")
            key = "press w" if self.here else "press w on its row"
            text = Content(f"◷ {where} ends in {left} — {key} for the choices")
        else:
            return
        if warning.content != text:
            warning.update(text, layout=bool(failure))

    def on_click(self, event: events.Click) -> None:
        """The name leads to other clusters, the age asks anew, the load shows how it went, its
        badge the images, and the warning what can be done about it.
        """
        at = Offset(int(event.screen_x), int(event.screen_y))
        badge = self._load.on_badge(at.x - self._load.region.x)
        for widget, wish in (
            (self._who, "clusters"),
            (self._age, "refresh"),
            (self._load, "matrix" if badge else "history"),
            (self._warning, "refresh" if self._failing else "urgent"),
        ):
            if widget.region.contains_point(at):
                self.post_message(Footer.Pressed(wish))


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
    """Bars of cores, memory and GPUs in use, how each went in the last hour, and a badge where
    images on nodes are not as they should be.
    """

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._capacity: Capacity | None = None
        self._history: tuple[Sample, ...] = ()
        self._drift = 0

    def show(self, capacity: Capacity, history: Sequence[Sample], drift: int = 0) -> None:
        """Draw these."""
        shown = (capacity, tuple(history), drift)
        if shown != (self._capacity, self._history, self._drift):
            self._capacity, self._history, self._drift = shown
            self.refresh()

    def on_badge(self, x: int) -> bool:
        """Whether this cell is one of the badge's."""
        at = self.render().plain.find("≠")
        return 0 <= at <= x

    def render(self) -> Content:
        """As wide as the room allows: first the bars go, then the last of the figures."""
        load = self._capacity
        if load is None:
            return Content("")
        if not load.cores:
            return content((Span("no node takes jobs now    ", "warn"), _badge(self._drift)))
        parts = [part for part in _parts(load, self._history) if part.total]
        wide = self.size.width >= 120
        badge = _badge(self._drift)
        room = (self.size.width - _figures(parts) - len(badge.text)) // len(parts)
        sparks = min(20, room // 2) if wide else 0
        cells = max(_LEAST_BAR, min(24, room - sparks - (2 if sparks else 0)))
        # The gap behind the last figure is nobody's, but for a badge behind it.
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
    """How many images or nodes want something done; the matrix names them."""
    return Span(f"≠ {drift} drift: M" if drift else "", "warn", bold=True)


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    used: float
    total: float
    text: str
    went: list[float]


def _parts(load: Capacity, history: Sequence[Sample]) -> list[_Part]:
    memory = f"{gib(load.memory_alloc_mib)}/{gib(load.memory_mib)} GiB"
    cores = [_share(s.cores_alloc, s.cores) for s in history]
    went = [_share(s.memory_alloc_mib, s.memory_mib) for s in history]
    gpus = [_share(s.gpus_used, s.gpus) for s in history]
    return [
        _Part("cores", load.cores_alloc, load.cores, f"{load.cores_alloc}/{load.cores}", cores),
        _Part("memory", load.memory_alloc_mib, load.memory_mib, memory, went),
        _Part("GPU", load.gpus_used, load.gpus, f"{load.gpus_used}/{load.gpus}", gpus),
    ]


def _figures(parts: Sequence[_Part]) -> int:
    """Cells of names, figures and what stands between and behind them."""
    return sum(len(part.name) + len(part.text) + 2 + len(_GAP) for part in parts)


def _share(used: float, total: float) -> float:
    return used / total if total else 0.0


def _bar(part: _Part, cells: int, sparks: int) -> list[Span]:
    tone: Tone = "warn" if part.used / part.total >= 0.9 else "good"
    filled, rest = bar(part.used, part.total, cells)
    went = spark(part.went, sparks) if sparks and len(part.went) > 1 else ""
    return [
        Span(f"{part.name} ", "muted"),
        Span(filled, tone),
        Span(rest, "faint"),
        Span(f" {part.text}" if cells else part.text, "text"),
        Span(f" {went}" if went else "", "busy"),
        Span(_GAP),
    ]
