"""Sharing a desktop from the dashboard, and the list of what others share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.ui.fake import app_on, busy
from tests.ui.pilot import begin, click_row, press, sees, toasts, until
from vizdash.errors import UsageError
from vizdash.sessions.join import Offer
from vizdash.ui.controllers.shares import parse_share

OFFER = Offer("3f9a01bc", "4711", "desktop", "olga", control=True, expires_at=None, folder="/tmp/x")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("bob", ("bob", False, 0)),
        ("bob control", ("bob", True, 0)),
        ("bob 1h", ("bob", False, 3600)),
        (" bob  90m control ", ("bob", True, 5400)),
    ],
)
def test_what_the_owner_writes(text: str, meaning: tuple[str, bool, int]) -> None:
    assert parse_share(text) == meaning


@pytest.mark.parametrize("text", ["", "bob 1h 2h", "bob forever", "bob controls"])
def test_what_is_not_understood(text: str) -> None:
    with pytest.raises(UsageError, match="was not understood"):
        parse_share(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bob for ever", "the desktop was not shared: 'bob for ever' was not understood"),
        ("-x", "--with -x: that is no user's name"),
    ],
)
async def test_the_reason_of_a_refusal_is_shown(text: str, reason: str) -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=(140, 24)) as pilot:
        await begin(pilot)
        await click_row(pilot, app.dashboard.sessions, 3)
        await press(pilot, "W")
        assert sees(pilot, "Share a desktop", "Who may watch desktop")
        await press(pilot, *(" " if c == " " else c for c in text), "enter")
        await until(pilot, lambda: any(reason in one for one in toasts(pilot)), reason)


async def test_an_offer_is_joined_and_a_failure_is_shown() -> None:
    app, _service = app_on(busy(), offers=(OFFER,))
    async with app.run_test(size=(140, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "J")
        assert sees(pilot, "Shared with you", "desktop 3f9a01bc of olga: you may use it")
        await press(pilot, "enter")
        why = "shares on the login host: exit code 1"
        await until(pilot, lambda: why in toasts(pilot), why)


async def test_who_watches_is_in_the_note_of_the_row() -> None:
    day = busy()
    sessions = tuple(
        replace(s, watched_by=("bob", "carol")) if s.app == "desktop" and s.mine else s
        for s in day.sessions
    )
    app, _service = app_on(replace(day, sessions=sessions))
    async with app.run_test(size=(180, 40)) as pilot:
        await begin(pilot)
        assert sees(pilot, "bob, carol watch")
