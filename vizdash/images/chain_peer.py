"""A node of a chain as its reports show it: what it has, how fast it receives, whether it lags."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

#: Seconds between two reports of a node, and seconds of the window over which it is judged.
REPORT_S = 0.4
WINDOW_S = 1.2
#: Seconds without a new byte after which a node that reports is stuck.
_STUCK_S = 2 * REPORT_S
#: Bytes at the start of a connection that probe its rate, without those that may be buffered.
MEASURED_BYTES = 1 << 18
#: The name of the image host.
HEAD = ""


@dataclass(frozen=True, slots=True)
class Attach:
    """``feeder`` shall send ``child`` its data from byte ``offset`` on."""

    feeder: str
    child: str
    offset: int


@dataclass(frozen=True, slots=True)
class Detach:
    """``feeder`` shall stop sending."""

    feeder: str
    child: str


Move = Attach | Detach


@dataclass(slots=True, eq=False)
class Peer:
    """A node of the chain.

    ``size`` is the bytes that it has; ``level`` is 0 for a node of normal speed and grows with each
    time that it was slow. ``suspect``: a good probe may restore it, as ``pardons`` of them have.
    ``since`` is when its feeder was assigned, ``base`` its size then, ``probing_at`` when that
    feeder began to send its first bytes, ``probe`` their rate. ``finished_at`` is when a feeder
    last reported that it had sent all. ``gone`` says why it no longer takes part.
    """

    name: str
    order: int
    size: int = 0
    level: int = 0
    suspect: bool = False
    pardons: int = 0
    feeder: Peer | None = None
    child: Peer | None = None
    since: float = 0.0
    base: int = 0
    first_byte: float = 0.0
    probe: float = 0.0
    probing_at: float = 0.0
    finished_at: float = float("-inf")
    finished_feeder: str | None = None
    heard_at: float = float("-inf")
    silent: bool = False
    gone: str = ""
    reports: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=32))
    avoid: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    refusals: int = 0
    failed_children: set[str] = field(default_factory=set)

    def size_at(self, when: float) -> int:
        """The size at an earlier time, as far as it was reported."""
        return next((size for at, size in reversed(self.reports) if at <= when), 0)

    def rate(self, now: float) -> float:
        """The rate in bytes per second over the last window, until the last report.

        Measured until ``now``, which may be a report later, it would seem slower than it is.
        """
        before = next(((t, s) for t, s in reversed(self.reports) if t <= now - WINDOW_S), None)
        if before is None or before[0] < self.since:
            before = next(((t, s) for t, s in self.reports if t >= self.since), None)
        if before is None or not self.reports or self.reports[-1][0] - before[0] < REPORT_S / 2:
            return 0.0
        return (self.size - before[1]) / max(self.reports[-1][0] - before[0], REPORT_S)

    def available_at(self, when: float, total: int) -> int:
        """The bytes that it could send at an earlier time; with all ``total`` bytes, it has had
        them long enough.
        """
        return self.size if self.size >= total else self.size_at(when)

    def is_measurable(self, now: float) -> bool:
        """Whether it has been fed long enough to be judged."""
        return bool(self.feeder and self.first_byte) and now - self.first_byte >= WINDOW_S

    def lag(self, now: float, total: int) -> int:
        """Bytes that its feeder had one window ago and that have not arrived; a shorter one ago if
        nothing arrives at all.
        """
        window_s = _STUCK_S if self.is_stuck else WINDOW_S
        return self.feeder.available_at(now - window_s, total) - self.size if self.feeder else 0

    @property
    def is_stuck(self) -> bool:
        """Whether its last reports show no new byte."""
        return bool(self.reports) and self.size_at(self.reports[-1][0] - _STUCK_S) >= self.size
