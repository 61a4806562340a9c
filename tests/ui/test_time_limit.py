"""A session near its time limit: the warning, its choices, and an extension."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from textual.geometry import Region

from tests.fakes import MemoryStore
from tests.ui.fake import (
    AT,
    G,
    app_on,
    ending,
)
from tests.ui.pilot import begin, press, sees, settled, text, toasts, until
from vizdash.model import Resources
from vizdash.service.operations import extension_request
from vizdash.sessions.folder import Status
from vizdash.ui.screens.start import StartScreen
from vizdash.ui.screens.time_limit import TimeLimitScreen
from vizdash.ui.widgets.diff_text import DiffText


async def test_a_limit_that_is_near_is_announced_and_counts_down() -> None:
    clock = [AT]
    app, _ = app_on(ending(), clock=lambda: clock[0])
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        assert sees(pilot, "◷ desktop on viz-node002 ends in 4:07 — press w for options")
        message = "desktop on viz-node002 reaches its time limit soon"
        assert f"{message} — press w on its row for options" in toasts(pilot)
        clock[0] += 10
        app.tick()
        await settled(pilot)
        assert sees(pilot, "ends in 3:57")


async def test_the_session_is_started_again() -> None:
    app, service = app_on(ending())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "w", "a")
        assert isinstance(app.screen, StartScreen)
        assert sees(pilot, "● desktop", "4G")
        await press(pilot, "enter")
        await until(pilot, lambda: service.started)
        assert service.started[0].resources == Resources(2, 4 * G, 0, 7200)


async def test_more_time_is_requested() -> None:
    app, _ = app_on(ending())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "w")
        assert sees(pilot, "Time limit", "4:07 left")
        await press(pilot, "down", "enter")
        assert app.clipboard == extension_request(ending().sessions[0], 7200)
        assert "scontrol update JobId=1044 TimeLimit=240" in app.clipboard


async def test_the_remaining_time_keeps_counting_in_the_dialog(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [AT]
    app, service = app_on(ending(), clock=lambda: clock[0])
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "w")
        assert sees(pilot, "desktop on viz-node002   4:07 left; then unsaved work is lost")
        screen = app.screen
        assert isinstance(screen, TimeLimitScreen)
        drawn: list[tuple[str | None, tuple[Region, ...]]] = []
        question = screen.query_one("#question", DiffText)
        real = DiffText.refresh

        def noted(rows: DiffText, *regions: Region, **how: Any) -> DiffText:
            drawn.append((rows.id, regions or rows._only))
            return real(rows, *regions, **how)

        monkeypatch.setattr(DiffText, "refresh", noted)
        screen.tick()
        assert drawn == []
        clock[0] += 1
        screen.tick()
        assert drawn == [("question", (Region(0, 0, question.size.width, 1),))]
        await settled(pilot)
        assert sees(pilot, "4:06 left")
        # A poll brings a new value, which the dialog uses.
        extended = replace(ending().sessions[0], time_left_s=7450)
        service.now = replace(ending(), sessions=(extended,), taken_at=clock[0])
        app.refresh_snapshot()
        await until(pilot, lambda: app.state.find(extended.job_id) == extended)
        screen.tick()
        await settled(pilot)
        assert sees(pilot, "2:04:10 left")
        service.now = replace(ending(), sessions=())
        app.refresh_snapshot()
        await until(pilot, lambda: app.state.find(extended.job_id) is None)
        screen.tick()
        await settled(pilot)
        assert sees(pilot, "desktop on viz-node002   it has ended")


async def test_the_warning_can_be_dismissed() -> None:
    app, _ = app_on(ending())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "w")
        assert sees(pilot, "a  Start a replacement", "r  Copy a request", "d  Dismiss")
        await press(pilot, "d")
        assert not sees(pilot, "press w for options")
        await press(pilot, "w")  # of the chosen session one can still ask
        assert sees(pilot, "Time limit")


async def test_the_owner_extends_a_lease() -> None:
    size = Resources(2, 4 * G, 0, 14400)
    session = replace(
        ending().sessions[0], resources=size, lease_s=7200, lease_left_s=250, time_left_s=11529
    )
    store, lease_end_at = MemoryStore(), int(AT) + 250
    store.known[session.id] = Status(state="ready", lease_end_at=lease_end_at)
    app, _ = app_on(replace(ending(), sessions=(session,)), store=store)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        assert sees(pilot, "desktop on viz-node002 ends in 4:07")
        message = "desktop on viz-node002 reaches the end of its lease soon"
        assert f"{message} — press w on its row for options" in toasts(pilot)
        await press(pilot, "w")
        assert sees(pilot, "4:07 left", "e  Extend it by 2 h")
        await press(pilot, "e")
        await until(pilot, lambda: store.leases)
        assert store.leases == {session.id: lease_end_at + 7200}


async def test_an_idle_session_warns_its_owner() -> None:
    clock = [AT]
    session = replace(ending().sessions[0], idle_left_s=250, time_left_s=90000)
    app, service = app_on(replace(ending(), sessions=(session,)), clock=lambda: clock[0])
    async with app.run_test(size=(120, 24)) as pilot:
        await begin(pilot)
        assert sees(pilot, "idle: ends in 4:07 if nobody uses it", "ends in 4:07 — press w")
        message = "desktop on viz-node002 is idle and ends soon"
        assert f"{message} — use it to keep it (press o to open it)" in toasts(pilot)
        used = replace(session, idle_left_s=None)
        service.now = replace(ending(), sessions=(used,), taken_at=clock[0])
        app.refresh_snapshot()
        await until(pilot, lambda: app.state.find(used.job_id) == used)
        await settled(pilot)
        assert not sees(pilot, "ends in")
        # When it is idle again, there is another warning.
        assert app.state.take(replace(ending(), sessions=(session,)), clock[0])


@pytest.mark.parametrize("way", ["key", "mouse"])
async def test_a_key_acts_on_the_row_and_a_click_on_what_the_warning_names(way: str) -> None:
    warning = "◷ desktop on viz-node002 ends in 4:07"
    first, *others = ending().sessions
    app, _ = app_on(replace(ending(), sessions=(*others, first)))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        assert app.dashboard.context().session == others[0]
        assert sees(pilot, "press w on its row for options")
        if way == "key":
            await press(pilot, "w")
            assert sees(pilot, "1:12:06 left")
            await press(pilot, "escape", "end", "w")
        else:
            y = next(i for i, one in enumerate(text(pilot).split("\n")) if warning in one)
            await pilot.click(offset=(4, y))
            await settled(pilot)
        assert sees(pilot, "4:07 left")
        await press(pilot, "a", "escape")
        assert sees(pilot, warning)  # nothing came of it
        await press(pilot, "w", "d")
        assert not sees(pilot, warning)
        await press(pilot, "home", "w")
        assert sees(pilot, "1:12:06 left")


async def test_a_limit_that_was_moved_is_announced_again_when_it_is_near() -> None:
    warning = "press w for options"
    app, service = app_on(near := ending(), admin=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "w", "e")
        await until(pilot, lambda: service.fake_engine.changes)
        assert service.fake_engine.changes == [("set_time_limit", "1044", "14400")]
        first, *others = near.sessions
        moved = replace(first, time_left_s=7440, resources=replace(first.resources, time_s=14400))
        service.now = replace(near, sessions=(moved, *others))
        app.refresh_snapshot()
        await until(pilot, lambda: sees(pilot, "2:03:57"))
        assert not sees(pilot, warning)
        app.clear_notifications()
        service.now = near
        app.refresh_snapshot()
        await until(pilot, lambda: toasts(pilot))
        assert "press w on its row for options" in toasts(pilot)[-1]
