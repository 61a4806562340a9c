"""The screens of the load history and of the commands that vizdash ran."""

from __future__ import annotations

from tests.ui.fake import (
    AT,
    RAN,
    app_on,
    busy,
    day,
    empty,
)
from tests.ui.pilot import begin, press, sees
from vizdash.model import CommandRun
from vizdash.service.load_history import LoadHistory
from vizdash.ui.screens.dashboard import Dashboard


async def test_the_history_in_the_header_and_in_full() -> None:
    app, _ = app_on(busy(), history=day())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        assert sees(pilot, "▁▁▁▁")
        await press(pilot, "h")
        assert sees(pilot, "the last hour", "cores   2 of 48", "sessions   1, 1 of them")
        await press(pilot, "2")
        assert sees(pilot, "the last 6 hours")
        await press(pilot, "right")
        assert sees(pilot, "the last day")
        await press(pilot, "escape")
        assert isinstance(app.screen, Dashboard)


async def test_a_history_that_is_empty_is_reported() -> None:
    app, service = app_on(empty())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        service.user_data.history = LoadHistory(None)
        await press(pilot, "h")
        assert sees(pilot, "No data yet")


async def test_the_commands_their_times_and_outcomes() -> None:
    app, service = app_on(busy(), runs=RAN)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "C")
        assert sees(pilot, "16 ms", "✓ done", "✗ exit 1", "30.0 s", "✗ no answer")
        await press(pilot, "down")
        assert sees(pilot, "Invalid job id specified")
        await press(pilot, "c")
        assert app.clipboard == "scancel 1040"
        await press(pilot, "f")
        assert not sees(pilot, "squeue")
        service.runs = (CommandRun(4, AT, ("false",), 0.001, 1), *RAN)
        await press(pilot, "r")
        assert sees(pilot, "Commands 3 failed")
        assert sees(pilot, "f All")
        await press(pilot, "f")
        # What is done comes first, not how its environment was cleared.
        argv = ("env", "-u", "SQUEUE_SORT", "LC_ALL=C", "squeue", "--all")
        service.runs = (CommandRun(5, AT, argv, 0.001, 0),)
        await press(pilot, "r")
        assert sees(
            pilot, "✓ done       squeue --all", "full command: env -u SQUEUE_SORT LC_ALL=C squeue"
        )
        await press(pilot, "c")
        assert app.clipboard == "env -u SQUEUE_SORT LC_ALL=C squeue --all"
        await press(pilot, "s", "s")
        assert sees(pilot, "esc Back   r Reload   s Sort   f Failed only   c Copy")
        await press(pilot, "escape")
        assert isinstance(app.screen, Dashboard)


async def test_where_there_are_no_commands_none_is_sorted_or_copied() -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "C")
        assert sees(pilot, "esc Back   r Reload")
        assert not sees(pilot, "s Sort")
        assert not sees(pilot, "c Copy")
