"""Opening a desktop in a native viewer, or in the browser with another quality, by a key."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from tests.ui.fake import app_on, busy
from tests.ui.pilot import begin, press, sees, toasts, until

_READY = ("down", "down", "down")


class FakeViewer:
    """A viewer that its user closes."""

    def __init__(self, why: str = "", *, asks: bool = False) -> None:
        self.viewer = SimpleNamespace(kind="TigerVNC", program="/usr/bin/vncviewer")
        self.asks = asks
        self.why = why
        self.left = asyncio.Event()
        self.closed = False

    async def wait(self) -> str:
        """Wait until it is closed."""
        await self.left.wait()
        return self.why

    async def close(self) -> None:
        """End it."""
        self.closed = True


async def test_another_quality_is_kept_and_applies_to_an_open_desktop() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "o")
        await until(pilot, lambda: service.browsed == 1)
        await press(pilot, "O")
        await until(pilot, lambda: sees(pilot, "● browser, auto quality", "native viewer"))
        await press(pilot, "down", "down", "enter")
        await until(pilot, lambda: service.browsed == 2)
        assert service.quality == "low"
        assert len(service.routes) == 1
        assert service.routes[0].url.endswith("&quality=0&compression=9")


async def test_without_a_screen_the_verb_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vizdash.ui.controllers.desktops.has_screen", lambda: False)
    app, service = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "O")
        await until(pilot, lambda: sees(pilot, "native viewer"))
        await press(pilot, "enter")
        await until(pilot, lambda: any("there is no screen here" in t for t in toasts(pilot)))
        assert "--viewer shows the line" in toasts(pilot)[-1]
        assert service.routes == []


@pytest.mark.parametrize("why", ["", "cannot open display"])
async def test_a_viewer_is_held_until_it_is_closed(
    monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr("vizdash.ui.controllers.desktops.has_screen", lambda: True)
    viewer = FakeViewer(why)
    app, service = app_on(busy(), viewer=viewer)
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "O")
        await until(pilot, lambda: sees(pilot, "native viewer"))
        await press(pilot, "enter")
        await until(pilot, lambda: any("is open in TigerVNC" in t for t in toasts(pilot)))
        # It would lose its desktop.
        await press(pilot, "q")
        await until(pilot, lambda: sees(pilot, "1 desktop is open through vizdash"))
        await press(pilot, "n")
        viewer.left.set()
        last = f"/usr/bin/vncviewer: {why}" if why else "was closed; the session keeps running"
        await until(pilot, lambda: any(last in text for text in toasts(pilot)))
        assert viewer.closed
        assert service.routes[0].closed


async def test_quitting_closes_the_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vizdash.ui.controllers.desktops.has_screen", lambda: True)
    viewer = FakeViewer()
    app, service = app_on(busy(), viewer=viewer)
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "O")
        await until(pilot, lambda: sees(pilot, "native viewer"))
        await press(pilot, "enter")
        await until(pilot, lambda: any("is open in TigerVNC" in t for t in toasts(pilot)))
        await press(pilot, "q")
        await until(pilot, lambda: sees(pilot, "1 desktop is open through vizdash"))
        await press(pilot, "y")
    assert viewer.closed
    assert service.routes[0].closed
