"""Cores, memory, GPUs and sessions over the last hour, six hours or day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Static

from vizdash.service.load_history import EVERY_S, LoadSample
from vizdash.ui.present.lines import Line, Span, Tone, content, line, lines
from vizdash.ui.widgets.clickable_keys import KeyLine
from vizdash.ui.widgets.plot import clock_time, column_rows, resample
from vizdash.util.units import format_gib

_SPANS = ((3600, "hour"), (6 * 3600, "6 hours"), (24 * 3600, "day"))
#: Seconds for which a sample is valid: they are a minute apart, a missed one leaves no gap.
_HOLD_S = 2.5 * EVERY_S
#: Cells of the figures on the left.
_AXIS = 9

Read = Callable[[LoadSample], float]
_PLOTS: tuple[tuple[str, Read, Read, Tone], ...] = (
    ("cores", lambda s: s.cores_alloc, lambda s: s.cores, "busy"),
    ("memory GiB", lambda s: s.memory_alloc_mib / 1024, lambda s: s.memory_mib / 1024, "good"),
    ("GPUs", lambda s: s.gpus_used, lambda s: s.gpus, "warn"),
    ("sessions", lambda s: s.sessions, lambda s: s.sessions, "accent"),
)


def plot_lines(
    samples: Sequence[LoadSample], begin: float, end: float, width: int, height: int
) -> list[Line]:
    """All plots, one below the other, in ``width`` x ``height`` cells."""
    shown = [p for p in _PLOTS if any(p[2](s) for s in samples)] or list(_PLOTS[:1])
    rows = max(1, height // len(shown) - 2)
    plot: list[Line] = []
    for name, used, total, tone in shown:
        most = max((total(s) for s in samples), default=0.0)
        points = [(s.at, used(s)) for s in samples]
        values = resample(points, begin, end, max(1, width - _AXIS - 2), _HOLD_S)
        last = f"{used(samples[-1]):.4g} of {total(samples[-1]):.4g}" if samples else "no data"
        if name == "sessions" and samples:
            last = f"{samples[-1].sessions}, {samples[-1].mine} of them yours"
        plot.append(line(Span(name, "strong", bold=True), Span(f"   {last}", "muted")))
        drawn = column_rows(values, most, rows)
        for i, row in enumerate(drawn):
            figure = f"{most:.4g}" if i == 0 else "0" if i == rows - 1 else ""
            plot.append(line(Span(figure.rjust(_AXIS - 2) + " │", "faint"), Span(row, tone)))
        plot.append(_axis(begin, end, width))
    return plot


def _axis(begin: float, end: float, width: int) -> Line:
    first, last = clock_time(begin), clock_time(end)
    gap = max(0, width - _AXIS - 2 - len(first) - len(last))
    return line(Span(" " * _AXIS + first + " " * gap + last, "faint"))


class LoadHistoryScreen(Screen[None]):
    """1, 2 and 3 choose the period."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,h", "dismiss", "Back", show=False),
        Binding("1", "span(0)", "Hour", show=False),
        Binding("2", "span(1)", "6 hours", show=False),
        Binding("3", "span(2)", "Day", show=False),
        Binding("left,right,tab", "next", "Next", show=False),
    ]

    def __init__(
        self, samples: Callable[[float], Sequence[LoadSample]], now: Callable[[], float]
    ) -> None:
        super().__init__()
        self._samples = samples
        self._now = now
        self._chosen = 0
        self._title = Static(id="log-title", markup=False)
        self._plots = Static(id="plots", markup=False)
        self._keys = KeyLine(id="log-keys", markup=False)

    def compose(self) -> ComposeResult:
        """Title, plots, keys."""
        yield self._title
        yield self._plots
        yield self._keys

    def on_mount(self) -> None:
        """Draw again as samples are recorded."""
        self.set_interval(EVERY_S, lambda: self._draw(*self.size))

    def on_resize(self, event: events.Resize) -> None:
        """Draw in the new size."""
        self._draw(event.size.width, event.size.height)

    def _draw(self, width: int, height: int) -> None:
        seconds, name = _SPANS[self._chosen]
        end = self._now()
        begin = end - seconds
        samples = self._samples(begin)
        tracked = bool(samples) and samples[-1].memory_mib > 0
        memory = f"{format_gib(samples[-1].memory_alloc_mib)} GiB in use" if tracked else ""
        title = (Span("Load history  ", "accent", bold=True), Span(f"the last {name}", "strong"))
        self._title.update(content((*title, Span(f"   {memory}", "muted"))))
        shown = plot_lines(samples, begin, end, width - 2, height - 2)
        if not samples:
            shown = [line(Span("No data yet: a sample is recorded every minute.", "muted"))]
        self._plots.update(lines(shown))
        spans = [Span("esc", "accent", bold=True), Span(" Back   ", "muted")]
        for i, (_, each) in enumerate(_SPANS):
            here = i == self._chosen
            spans.append(Span(str(i + 1), "accent", bold=True))
            spans.append(Span(f" {each}   ", "strong" if here else "muted", bold=here))
        self._keys.update(content(spans))

    def action_span(self, index: int) -> None:
        """Show this period."""
        self._chosen = index
        self._draw(*self.size)

    def action_next(self) -> None:
        """Show the next period, wrapping around."""
        self.action_span((self._chosen + 1) % len(_SPANS))
