"""Two sides measured in turn, in one run, so that a busy machine slows both alike."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sides:
    """Seconds that each side took, round by round."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def our_median(self) -> float:
        """In seconds."""
        return statistics.median(self.ours)

    @property
    def their_median(self) -> float:
        """In seconds."""
        return statistics.median(self.theirs)

    @property
    def ratio(self) -> float:
        """Ours to theirs."""
        return self.our_median / self.their_median


def clocked(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes, by the clock on the wall."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def worked(work: Callable[[], object]) -> float:
    """Seconds of CPU that ``work`` takes, its ended children's included: what others do on the
    machine meanwhile changes that little.
    """
    before = _cpu_seconds()
    work()
    return _cpu_seconds() - before


def _cpu_seconds() -> float:
    # os.times(2) counts in ticks of 10 ms; this counts in microseconds.
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def in_turn(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> Sides:
    """A B, B A, A B ...: whichever goes first has no advantage. Each returns its seconds."""
    first: list[float] = []
    second: list[float] = []
    for at in range(rounds):
        pair = ((ours, first), (theirs, second))
        for measure, results in pair if at % 2 == 0 else reversed(pair):
            results.append(measure())
    return Sides(tuple(first), tuple(second))


def shown(seconds: float) -> str:
    """For a table: ``1.23 s``, ``45.6 ms``."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def row(what: str, sides: Sides, against: str, note: str = "") -> None:
    """One line: what was measured, against what, both medians, and the ratio."""
    spread = f"{shown(min(sides.ours))} .. {shown(max(sides.ours))}"
    print(
        f"  {what:<38} {shown(sides.our_median):>9}   {against:<34} "
        f"{shown(sides.their_median):>9}   x {sides.ratio:5.2f}   ({len(sides.ours)} each, "
        f"ours {spread}){note}",
        flush=True,
    )
