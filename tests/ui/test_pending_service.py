"""The first screen comes before the service: keys of lists work at once, and actions wait."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace

import pytest

from tests.ui.fake import AT, FakeService, busy
from tests.ui.pilot import begin, press, sees, settled, toasts, until
from vizdash.errors import Unreachable
from vizdash.ui.app import VizdashApp
from vizdash.ui.controllers.desktops import OpenDesktops
from vizdash.ui.pending_service import PendingService
from vizdash.ui.screens.help import HelpScreen

SAVED = replace(busy(), taken_at=AT - 720, saved=True)


class Connecting:
    """A service that is there once ``answer`` is set, or ``failure`` instead."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.service = FakeService(busy())
        self.answer = asyncio.Event()
        self.failure = failure

    async def connect(self) -> tuple[FakeService, OpenDesktops]:
        await self.answer.wait()
        if self.failure is not None:
            raise self.failure
        return self.service, OpenDesktops(self.service)

    def app(self) -> VizdashApp:
        pending = PendingService(self.service.config, SAVED, self.connect)
        return VizdashApp(pending, clock=lambda: AT)


async def test_the_saved_screen_comes_before_the_service() -> None:
    connecting = Connecting()
    app = connecting.app()
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: sees(pilot, "saved 12 min ago", "viz-node002"))
        await pilot.press("1", "down")
        await until(pilot, lambda: app.dashboard.nodes.row == SAVED.nodes[1])
        await pilot.press("2", "x")
        await until(pilot, lambda: toasts(pilot))
        assert toasts(pilot) == ["Stop: the cluster has not answered yet"]
        assert not app.connected
        connecting.answer.set()
        await until(pilot, lambda: not sees(pilot, "saved 12 min ago"))
        await settled(pilot)
        assert connecting.service.stopped == []


async def test_an_action_waits_for_the_service() -> None:
    connecting = Connecting()
    app = connecting.app()
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: sees(pilot, "viz-node002"))
        await pilot.press("question_mark")
        await until(pilot, lambda: app._waiting)
        assert not isinstance(app.screen, HelpScreen)
        connecting.answer.set()
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await press(pilot, "escape")
        await begin(pilot)


@pytest.mark.parametrize("key", ["q", "ctrl+q"])
async def test_quitting_waits_for_no_service(key: str) -> None:
    app = Connecting().app()
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: sees(pilot, "viz-node002"))
        await pilot.press(key)
        await until(pilot, lambda: not app.is_running)
    assert not app.connected
    assert app.failure is None


async def test_an_end_before_the_connection_begins_leaves_no_coroutine() -> None:
    app = Connecting().app()
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: sees(pilot, "viz-node002"))
        app._connect_soon()
        app.workers.cancel_all()  # before the worker's first step
        app.exit()
    gc.collect()  # pytest fails a test whose coroutine nothing has awaited


async def test_the_dashboard_ends_without_a_service() -> None:
    connecting = Connecting(Unreachable("login.example.org", "no such host"))
    app = connecting.app()
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: sees(pilot, "viz-node002"))
        connecting.answer.set()
        await until(pilot, lambda: not app.is_running)
    assert app.failure is connecting.failure
