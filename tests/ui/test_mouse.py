"""What is named on the screen can be clicked: keys of screens and dialogs, and the header."""

from __future__ import annotations

import pytest
from textual import events

from tests.ui.fake import RAN, app_on, busy, day, ending
from tests.ui.pilot import AnyPilot, begin, press, sees, settled, text, until
from vizdash.ui.key_bindings import key_at
from vizdash.ui.screens.clusters import ClustersScreen
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.screens.handoff import HandoffScreen
from vizdash.ui.screens.load_history import LoadHistoryScreen
from vizdash.ui.screens.time_limit import TimeLimitScreen
from vizdash.ui.widgets.log_view import LogView


@pytest.mark.parametrize(
    ("line", "word", "key"),
    [
        ("esc Back   f Follow   n N Next (1 of 2)", "esc", "escape"),
        ("esc Back   f Follow   n N Next (1 of 2)", "Follow", "f"),
        ("esc Back   f Follow   n N Next (1 of 2)", "Next", "n"),
        ("esc Back   / Search", "Search", "slash"),
        ("enter copies · esc closes", "copies", "enter"),
        ("enter copies · esc closes", "closes", "escape"),
        ("enter starts · ^s saves", "saves", "ctrl+s"),
        ("enter builds · ctrl+l last log", "last", "ctrl+l"),
        ("enter copies · esc closes", "·", ""),
        ("nothing is built", "is", ""),
    ],
)
def test_the_key_that_a_click_means(line: str, word: str, key: str) -> None:
    assert key_at(line, line.index(word)) == key


def test_a_click_beside_the_keys_means_nothing() -> None:
    assert key_at("esc Back", 40) == ""
    assert key_at("esc Back", -1) == ""


async def _click(pilot: AnyPilot, word: str) -> None:
    """Click on the last place where the screen says it."""
    lines = text(pilot).split("\n")
    y = max(i for i, one in enumerate(lines) if word in one)
    await pilot.click(offset=(lines[y].rindex(word) + 1, y))
    await settled(pilot)


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ("C", "esc Back"),
        ("h", "esc Back"),
        ("l", "esc Back"),
        ("c", "esc closes"),
        ("question_mark", "esc closes"),
        ("at", "esc closes"),
        ("t", "esc goes back"),
        ("w", "esc dismisses"),
        ("n", "esc cancels"),
    ],
)
async def test_every_screen_is_left_by_a_click(keys: str, word: str) -> None:
    app, _ = app_on(busy(), runs=RAN)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", keys)
        assert not isinstance(app.screen, Dashboard)
        await _click(pilot, word)
        assert isinstance(app.screen, Dashboard)


async def test_the_keys_of_screens_are_clicked() -> None:
    app, _ = app_on(busy(), runs=RAN, history=day())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "h")
        await _click(pilot, "2 6 hours")
        assert sees(pilot, "the last 6 hours")
        await press(pilot, "escape", "C")
        await _click(pilot, "f Failed only")
        assert sees(pilot, "Commands 2 failed")
        await press(pilot, "escape", "1", "c")
        await _click(pilot, "enter copies")
        assert app.clipboard == "viz-node001"


async def test_the_header_is_clicked() -> None:
    app, _ = app_on(ending(), history=day())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        for word, screen in (
            ("press w for options", TimeLimitScreen),
            ("cores", LoadHistoryScreen),
            ("vizdash  viz", ClustersScreen),
        ):
            lines = text(pilot).split("\n")[:3]
            y = next(i for i, one in enumerate(lines) if word in one)
            await pilot.click(offset=(lines[y].index(word) + 1, y))
            await settled(pilot)
            assert isinstance(app.screen, screen)
            await press(pilot, "escape")


async def test_the_address_is_copied_by_a_click() -> None:
    app, _ = app_on(busy(), browser=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "o")
        await until(pilot, lambda: isinstance(app.screen, HandoffScreen))
        await settled(pilot)
        await _click(pilot, "l the link")
        assert app.clipboard.startswith("http")


@pytest.mark.parametrize("way", ["wheel", "key"])
async def test_moving_up_in_a_log_stays_there(way: str) -> None:
    app, service = app_on(busy(), log="\n".join(f"line {n}" for n in range(100)))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "l")
        view = app.screen.query_one(LogView)
        assert sees(pilot, "line 99", "f Stop following")
        if way == "wheel":
            await pilot._post_mouse_events([events.MouseScrollUp], view, (5, 5), button=0)
        else:
            await press(pilot, "k")
        await until(pilot, lambda: not sees(pilot, "line 99"))
        service.log += "\none more"
        await press(pilot, "r")
        assert sees(pilot, "f Follow")
        assert not sees(pilot, "one more")
