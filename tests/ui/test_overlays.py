"""What opens over the dashboard: the question, the log, the help."""

from __future__ import annotations

import textwrap

import pytest

from tests.ui.drive import AnyPilot, begin, press, sees, settled, text, until
from tests.ui.fake import app_on, busy
from vizdash.actions import REGISTRY
from vizdash.errors import NotFound
from vizdash.ui.screens.confirm import Confirm
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.screens.log import LogScreen
from vizdash.ui.words import LEGEND


async def _at(pilot: AnyPilot, *keys: str) -> None:
    await begin(pilot)
    await press(pilot, "down", "down", "down", *keys)


@pytest.mark.parametrize(
    ("keys", "stopped"),
    [
        (("y",), True),
        (("n",), False),
        (("escape",), False),
        (("q",), False),
        (("enter",), False),  # the usual answer is no
        (("left", "enter"), True),
        (("tab", "enter"), True),
        (("left", "right", "enter"), False),
        (("#yes",), True),
        (("#no",), False),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else str(value),
)
async def test_the_question_before_a_stop(keys: tuple[str, ...], stopped: bool) -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await _at(pilot, "x")
        assert isinstance(app.screen, Confirm)
        assert sees(pilot, "desktop on viz-node002", "What isn't saved in it is lost.")
        for key in keys:
            if key.startswith("#"):
                await pilot.click(key)
            else:
                await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, Dashboard))
        await settled(pilot)
        assert bool(service.stopped) is stopped


async def test_a_log_is_followed() -> None:
    app, service = app_on(busy(), log="\n".join(f"line {n}" for n in range(100)))
    async with app.run_test(size=(80, 24)) as pilot:
        await _at(pilot, "l")
        assert sees(pilot, "Log  ● ready  desktop on viz-node002", "line 99", "● ready")
        service.log = "\n".join(f"line {n}" for n in range(5, 103))
        await press(pilot, "r")
        await until(pilot, lambda: sees(pilot, "line 102"))
        assert text(pilot).count("line 99") == 1
        await press(pilot, "g")
        assert sees(pilot, "line 0")
        await press(pilot, "j", "j", "k")
        assert sees(pilot, "line 1")
        await press(pilot, "G")
        assert sees(pilot, "line 102")
        await press(pilot, "f", "g")
        service.log += "\nline 103"
        await press(pilot, "R")
        assert not sees(pilot, "line 103")  # it stays where the person reads
        await press(pilot, "f")
        assert sees(pilot, "line 103")
        await press(pilot, "escape")
        assert isinstance(app.screen, Dashboard)


async def test_a_log_is_searched() -> None:
    app, service = app_on(busy(), log="\n".join(f"line {n}" for n in range(200)))
    async with app.run_test(size=(80, 24)) as pilot:
        await _at(pilot, "l", "slash", *"LINE 1")
        assert sees(pilot, "line 199", "111 of 111")
        await press(pilot, "enter", "n")
        assert sees(pilot, "1 of 111")
        await press(pilot, "N", "N")
        assert sees(pilot, "110 of 111")
        service.log += "\nline 1000"
        await press(pilot, "r")
        await until(pilot, lambda: sees(pilot, "110 of 112"))
        assert not sees(pilot, "line 1000")  # it stays where the person reads
        await press(pilot, "slash", *"x")
        assert sees(pilot, "n N not found")
        await press(pilot, "escape")
        assert not sees(pilot, "n N")
        await press(pilot, "escape")
        assert isinstance(app.screen, Dashboard)


async def test_another_log_in_its_place_starts_anew() -> None:
    app, service = app_on(busy(), log="one\ntwo")
    async with app.run_test(size=(80, 24)) as pilot:
        await _at(pilot, "l")
        service.log = "three\nfour"
        await press(pilot, "r")
        await until(pilot, lambda: sees(pilot, "four"))
        assert not sees(pilot, "two")


async def test_a_log_that_is_not_there_says_why() -> None:
    app, service = app_on(busy(), log_refusal=NotFound("log of 4f2a", "the job has not begun"))
    async with app.run_test(size=(80, 24)) as pilot:
        await _at(pilot, "l")
        await until(pilot, lambda: sees(pilot, "log of 4f2a: the job has not begun"))
        service.log_refusal, service.log = None, "begun"
        await press(pilot, "r")
        await until(pilot, lambda: sees(pilot, "begun"))


async def test_an_empty_log_says_so_and_control_characters_are_shown() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await _at(pilot, "l")
        await until(pilot, lambda: sees(pilot, "the log is empty so far"))
        assert text(pilot).splitlines()[-1].split() == ["esc", "Back", "r", "Reload"]
        await press(pilot, "slash")
        assert app.focused is not None and app.focused.id != "log-search"
        service.log = "\x1b[2Jboo\ttab"
        await press(pilot, "r")
        await until(pilot, lambda: sees(pilot, r"\x1b[2Jboo"))
        assert isinstance(app.screen, LogScreen)


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_the_help_has_every_key_and_sign(size: tuple[int, int]) -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        await press(pilot, "question_mark")
        shown = text(pilot)
        for _ in range(12):
            await press(pilot, *["j"] * 8)
            shown += text(pilot)
        for action in REGISTRY:
            assert all(part in shown for part in textwrap.wrap(action.help, 60)), action.id
        for glyph, _, word, _ in LEGEND:
            assert f"{glyph} {word}" in shown
        await press(pilot, "question_mark")
        assert isinstance(app.screen, Dashboard)
