"""The path of a session through its states, as the screen writes it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from vizdash.model import Session, SessionState
from vizdash.sessions.trail import Trail
from vizdash.ui.sessiondetails import log_lines, path
from vizdash.ui.theme import Line
from vizdash.ui.widgets.columns import Now

AT = 1_800_000_000  # 2027-01-15 08:00 UTC
ONE = Session(
    "4f2a91c1",
    "10",
    "desktop",
    "anna",
    SessionState.READY,
    node="viz-node003",
    submitted_at=AT - 100,
    started_at=AT - 97,
)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def said(line: Line) -> str:
    return "".join(span.text for span in line)


@pytest.mark.parametrize(
    ("session", "trail", "words"),
    [
        (ONE, None, "submitted 07:58:20 → started +3s"),
        (ONE, Trail(AT - 85), "submitted 07:58:20 → started +3s → ready +12s"),
        (
            replace(ONE, state=SessionState.ENDED, result="timed out", ended_at=AT - 25),
            Trail(AT - 85),
            "submitted 07:58:20 → started +3s → ready +12s → timed out +1min",
        ),
        (
            # Stopped before it began: Slurm gives it a start all the same.
            replace(ONE, state=SessionState.ENDED, result="cancelled", node="", ended_at=AT - 90),
            None,
            "submitted 07:58:20 → cancelled +10s",
        ),
        (
            replace(ONE, state=SessionState.PENDING, node="", expected_start_at=AT + 7200),
            None,
            "submitted 07:58:20 → starts about 10:00:00",
        ),
        (
            replace(ONE, submitted_at=AT - 2 * 86400, started_at=AT - 86400),
            None,
            "submitted 2027-01-13 08:00 → started +1d",
        ),
        (replace(ONE, submitted_at=None, started_at=None), None, ""),
    ],
)
def test_the_path(session: Session, trail: Trail | None, words: str) -> None:
    assert said(path(session, Now(AT), trail)) == words


def test_a_log_has_the_last_lines_that_there_is_room_for() -> None:
    trail = Trail(log=("one", "two\x1b[2J", "a long line that goes on and on"))
    assert [said(one) for one in log_lines(trail, 2, 31)] == [
        "log        two\\x1b[2J",
        "           a long line that go…",
    ]
    assert log_lines(trail, 0, 31) == []
    assert log_lines(None, 9, 31) == []
    (why,) = log_lines(Trail(note="empty so far"), 9, 31)
    assert said(why) == "log        empty so far"
