"""News: no more of it than can be read, none over a dialog; a broken worker is news too."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from tests.ui.drive import begin, press, sees, settled, text, toasts, until
from tests.ui.fake import app_on, busy
from vizdash.ui.screens.confirm import Confirm
from vizdash.ui.screens.dashboard import Dashboard

_FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/vizdash-1")
_LATIN = UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid continuation byte")


async def test_at_most_two_are_shown_and_the_same_one_once() -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await begin(pilot)
        app.trouble("the worst of it")
        for told in ("one", "two", "two", "three", "two"):
            app.news(told)
        await until(pilot, lambda: sees(pilot, "the worst of it", "two"))
        await settled(pilot)
        assert toasts(pilot) == ["the worst of it", "two"]
        assert text(pilot).count("two") == 1


async def test_none_lies_over_a_dialog_and_it_comes_afterwards() -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "x")
        assert isinstance(app.screen, Confirm)
        app.news("\n".join(["something happened elsewhere"] * 6))
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
        app.news("read this")
        await until(pilot, lambda: sees(pilot, "read this"))
        await press(pilot, "escape")
        await until(pilot, lambda: not sees(pilot, "read this"))
        assert len(app._dashboard.sessions.marked) == 1
        await press(pilot, "escape")
        assert not app._dashboard.sessions.marked


@pytest.mark.parametrize("error", [_FULL, _LATIN, RuntimeError("what\nis this?")], ids=repr)
@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (("o",), "open_refusal"),
        (("x", "y"), "stop_refusal"),
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
        told = app._board.failure if answer == "failure" else ""
        await until(pilot, lambda: any(str(words) in line for line in [told, *toasts(pilot)]))
        assert all("\n" not in line for line in toasts(pilot))
        assert "Traceback" in logged[0]
        await press(pilot, "1", "2")
        assert app.is_running
        logged.clear()
