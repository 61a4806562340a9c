"""Toasts: as many as can be read, none over a dialog; a broken worker gives one too."""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import Any

import pytest
from textual.screen import Screen

from tests.fakes import FakeEngine
from tests.ui.fake import app_on, busy
from tests.ui.pilot import begin, press, sees, settled, text, toasts, until
from vizdash.ui.screens.confirm import ConfirmScreen
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.screens.load_history import LoadHistoryScreen
from vizdash.ui.screens.session_details import SessionDetailsScreen
from vizdash.ui.screens.start import StartScreen
from vizdash.ui.screens.text_prompt import TextPromptScreen
from vizdash.ui.widgets.thumbnail import Thumbnail

_FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/vizdash-1")
_LATIN = UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid continuation byte")


async def test_at_most_two_are_shown_and_the_same_one_once() -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await begin(pilot)
        app.report_error("the worst of it")
        for shown in ("one", "two", "two", "three", "two"):
            app.inform(shown)
        await until(pilot, lambda: sees(pilot, "the worst of it", "two"))
        await settled(pilot)
        assert toasts(pilot) == ["the worst of it", "two"]
        assert text(pilot).count("two") == 1


async def test_none_lies_over_a_dialog_and_it_comes_afterwards() -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "x")
        assert isinstance(app.screen, ConfirmScreen)
        app.inform("\n".join(["something happened elsewhere"] * 6))
        await until(pilot, lambda: toasts(pilot))
        await settled(pilot)
        assert sees(pilot, "y  Stop it", "n  Keep it")
        assert "elsewhere" not in text(pilot)
        await press(pilot, "n")
        await until(pilot, lambda: sees(pilot, "something happened"))


async def test_escape_takes_them_away_and_leaves_the_marks() -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await begin(pilot)
        await press(pilot, "space")
        app.inform("read this")
        await until(pilot, lambda: sees(pilot, "read this"))
        await press(pilot, "escape")
        await until(pilot, lambda: not sees(pilot, "read this"))
        assert len(app.dashboard.sessions.marked) == 1
        await press(pilot, "escape")
        assert not app.dashboard.sessions.marked


async def test_a_handler_that_breaks_leaves_its_screen_and_the_dashboard(
    monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """One of the dashboard, a timer and a key of a dialog."""
    app, service = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down")

        def broken(*_: object) -> None:
            raise RuntimeError("a fault")

        with monkeypatch.context() as patch:
            patch.setitem(app.controllers.handlers, "stop", broken)
            await press(pilot, "x")
            await until(pilot, lambda: len(logged) == 1)
            assert isinstance(app.screen, Dashboard)
        with monkeypatch.context() as patch:
            patch.setattr(ConfirmScreen, "follow", broken)
            patch.setattr(ConfirmScreen, "action_other", broken)
            await press(pilot, "x", "left", "left")
            await until(pilot, lambda: len(logged) >= 3)
            await press(pilot, "y")
            await until(pilot, lambda: service.stopped)
        await until(pilot, lambda: any("RuntimeError: a fault" in line for line in toasts(pilot)))
        assert all("Traceback" in entry for entry in logged)
        await press(pilot, "1", "2", "question_mark")
        assert sees(pilot, "esc closes")
        assert app.is_running
        logged.clear()


@pytest.mark.parametrize(
    ("keys", "screen"),
    [
        ("x", ConfirmScreen),
        ("v", SessionDetailsScreen),
        ("n", StartScreen),
        ("h", LoadHistoryScreen),
        ("m", TextPromptScreen),
    ],
)
@pytest.mark.parametrize("method", ["compose", "on_mount", "on_resize"])
async def test_a_screen_that_breaks_at_its_start_leaves_the_dashboard(
    keys: str,
    screen: type[Screen[object]],
    method: str,
    monkeypatch: pytest.MonkeyPatch,
    logged: list[str],
) -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down")

        def broken(*_: object) -> None:
            raise RuntimeError("a fault")

        with monkeypatch.context() as patch:
            patch.setattr(screen, method, broken, raising=False)
            await press(pilot, keys)
            await until(pilot, lambda: logged)
            if method == "compose":
                await until(pilot, lambda: isinstance(app.screen, Dashboard))
            else:
                await press(pilot, "escape")
        await until(pilot, lambda: isinstance(app.screen, Dashboard))
        await until(pilot, lambda: any("RuntimeError: a fault" in line for line in toasts(pilot)))
        await press(pilot, keys)
        await until(pilot, lambda: isinstance(app.screen, screen))
        assert app.screen.children
        assert app.is_running
        logged.clear()


async def test_a_worker_that_keeps_failing_ends_the_dashboard(logged: list[str]) -> None:
    app, _service = app_on(busy())

    def broken() -> None:
        app.call_later(broken)
        raise RuntimeError("again")

    async def run() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            await begin(pilot)
            app.call_later(broken)
            await until(pilot, lambda: not app.is_running)

    with pytest.raises(RuntimeError, match="again"):
        await run()
    assert app.return_code == 1
    logged.clear()


@pytest.mark.parametrize("answer", ["rights", "tunnels", "picture"])
async def test_a_worker_in_the_background_is_not_silent(
    answer: str, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    app, service = app_on(busy())

    async def broken(*_: object) -> None:
        raise RuntimeError("a fault")

    assert service.now is not None
    if answer == "rights":
        monkeypatch.setattr(service, "info", broken)
    else:
        monkeypatch.setattr(service.tunnels, "read_others", broken)
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        if answer == "picture":
            thumbnail = app.screen.query_one(Thumbnail)

            monkeypatch.setattr(thumbnail, "_until_seen", broken)
            thumbnail.show_source(partial(service.preview, service.now.sessions[3]))
        elif answer == "tunnels":
            await press(pilot, "t")
        await until(pilot, lambda: any("RuntimeError: a fault" in t for t in toasts(pilot)))
        await press(pilot, "escape", "1", "2")
        assert logged
        assert app.is_running
        logged.clear()


@pytest.mark.parametrize("error", [_FULL, _LATIN, RuntimeError("what\nis this?")], ids=repr)
@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (("o",), "open_refusal"),
        (("x", "y"), "cancel"),
        (("n", "enter", "escape"), "refusal"),
        (("n",), "fit_failure"),
        (("l",), "log_refusal"),
        (("R",), "failure"),
    ],
)
async def test_a_worker_that_breaks_is_one_line_and_an_entry_in_the_log(
    keys: tuple[str, ...], answer: str, error: Exception, logged: list[str]
) -> None:
    """As on a full /tmp, a home that is gone, a name in Latin-1: the dashboard stays."""
    error = type(error)(*error.args, *([error.filename] if isinstance(error, OSError) else []))
    answers: dict[str, Any] = {} if answer == "failure" else {answer: error}
    if answer == "cancel":
        answers = {"engine": FakeEngine(refusals=answers)}
    app, service = app_on(busy(), **answers)
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down")
        if answer == "failure":
            service.failure = error  # type: ignore[assignment]
        await press(pilot, *keys)
        await until(pilot, lambda: logged)
        words = error.strerror if isinstance(error, OSError) else type(error).__name__
        while not isinstance(app.screen, Dashboard):
            await press(pilot, "escape")
        shown = app.state.failure if answer == "failure" else ""
        await until(pilot, lambda: any(str(words) in line for line in [shown, *toasts(pilot)]))
        assert all("\n" not in line for line in toasts(pilot))
        assert "Traceback" in logged[0]
        await press(pilot, "1", "2")
        assert app.is_running
        logged.clear()
