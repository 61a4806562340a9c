"""A fault as a row of the table, and what a test measured of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from tests.waiting import wait_until

#: Seconds after which a fault that is not seen, or not recovered from, counts as a hang.
BOUND_S = 300.0
#: The property of a test's report that holds what was measured (pytest's ``record_property``).
PROPERTY = "fault"

Record = Callable[[str, object], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """A row of the table.

    ``made`` says how the fault is made, ``seen`` what the user sees. ``words`` are texts of the
    user's screen that the test waits for, each a part of ``seen``. ``make test`` tests the
    ``short`` rows, ``make test-faults`` all.
    """

    name: str
    made: str
    seen: str
    words: tuple[str, ...] = ()
    short: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds from the fault until the user sees it, and from its end until all works as before;
    None where there is no such moment. Times are reported, never asserted.
    """

    name: str
    notice_s: float | None = None
    recover_s: float | None = None


class Stopwatch:
    """Measures one fault, from its beginning and from its end."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self.notice_s: float | None = None
        self.recover_s: float | None = None

    def start(self) -> None:
        """The fault begins now, or its cause is gone now."""
        self._since = time.monotonic()

    def wait_seen(self, true: Callable[[], bool], what: str, seen: Callable[[], str] = str) -> None:
        """Wait until the user sees the fault."""
        wait_until(true, what, BOUND_S, seen)
        self.notice_s = time.monotonic() - self._since

    def wait_recovered(
        self, true: Callable[[], bool], what: str, seen: Callable[[], str] = str
    ) -> None:
        """Wait until all works as before."""
        wait_until(true, what, BOUND_S, seen)
        self.recover_s = time.monotonic() - self._since


@contextmanager
def measuring(fault: Fault, record: Record) -> Iterator[Stopwatch]:
    """Measure a fault; what was measured is reported unless the test fails."""
    watch = Stopwatch()
    yield watch
    measured = Measured(fault.name, watch.notice_s, watch.recover_s)
    record(PROPERTY, json.dumps(asdict(measured)))
