"""Fixtures that make the dashboard deterministic: a fixed clock, no animation, no timers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual import constants
from textual.app import App
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet
from textual.widgets import Input

import vizdash.service.poller
import vizdash.ui.terminal.terminal_app
import vizdash.util.error_log
from vizdash.ui.screens.login_prompt import LoginWaitScreen
from vizdash.ui.screens.start import StartScreen
from vizdash.ui.widgets.row_details import Detail


@pytest.fixture(scope="session", autouse=True)
def parsed_once() -> Iterator[None]:
    """Parse each style sheet once for all tests, which saves a tenth of the CPU time."""
    parse = Stylesheet._parse_rules
    known: dict[object, list[RuleSet]] = {}

    def cached(sheet: Stylesheet, css: str, read_from: Any, *more: Any, **named: Any) -> Any:
        key = (css, read_from, more, *named.items(), *sheet._variables.items())
        if key not in known:
            known[key] = parse(sheet, css, read_from, *more, **named)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stylesheet, "_parse_rules", cached)
        yield


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No blinking cursor, no animation, and toasts that stay."""
    monkeypatch.setattr(vizdash.service.poller, "_FAST_S", 3600.0)
    monkeypatch.setattr(StartScreen, "PAUSE_S", 0.0)
    monkeypatch.setattr(LoginWaitScreen, "EVERY_S", 3600.0)
    monkeypatch.setattr(Detail, "PAUSE_S", 0.0)
    monkeypatch.setattr(vizdash.ui.terminal.terminal_app, "_NEWS_S", 3600)
    monkeypatch.setattr(vizdash.ui.terminal.terminal_app, "_ERROR_S", 3600)
    monkeypatch.setattr(App, "NOTIFICATION_TIMEOUT", 3600)
    monkeypatch.setattr(constants, "TEXTUAL_ANIMATIONS", "none")
    monkeypatch.setattr(Input, "_toggle_cursor", lambda self: None)


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The entries for the log of unexpected errors: a test that expects some clears them."""
    entries: list[str] = []
    monkeypatch.setattr(vizdash.util.error_log, "write_soon", entries.append)
    yield entries
    assert not entries, "\n".join(entries)


@pytest.fixture(autouse=True)
def theme_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make colours and size independent of the tester's environment."""
    for name in ("NO_COLOR", "COLORTERM", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has saved nothing."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("CONFIG", "STATE", "DATA", "CACHE"):
        monkeypatch.delenv(f"XDG_{name}_HOME", raising=False)


@pytest.fixture(autouse=True)
def in_utc(utc: None) -> None:
    """Show all times in UTC."""
