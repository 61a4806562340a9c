"""The program as the tests need it: its clock stands, nothing moves by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from textual import constants
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet
from textual.widgets import Input

import vizdash.errorlog
import vizdash.poller
import vizdash.ui.app
from vizdash.ui.screens.prompt import WaitScreen
from vizdash.ui.screens.start import StartScreen
from vizdash.ui.widgets.detail import Detail


@pytest.fixture(scope="session", autouse=True)
def parsed_once() -> Iterator[None]:
    """Each app of a test parses the same style sheets anew, twice: a tenth of the CPU."""
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
    """No blinking cursor, no animation, no news that goes away while it is looked at."""
    monkeypatch.setattr(vizdash.poller, "_FAST_S", 3600.0)
    monkeypatch.setattr(StartScreen, "PAUSE_S", 0.0)
    monkeypatch.setattr(WaitScreen, "EVERY_S", 3600.0)
    monkeypatch.setattr(Detail, "PAUSE_S", 0.0)
    monkeypatch.setattr(vizdash.ui.app, "_NEWS_S", 3600)
    monkeypatch.setattr(vizdash.ui.app, "_ERROR_S", 3600)
    monkeypatch.setattr(constants, "TEXTUAL_ANIMATIONS", "none")
    monkeypatch.setattr(Input, "_toggle_cursor", lambda self: None)


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The entries for the log of unexpected errors: a test that expects some clears them."""
    entries: list[str] = []
    monkeypatch.setattr(vizdash.errorlog, "write_soon", entries.append)
    yield entries
    assert not entries, "\n".join(entries)


@pytest.fixture(autouse=True)
def nobody_s_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tester's own terminal and time zone decide nothing."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(autouse=True)
def no_colour_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours are those of the theme."""
    for name in ("NO_COLOR", "COLORTERM", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
