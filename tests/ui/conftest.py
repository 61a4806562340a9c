"""The program as the tests need it: its clock stands, nothing moves by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from textual import constants
from textual.widgets import Input

import vizdash.poller
import vizdash.ui.app
from vizdash.ui.screens.start import StartScreen
from vizdash.ui.widgets.detail import Detail


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No blinking cursor, no animation, no news that goes away while it is looked at."""
    monkeypatch.setattr(vizdash.poller, "_FAST_S", 3600.0)
    monkeypatch.setattr(StartScreen, "PAUSE_S", 0.0)
    monkeypatch.setattr(Detail, "PAUSE_S", 0.0)
    monkeypatch.setattr(vizdash.ui.app, "_NEWS_S", 3600)
    monkeypatch.setattr(vizdash.ui.app, "_ERROR_S", 3600)
    monkeypatch.setattr(constants, "TEXTUAL_ANIMATIONS", "none")
    monkeypatch.setattr(Input, "_toggle_cursor", lambda self: None)


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
