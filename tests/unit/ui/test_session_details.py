"""The states of a session over time, as the session details show them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vizdash.model import Resources, Session, SessionState
from vizdash.sessions.folder_summary import FolderSummary
from vizdash.ui.present.lines import Line
from vizdash.ui.present.session_details import log_tail, session_details, timeline
from vizdash.ui.present.sessions import SESSION_COLUMNS, session_note
from vizdash.ui.widgets.columns import Now

pytestmark = pytest.mark.usefixtures("utc")

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


def text_of(line: Line) -> str:
    return "".join(span.text for span in line)


@pytest.mark.parametrize(
    ("session", "trail", "words"),
    [
        (ONE, None, "submitted 07:58:20 → started +3s"),
        (ONE, FolderSummary(AT - 85), "submitted 07:58:20 → started +3s → ready +12s"),
        (
            replace(ONE, state=SessionState.ENDED, result="timed out", ended_at=AT - 25),
            FolderSummary(AT - 85),
            "submitted 07:58:20 → started +3s → ready +12s → timed out +1min",
        ),
        (
            # Stopped before it began: Slurm reports a start nevertheless.
            replace(ONE, state=SessionState.ENDED, result="cancelled", node="", ended_at=AT - 90),
            None,
            "submitted 07:58:20 → cancelled +10s",
        ),
        (
            replace(ONE, state=SessionState.PENDING, node="", expected_start_at=AT + 7200),
            None,
            "submitted 07:58:20 → expected start 10:00:00",
        ),
        (
            replace(ONE, submitted_at=AT - 2 * 86400, started_at=AT - 86400),
            None,
            "submitted 2027-01-13 08:00 → started +1d",
        ),
        (replace(ONE, submitted_at=None, started_at=None), None, ""),
    ],
)
def test_the_path(session: Session, trail: FolderSummary | None, words: str) -> None:
    assert text_of(timeline(session, Now(AT), trail)) == words


def test_a_log_shows_as_many_last_lines_as_fit() -> None:
    trail = FolderSummary(log=("one", "two\x1b[2J", "a long line without an end"))
    assert [text_of(one) for one in log_tail(trail, 2, 31)] == [
        "log        two\\x1b[2J",
        "           a long line without…",
    ]
    assert log_tail(trail, 0, 31) == []
    assert log_tail(None, 9, 31) == []
    (why,) = log_tail(FolderSummary(note="empty so far"), 9, 31)
    assert text_of(why) == "log        empty so far"


def test_a_gpu_that_does_not_draw_is_marked_with_the_reason() -> None:
    """In the row, its note and the details; without a GPU, software is what was asked for."""
    columns = {column.title: column for column in SESSION_COLUMNS}
    drawn = replace(ONE, renderer="llvmpipe (LLVM 19.1.7, 256 bits)")
    (cell,) = columns["OPENGL"].cell(drawn, Now(AT), 12)
    assert (cell.text, cell.tone) == ("llvmpipe", "muted")
    assert session_note(drawn, Now(AT)).text == ""
    why = "OpenGL in software, without VirtualGL: no device"
    unused = replace(drawn, resources=Resources(gpus=1), warning=why)
    (cell,) = columns["OPENGL"].cell(unused, Now(AT), 12)
    assert (cell.text, cell.tone) == ("llvmpipe !", "warn")
    note = session_note(unused, Now(AT))
    assert (note.text, note.tone) == (why, "warn")
    shown = [text_of(found) for found in session_details(unused, Now(AT))]
    assert f"{'OpenGL':11}llvmpipe (LLVM 19.1.7, 256 bits)" in shown
    assert f"{'warning':11}{why}" in shown
