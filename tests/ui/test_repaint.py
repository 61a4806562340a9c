"""What is written to a slow terminal: only the cells that changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tests.ui.fake import AT, app_on, busy, ready, session
from tests.ui.pilot import begin, settled, until
from vizdash.model import SessionState
from vizdash.ui.present.sessions import SESSION_COLUMNS
from vizdash.ui.terminal.repaint import SpansUpdate, drop_repeated_colours
from vizdash.ui.widgets.columns import Now, PlacedColumn
from vizdash.ui.widgets.table import Table

_LEFT = next(column for column in SESSION_COLUMNS if column.title == "LEFT")


def _written(text: str, *spans: tuple[int, int, int]) -> str:
    strip = Strip([Segment(text)])
    return SpansUpdate([{0: strip}], list(spans), [[strip.cell_length]]).render_segments(Console())


def test_a_span_is_written_from_where_it_begins() -> None:
    assert _written("abcdefgh", (0, 5, 7)) == "\x1b[1;6Hfg"
    assert _written("abcdefgh", (0, 0, 2), (0, 6, 8)) == "\x1b[1;1Hab\x1b[1;7Hgh"
    assert _written("한국어 abc", (0, 2, 6)) == "\x1b[1;3H국어"
    assert _written("abcdefgh", (0, 8, 9)) == ""


def test_of_a_countdown_only_the_digits_that_moved() -> None:
    spot = PlacedColumn(_LEFT, 0, 10)
    row = ready(1, time_left_s=4329)  # 1:12:09
    begun = Now(AT, 0)
    assert spot.changed(row, begun, row, begun) == (0, 0)
    assert spot.changed(row, begun, row, Now(AT + 1, 1)) == (9, 10)
    assert spot.changed(row, begun, row, Now(AT + 10, 10)) == (6, 9)  # 1:11:59
    polled = replace(row, time_left_s=4329 - 60)  # reported again after a minute
    assert spot.changed(row, Now(AT + 60, 60), polled, Now(AT + 60, 0)) == (0, 0)
    assert spot.changed(row, begun, polled, Now(AT + 60, 0)) == (6, 7)  # 1:11:09
    short = replace(row, time_left_s=3600)
    assert spot.changed(short, begun, short, Now(AT + 1, 1)) == (3, 10)  # 1:00:00, 59:59


def test_of_one_that_starts_only_the_sign_turns() -> None:
    spot = PlacedColumn(
        next(column for column in SESSION_COLUMNS if column.title == "STATE"), 0, 11
    )
    row = session(5, SessionState.STARTING)
    assert spot.changed(row, Now(AT), row, Now(AT + 1)) == (0, 1)
    assert spot.changed(row, Now(AT), replace(row, state=SessionState.READY), Now(AT)) == (0, 11)


def test_of_text_with_wide_characters_the_whole_cell() -> None:
    app = next(column for column in SESSION_COLUMNS if column.title == "APP")
    rows = (ready(1, app="한국어"), ready(1, app="한국말"))
    assert PlacedColumn(app, 0, 10).changed(rows[0], Now(), rows[1], Now()) == (0, 10)


_RED, _BLUE, _OFF = "\x1b[38;2;200;0;0m", "\x1b[38;2;0;0;200m", "\x1b[0m"


@pytest.mark.parametrize(
    ("drawn", "written"),
    [
        (f"{_RED}a{_OFF}\x1b[2;3H{_RED}b{_OFF}", f"{_RED}a\x1b[2;3Hb{_OFF}"),
        (f"{_RED}a{_OFF}{_BLUE}b{_OFF}", f"{_RED}a{_OFF}{_BLUE}b{_OFF}"),
        (f"{_RED}a{_OFF} {_RED}b{_OFF}", f"{_RED}a{_OFF} {_RED}b{_OFF}"),
        (f"{_RED}{_BLUE}a{_OFF}{_BLUE}b{_OFF}", f"{_RED}{_BLUE}a{_OFF}{_BLUE}b{_OFF}"),
        (f"{_RED}a{_OFF}\x1b[2;3H", f"{_RED}a\x1b[2;3H{_OFF}"),
        ("plain", "plain"),
    ],
)
def test_a_colour_that_is_set_is_not_set_again(drawn: str, written: str) -> None:
    assert drop_repeated_colours(drawn) == written


async def test_a_poll_redraws_only_what_changed() -> None:
    """A minute later every countdown has changed, and one session has become ready."""
    clock = [AT]
    app, service = app_on(busy(), clock=lambda: clock[0])
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        drawn: list[Region] = []
        sessions = app.dashboard.sessions
        sessions.refresh = lambda *regions, **_: drawn.extend(regions)  # type: ignore[method-assign,assignment]
        left = [s.time_left_s for s in busy().sessions]
        aged = [
            replace(s, time_left_s=None if t is None else t - 60)
            for s, t in zip(busy().sessions, left, strict=True)
        ]
        clock[0] += 60
        app.tick()
        await settled(pilot)
        drawn.clear()
        aged[1] = replace(aged[1], step="window manager")
        service.now = replace(busy(), sessions=tuple(aged), taken_at=AT + 57)
        app.refresh_snapshot()
        await until(pilot, lambda: sessions.all_rows[1].step == "window manager")
        await settled(pilot)
        assert {region.y for region in drawn} == {2}  # below the titles, the second row
        assert sum(region.width for region in drawn) < 60


async def test_a_poll_without_changes_redraws_no_pane() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        drawn: list[str] = []
        for table in app.dashboard.tables:
            table.refresh = lambda *regions, name=table.id, **_: drawn.append(name)  # type: ignore[method-assign,assignment]
        asked = service.asked
        app.refresh_snapshot()
        await until(pilot, lambda: service.asked > asked)
        await settled(pilot)
        assert drawn == []
        service.now = replace(busy(), sessions=busy().sessions[1:])
        app.refresh_snapshot()
        await until(pilot, lambda: "sessions" in drawn)


async def test_the_ancestors_styles_are_read_once_for_all_lines_of_a_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For each line it took a tenth of the work until the first screen."""
    app, _ = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await settled(pilot)
        table = app.dashboard.query(Table).first()
        read: list[Style] = []
        style = table.rich_style

        def counted(_: Widget) -> Style:
            read.append(style)
            return style

        monkeypatch.setattr(Table, "rich_style", property(counted))
        table.refresh()
        assert len(table.render_lines(Region(0, 0, *table.size))) > 5
        assert len(read) == 1
