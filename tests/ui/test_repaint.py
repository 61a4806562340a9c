"""What is written to a slow terminal: the cells that changed, and no others."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console
from rich.segment import Segment
from textual.strip import Strip

from tests.ui.drive import begin, settled, until
from tests.ui.fake import AT, app_on, busy, ready
from vizdash.ui.columns import SESSIONS
from vizdash.ui.repaint import Spans
from vizdash.ui.widgets.columns import Now, Placed

_LEFT = next(column for column in SESSIONS if column.title == "LEFT")


def _written(text: str, *spans: tuple[int, int, int]) -> str:
    strip = Strip([Segment(text)])
    return Spans([{0: strip}], list(spans), [[strip.cell_length]]).render_segments(Console())


def test_a_span_is_written_from_where_it_begins() -> None:
    assert _written("abcdefgh", (0, 5, 7)) == "\x1b[1;6Hfg"
    assert _written("abcdefgh", (0, 0, 2), (0, 6, 8)) == "\x1b[1;1Hab\x1b[1;7Hgh"
    assert _written("한국어 abc", (0, 2, 6)) == "\x1b[1;3H국어"
    assert _written("abcdefgh", (0, 8, 9)) == ""


def test_of_a_countdown_only_the_digits_that_moved() -> None:
    spot = Placed(_LEFT, 0, 10)
    row = ready(1, time_left_s=4329)  # 1:12:09
    assert spot.changed(row, Now(AT, 0), Now(AT, 0)) == 10
    assert spot.changed(row, Now(AT, 0), Now(AT + 1, 1)) == 9
    assert spot.changed(row, Now(AT, 0), Now(AT + 10, 10)) == 6  # 1:11:59
    assert spot.changed(replace(row, time_left_s=3600), Now(AT, 0), Now(AT + 1, 1)) == 0


async def test_a_poll_that_brought_nothing_draws_no_pane_anew() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        drawn: list[str] = []
        for table in app._dashboard.tables:
            table.refresh = lambda *regions, name=table.id, **_: drawn.append(name)  # type: ignore[method-assign,assignment]
        asked = service.asked
        app.look_again()
        await until(pilot, lambda: service.asked > asked)
        await settled(pilot)
        assert drawn == []
        service.now = replace(busy(), sessions=busy().sessions[1:])
        app.look_again()
        await until(pilot, lambda: "sessions" in drawn)
