"""A node that a file comes to from another node, as the scheduler knows it, and what it has done.

Times are seconds of any clock that only rises.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

#: Seconds between two reports of a node, and of the window by which it is judged.
REPORT_S = 0.4
WINDOW_S = 1.2
#: The image host.
HEAD = ""


@dataclass(frozen=True, slots=True)
class Attach:
    """``feeder`` is to send ``child`` what it has from byte ``offset`` on."""

    feeder: str
    child: str
    offset: int


@dataclass(frozen=True, slots=True)
class Detach:
    """``feeder`` is to stop sending."""

    feeder: str
    child: str


Move = Attach | Detach


@dataclass(slots=True, eq=False)
class Peer:
    """A node. ``level`` is 0 for a good one; ``suspect`` says that a good probe may clear it, as
    ``pardons`` of them have; ``since`` is when its feeder was given to it, ``base``
    the size that it had then, ``probe`` the rate of the first bytes from it; ``hold`` is when it
    was last said to have it all; ``gone`` says why it takes part no more.
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
    hold: float = float("-inf")
    held_by: str | None = None
    heard: float = float("-inf")
    silent: bool = False
    gone: str = ""
    past: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=32))
    avoid: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    refusals: int = 0
    failed: set[str] = field(default_factory=set)

    def at(self, when: float) -> int:
        """The size that it had then, as far as it was told."""
        return next((size for told, size in reversed(self.past) if told <= when), 0)

    def rate(self, now: float) -> float:
        """Bytes per second over the last window."""
        before = next(((t, s) for t, s in reversed(self.past) if t <= now - WINDOW_S), None)
        if before is None or before[0] < self.since:
            before = next(((t, s) for t, s in self.past if t >= self.since), None)
        if before is None or not self.past or self.past[-1][0] - before[0] < REPORT_S / 2:
            return 0.0
        return (self.size - before[1]) / max(now - before[0], REPORT_S)

    def had(self, when: float, total: int) -> int:
        """What it had to give then; one that has all ``total`` bytes had them for long."""
        return self.size if self.size >= total else self.at(when)

    def judgeable(self, now: float) -> bool:
        """Whether it has been fed for long enough."""
        return bool(self.feeder and self.first_byte) and now - self.first_byte >= WINDOW_S

    def lag(self, now: float, total: int) -> int:
        """Bytes that its feeder had one window ago, and it has not got."""
        return self.feeder.had(now - WINDOW_S, total) - self.size if self.feeder else 0
