"""Saved sizes, and a session that is started again with its size and account."""

from __future__ import annotations

import pytest

from tests.ui.fake import (
    G,
    app_on,
    busy,
    empty,
    node,
    ready,
    snapshot,
)
from tests.ui.pilot import begin, press, sees, text, until
from vizdash.model import Resources, SessionRequest
from vizdash.service.presets import presets_file
from vizdash.ui.screens.start import StartScreen


async def test_a_size_is_saved_chosen_and_forgotten() -> None:
    app, service = app_on(empty())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n", "tab", "tab", "7")
        assert sees(pilot, "● custom")
        await press(pilot, "ctrl+s", *"mine", "enter")
        assert sees(pilot, "✓ saved as ★ mine", "● ★ mine")
        await press(pilot, "escape", "n", "tab", "left", "left")
        await press(pilot, *["left"] * 2)
        for _ in range(5):
            if sees(pilot, "● ★ mine"):
                break
            await press(pilot, "right")
        assert sees(pilot, "● ★ mine", "^d deletes")
        await press(pilot, "enter")
        await until(pilot, lambda: service.started)
        assert service.started[0].resources.cores == 7
        await press(pilot, "n", "ctrl+d")
        assert "★ mine deleted" in text(pilot) or "only saved sizes" in text(pilot)


async def test_a_preset_that_cannot_be_removed_is_reported() -> None:
    last = SessionRequest("desktop", Resources(7, 7 * G, 0, 7200))
    app, service = app_on(empty(), last=last)
    service.user_data.presets.save("mine", last)
    file = presets_file("viz")
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        assert sees(pilot, "● ★ mine")
        file.write_text("damaged by another program")
        await press(pilot, "ctrl+d")
        await until(pilot, lambda: sees(pilot, "it is not JSON", "● ★ mine"))
        assert file.read_text() == "damaged by another program"


async def test_nothing_is_saved_without_a_name() -> None:
    app, _ = app_on(empty())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n", "ctrl+s", "escape")
        assert isinstance(app.screen, StartScreen)
        assert not presets_file("viz").exists()
        await press(pilot, "ctrl+d")
        assert sees(pilot, "only saved sizes can be deleted")


async def test_the_chosen_session_is_started_again_with_its_size() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "A", "enter")
        await until(pilot, lambda: service.started)
        assert service.started == [
            SessionRequest(
                "paraview", Resources(8, 32 * G, 1, 14400), geometry="1920x1080", partition="viz"
            )
        ]


@pytest.mark.parametrize("mine", [True, False])
async def test_your_own_session_is_repeated_on_the_same_account(mine: bool) -> None:
    one = ready(1, account="chem", qos="long", mine=mine, user="anna" if mine else "björn")
    app, service = app_on(snapshot(sessions=(one,), nodes=(node(1),)))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "A", "enter")
        await until(pilot, lambda: service.started)
        (request,) = service.started
        assert (request.account, request.qos) == (("chem", "long") if mine else ("", ""))


async def test_on_the_newer_image_it_is_charged_to_the_same_account() -> None:
    one = ready(1, account="chem", qos="long", newer_version="2.2")
    app, service = app_on(snapshot(sessions=(one,), nodes=(node(1),)))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "N")
        await until(pilot, lambda: service.started)
        assert service.started == [
            SessionRequest("desktop", one.resources, account="chem", qos="long", partition="viz")
        ]
