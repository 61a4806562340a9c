"""What opens over the dashboard: the question, the log, the help."""

from __future__ import annotations

import asyncio
import textwrap
from dataclasses import replace

import pytest

from tests.ui.drive import AnyPilot, begin, press, sees, settled, text, toasts, until
from tests.ui.fake import FakeService, app_on, busy, snapshot
from vizdash.actions import REGISTRY
from vizdash.errors import NotFound
from vizdash.model import Session, SessionState
from vizdash.ui.app import VizdashApp
from vizdash.ui.screens.confirm import Confirm
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.screens.help import HelpScreen
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


class SlowLog:
    """A log that is read for as long as the gate is closed; ``live`` tells of each reading
    whether it began while the session was seen to live.
    """

    def __init__(self, app: VizdashApp, service: FakeService, monkeypatch: pytest.MonkeyPatch):
        self.gate = asyncio.Event()
        self.live: list[bool] = []
        self._app, self._service = app, service
        monkeypatch.setattr(service, "logs", self._logs)
        monkeypatch.setattr("vizdash.ui.screens.log._EVERY_S", 3600.0)

    async def _logs(self, session: Session, *, lines: int) -> str:
        self.live.append(session.live)
        text = self._service.log
        await self.gate.wait()
        return text

    async def opened(self, pilot: AnyPilot) -> LogScreen:
        await begin(pilot)
        await press(pilot, "down", "down", "down")
        await pilot.press("l")
        await until(pilot, lambda: self.live)
        assert isinstance(self._app.screen, LogScreen)
        return self._app.screen


async def test_a_log_that_takes_long_to_read_comes_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, service = app_on(busy(), log="the one line")
    async with app.run_test(size=(80, 24)) as pilot:
        log = SlowLog(app, service, monkeypatch)
        screen = await log.opened(pilot)
        for _ in range(3):
            screen._again()
            await pilot.pause()
        assert len(log.live) == 1  # no tick breaks a reading off
        await pilot.press("r")  # a person does
        await until(pilot, lambda: len(log.live) == 2)
        log.gate.set()
        await until(pilot, lambda: sees(pilot, "the one line"))


async def test_the_last_lines_of_one_that_fails_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    app, service = app_on(busy(), log="vizdash: step app")
    async with app.run_test(size=(80, 24)) as pilot:
        log = SlowLog(app, service, monkeypatch)
        screen = await log.opened(pilot)
        mine = busy().sessions[3]
        gone = replace(mine, state=SessionState.ENDED, result="failed", step="app")
        service.now = snapshot(sessions=(gone,))
        app.look_again()
        await until(pilot, lambda: app._board.find(mine.job_id) == gone)
        screen._again()  # the end is seen while a reading goes on that began before
        service.log += "\nlibGLU.so.1 is missing"
        log.gate.set()
        await settled(pilot)
        assert not sees(pilot, "libGLU.so.1")
        for _ in range(3):
            screen._again()
            await settled(pilot)
        assert sees(pilot, "✗ failed", "libGLU.so.1 is missing")
        assert log.live == [True, False]


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


async def test_a_question_follows_its_session() -> None:
    """It ends while the person thinks: it is not shown as ready, and nothing is stopped."""
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await _at(pilot, "x")
        screen, shown = app.screen, app._dashboard.sessions.row
        assert isinstance(screen, Confirm) and shown is not None
        assert sees(pilot, "● ready")
        ended = replace(shown, state=SessionState.ENDED, result="finished", time_left_s=None)
        others = [s for s in busy().sessions if s.job_id != shown.job_id]
        service.now = replace(busy(), sessions=(ended, *others))
        app.look_again()
        await until(pilot, lambda: app._board.find(shown.job_id) == ended)
        screen.follow()
        await settled(pilot)
        assert sees(pilot, "✓ finished", "It has ended meanwhile")
        await press(pilot, "y")
        assert isinstance(app.screen, Dashboard)
        assert not service.stopped


async def test_a_question_about_several_names_whose_and_which() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        app._dashboard.admin = True
        live = [s for s in busy().sessions if s.live]
        await press(pilot, *["space"] * len(live), "x")
        assert isinstance(app.screen, Confirm)
        for one in live:
            assert sees(pilot, f"{one.id} · job {one.job_id}")
        assert sees(pilot, "of björn")
        await press(pilot, "y")
        await until(pilot, lambda: len(service.stopped) == len(live))


async def test_a_sign_tells_which_answer_enter_gives() -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await _at(pilot, "x")
        assert sees(pilot, "▸ n  Keep it") and not sees(pilot, "▸ y")
        await press(pilot, "left")
        assert sees(pilot, "▸ y  Stop it") and not sees(pilot, "▸ n")


async def test_escape_ends_a_search_before_it_leaves_the_log() -> None:
    app, _service = app_on(busy(), log="one\ntwo\nthree")
    async with app.run_test(size=(80, 24)) as pilot:
        await _at(pilot, "l")
        await until(pilot, lambda: sees(pilot, "three"))
        await press(pilot, "slash", *"two", "enter")
        assert sees(pilot, "Next, previous")
        await press(pilot, "escape")
        assert app.screen is not app._dashboard
        assert not sees(pilot, "Next, previous")
        await press(pilot, "escape")
        assert isinstance(app.screen, Dashboard)


async def test_a_session_that_has_ended_meanwhile_is_not_extended() -> None:
    app, service = app_on(busy(), admin=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "w")
        assert sees(pilot, "Time limit", "Extend it by")
        assert service.now is not None
        chosen = service.now.sessions[3]
        ended = replace(chosen, state=SessionState.ENDED, result="timed out", time_left_s=None)
        others = tuple(s for s in service.now.sessions if s is not chosen)
        service.now = replace(service.now, sessions=(*others, ended))
        app._poller.refresh()
        await until(pilot, lambda: app._board.find(chosen.job_id) == ended)
        await press(pilot, "e")
        assert "desktop was not extended: it has ended" in toasts(pilot)[-1]
        assert service.operations.done == []


async def test_long_lines_of_a_log_are_wrapped_and_found_by_their_last_word() -> None:
    long = "a" * 140 + " needle"
    app, _service = app_on(busy(), log="\n".join(["first", *[long] * 40, "last"]))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "l")
        assert sees(pilot, "needle", "last")
        assert not sees(pilot, "first")
        await press(pilot, "g")
        assert sees(pilot, "first", "needle")
        await press(pilot, "slash", *"needle", "enter")
        assert sees(pilot, "40 of 40")
        await press(pilot, "n")
        assert sees(pilot, "1 of 40", "first")
        await pilot.resize_terminal(200, 24)
        await settled(pilot)
        assert any(line.strip().startswith(long) for line in text(pilot).splitlines())
        await press(pilot, "G")
        assert sees(pilot, "last")


@pytest.mark.parametrize(
    ("keys", "what"),
    [(("l",), "Follow"), (("h",), "6 hours"), (("C",), "Back")],
)
async def test_help_is_there_on_every_screen_and_it_is_the_screen_s(
    keys: tuple[str, ...], what: str
) -> None:
    app, _service = app_on(busy(), log="a line")
    async with app.run_test(size=(120, 40)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", *keys)
        below = app.screen
        await press(pilot, "question_mark")
        assert isinstance(app.screen, HelpScreen)
        assert sees(pilot, "Keys of this screen", what)
        assert not sees(pilot, "Signs")
        await press(pilot, "question_mark")
        assert app.screen is below
