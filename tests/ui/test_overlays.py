"""What opens over the dashboard: the confirmation, the log, the help."""

from __future__ import annotations

import asyncio
import textwrap
from dataclasses import replace

import pytest
from textual.widgets import Input

from tests.ui.fake import FakeService, app_on, busy, snapshot
from tests.ui.pilot import AnyPilot, begin, press, sees, settled, text, toasts, until
from vizdash.actions import REGISTRY
from vizdash.errors import NotFound
from vizdash.model import Session, SessionState
from vizdash.ui.app import VizdashApp
from vizdash.ui.present.nodes import NODE_LEGEND
from vizdash.ui.present.sessions import SESSION_LEGEND
from vizdash.ui.screens.confirm import ConfirmScreen
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.screens.help import HelpScreen
from vizdash.ui.screens.session_log import SessionLogScreen
from vizdash.ui.screens.text_prompt import TextPromptScreen


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
        assert isinstance(app.screen, ConfirmScreen)
        assert sees(pilot, "desktop on viz-node002", "Unsaved work is lost.")
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
        assert not sees(pilot, "line 103")  # it stays where the user reads
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
        assert not sees(pilot, "line 1000")  # it stays where the user reads
        await press(pilot, "slash", *"x")
        assert sees(pilot, "n N not found")
        await press(pilot, "escape")
        assert not sees(pilot, "n N")
        await press(pilot, "escape")
        assert isinstance(app.screen, Dashboard)


async def test_a_log_that_replaces_another_is_read_from_its_start() -> None:
    app, service = app_on(busy(), log="one\ntwo")
    async with app.run_test(size=(80, 24)) as pilot:
        await _at(pilot, "l")
        service.log = "three\nfour"
        await press(pilot, "r")
        await until(pilot, lambda: sees(pilot, "four"))
        assert not sees(pilot, "two")


class SlowLog:
    """A log that is read for as long as the gate is closed; ``live`` reports of each reading
    whether it began while the session was seen to live.
    """

    def __init__(self, app: VizdashApp, service: FakeService, monkeypatch: pytest.MonkeyPatch):
        self.gate = asyncio.Event()
        self.live: list[bool] = []
        self._app, self._service = app, service
        monkeypatch.setattr(service.sessions, "log", self._logs)
        monkeypatch.setattr("vizdash.ui.screens.session_log._EVERY_S", 3600.0)

    async def _logs(self, session: Session, *, lines: int) -> str:
        self.live.append(session.live)
        text = self._service.log
        await self.gate.wait()
        return text

    async def opened(self, pilot: AnyPilot) -> SessionLogScreen:
        await begin(pilot)
        await press(pilot, "down", "down", "down")
        await pilot.press("l")
        await until(pilot, lambda: self.live)
        assert isinstance(self._app.screen, SessionLogScreen)
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
        await pilot.press("r")  # a user does
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
        app.refresh_snapshot()
        await until(pilot, lambda: app.state.find(mine.job_id) == gone)
        screen._again()  # the end is seen during a reading that began before
        service.log += "\nlibGLU.so.1 is missing"
        log.gate.set()
        await settled(pilot)
        assert not sees(pilot, "libGLU.so.1")
        for _ in range(3):
            screen._again()
            await settled(pilot)
        assert sees(pilot, "✗ failed", "libGLU.so.1 is missing")
        assert log.live == [True, False]


async def test_a_log_that_is_not_there_gives_the_reason() -> None:
    app, service = app_on(busy(), log_refusal=NotFound("log of 4f2a", "the job has not begun"))
    async with app.run_test(size=(80, 24)) as pilot:
        await _at(pilot, "l")
        await until(pilot, lambda: sees(pilot, "log of 4f2a: the job has not begun"))
        service.log_refusal, service.log = None, "begun"
        await press(pilot, "r")
        await until(pilot, lambda: sees(pilot, "begun"))


async def test_an_empty_log_is_reported_and_control_characters_are_shown() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await _at(pilot, "l")
        await until(pilot, lambda: sees(pilot, "the log is empty"))
        assert text(pilot).splitlines()[-1].split() == ["esc", "Back", "r", "Reload"]
        await press(pilot, "slash")
        assert app.focused is not None and app.focused.id != "log-search"
        service.log = "\x1b[2Jboo\ttab"
        await press(pilot, "r")
        await until(pilot, lambda: sees(pilot, r"\x1b[2Jboo"))
        assert isinstance(app.screen, SessionLogScreen)


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
        for glyph, _, word, _ in (*NODE_LEGEND, *SESSION_LEGEND):
            assert f"{glyph} {word}" in shown
        await press(pilot, "question_mark")
        assert isinstance(app.screen, Dashboard)


async def test_a_question_follows_its_session() -> None:
    """It ends while the question is open: it is not shown as ready, and nothing is stopped."""
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await _at(pilot, "x")
        screen, shown = app.screen, app.dashboard.sessions.row
        assert isinstance(screen, ConfirmScreen) and shown is not None
        assert sees(pilot, "● ready")
        ended = replace(shown, state=SessionState.ENDED, result="finished", time_left_s=None)
        others = [s for s in busy().sessions if s.job_id != shown.job_id]
        service.now = replace(busy(), sessions=(ended, *others))
        app.refresh_snapshot()
        await until(pilot, lambda: app.state.find(shown.job_id) == ended)
        screen.follow()
        await settled(pilot)
        assert sees(pilot, "✓ finished", "It has already ended")
        await press(pilot, "y")
        assert isinstance(app.screen, Dashboard)
        assert not service.stopped


async def test_a_question_about_several_names_whose_and_which() -> None:
    app, service = app_on(busy(), admin=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        live = [s for s in busy().sessions if s.live]
        await press(pilot, *["space"] * len(live), "x")
        assert isinstance(app.screen, ConfirmScreen)
        for one in live:
            assert sees(pilot, f"{one.id} · job {one.job_id}")
        assert sees(pilot, "(björn)")
        await press(pilot, "y")
        await until(pilot, lambda: len(service.stopped) == len(live))


async def test_a_sign_shows_which_answer_enter_gives() -> None:
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
        assert app.screen is not app.dashboard
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
        app.refresh_snapshot()
        await until(pilot, lambda: app.state.find(chosen.job_id) == ended)
        await press(pilot, "e")
        assert "desktop was not extended: it has ended" in toasts(pilot)[-1]
        assert service.fake_engine.changes == []


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
async def test_every_screen_has_its_own_help(keys: tuple[str, ...], what: str) -> None:
    app, _service = app_on(busy(), log="a line")
    async with app.run_test(size=(120, 40)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", *keys)
        below = app.screen
        await press(pilot, "question_mark")
        assert isinstance(app.screen, HelpScreen)
        assert sees(pilot, "Keys of this screen", what)
        assert not sees(pilot, "Symbols")
        await press(pilot, "question_mark")
        assert app.screen is below


@pytest.mark.parametrize("key", ["question_mark", "f1"])
@pytest.mark.parametrize("dialog", ["x", "w", "c", "n", "t", "at", "h", "C", "l"])
async def test_every_screen_and_dialog_has_help(dialog: str, key: str) -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await _at(pilot, dialog)
        under = app.screen
        assert not isinstance(under, Dashboard)
        await press(pilot, key)
        assert isinstance(app.screen, HelpScreen)
        assert sees(pilot, "Keys of this screen")
        await press(pilot, key)
        assert app.screen is under
    assert service.stopped == []


async def test_a_text_field_takes_the_question_mark_and_f1_is_help() -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await _at(pilot, "m")
        prompt = app.screen
        await press(pilot, *"why", "question_mark")
        assert app.screen is prompt
        assert prompt.query_one(Input).value == "why?"
        await press(pilot, "f1")
        assert isinstance(app.screen, HelpScreen)
        await press(pilot, "escape")
        assert app.screen is prompt
        await press(pilot, "escape", "f1")
        assert sees(pilot, "Sessions", "esc closes")


async def test_a_message_follows_its_session() -> None:
    """It ends while the message is written: that is shown, and nothing is sent."""
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await _at(pilot, "m")
        screen, shown = app.screen, app.dashboard.sessions.row
        assert isinstance(screen, TextPromptScreen) and shown is not None
        assert sees(pilot, "It is shown on your desktop")
        ended = replace(shown, state=SessionState.ENDED, result="finished", time_left_s=None)
        others = [s for s in busy().sessions if s.job_id != shown.job_id]
        service.now = replace(busy(), sessions=(ended, *others))
        app.refresh_snapshot()
        await until(pilot, lambda: app.state.find(shown.job_id) == ended)
        screen.follow()
        await until(pilot, lambda: sees(pilot, "it has ended"))
        await press(pilot, *"hello", "enter")
        await until(pilot, lambda: any("the message was not shown" in t for t in toasts(pilot)))
    assert service.fake_engine.changes == []


@pytest.mark.parametrize(
    ("keys", "signs", "others"),
    [
        (("v", "question_mark"), ("● ready", "✗ failed"), ("◑ mixed", "≠ another digest")),
        (("M", "question_mark"), ("≠ another digest", "✓ current"), ("◑ mixed", "◌ ending")),
    ],
)
async def test_the_legend_belongs_to_its_screen(
    keys: tuple[str, ...], signs: tuple[str, ...], others: tuple[str, ...]
) -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=(160, 60)) as pilot:
        await begin(pilot)
        await press(pilot, *keys)
        assert sees(pilot, *signs)
        assert not any(sign in text(pilot) for sign in others)
