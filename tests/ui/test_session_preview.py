"""The preview and the log beside a session: fetched for your own, and only while they are shown."""

from __future__ import annotations

import asyncio

import pytest

from tests.ui.fake import LOG, LOOKING, app_on, busy
from tests.ui.pilot import begin, press, sees, toasts, until
from vizdash.errors import Unreachable
from vizdash.model import Session
from vizdash.sessions.folder_summary import FolderSummary
from vizdash.ui.app import VizdashApp
from vizdash.ui.screens.session_details import SessionDetailsScreen
from vizdash.ui.widgets.row_details import Detail
from vizdash.ui.widgets.thumbnail import Thumbnail

WIDE, SMALL = (160, 48), (80, 24)
_READY = ("down", "down", "down")
MINE, OTHERS = busy().sessions[3], busy().sessions[4]


async def test_your_ready_desktop_is_shown_beside_its_row() -> None:
    app, service = app_on(busy(), log=LOG, config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY)
        await until(pilot, lambda: service.looked_at == [MINE.id])
        shown = pilot.app.screen.query_one(Thumbnail)
        await until(pilot, lambda: shown.picture is not None)
        assert sees(pilot, "▀▀▀▀▀▀▀▀", "log ", "vizdash: step ready", "→ ready +12s")
        trails = len(service.trails)
        await press(pilot, "down")  # another user's, and ready
        await until(pilot, lambda: service.looked_at == [])
        assert not sees(pilot, "▀▀▀")
        assert not sees(pilot, "vizdash: step ready")
        await press(pilot, "up", "1")  # and a node
        await until(pilot, lambda: service.looked_at == [])
        assert OTHERS.id not in service.trails
        assert len(service.trails) == trails + 1


async def test_nothing_is_fetched_for_rows_that_are_only_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        before = list(service.trails)
        monkeypatch.setattr(Detail, "PAUSE_S", 3600.0)
        for key in _READY:
            await pilot.press(key)
        await until(pilot, lambda: sees(pilot, f"session    {MINE.id}"))
        running = [w for w in app.workers if w.group == "trail" and w.is_running]
        assert len(running) == 1
        assert service.trails == before
        assert service.looked_at == []


async def test_a_poll_that_brought_nothing_fetches_nothing() -> None:
    app, service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY)
        fetched = list(service.trails)
        asked = service.asked
        app.refresh_snapshot()
        await until(pilot, lambda: service.asked > asked)
        await press(pilot)
        app.tick()
        await press(pilot)
        assert service.trails == fetched


async def test_a_small_terminal_fetches_nothing_until_it_is_asked_to() -> None:
    app, service = app_on(busy(), log=LOG, config=LOOKING)
    async with app.run_test(size=SMALL) as pilot:
        await begin(pilot)
        await press(pilot, *_READY)
        assert (service.trails, service.looked_at) == ([], [])
        await press(pilot, "v")
        assert isinstance(app.screen, SessionDetailsScreen)
        shown = app.screen.query_one(Thumbnail)
        await until(pilot, lambda: shown.picture is not None)
        assert sees(pilot, "Session  ● ready", "owner you", "6 of 16 cores allocated", "step ready")
        small = shown.picture.height if shown.picture else 0
        await press(pilot, "v")
        await until(pilot, lambda: shown.picture and shown.picture.height > 2 * small)
        assert not sees(pilot, "owner you")
        await press(pilot, "v")
        assert sees(pilot, "owner you")
        await press(pilot, "escape")
        await until(pilot, lambda: app.screen is app.dashboard)
        await until(pilot, lambda: service.looked_at == [])


async def test_a_desktop_is_not_fetched_twice_at_a_time() -> None:
    app, service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY)
        first = app.dashboard.query_one(Thumbnail)
        await until(pilot, lambda: first.picture is not None)
        await press(pilot, "v")
        large = app.screen.query_one(Thumbnail)
        assert large is not first
        await until(pilot, lambda: large.picture is not None)
        await until(pilot, lambda: service.looked_at == [MINE.id])
        assert first.picture is None
        await press(pilot, "escape")
        await until(pilot, lambda: first.picture is not None)
        assert service.looked_at == [MINE.id]


async def test_why_there_is_nothing_to_see_stands_in_its_place() -> None:
    gone = Unreachable("ssh viz-node002", "no route to host")
    silent = Unreachable("the folder", "the login host does not answer")
    app, service = app_on(busy(), preview_refusal=gone, trail_refusal=silent, config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY)
        await until(
            pilot, lambda: sees(pilot, "viz-node002: no route to", "the login host does not")
        )
        assert toasts(pilot) == []
        # The next fetch is by a key, or when the connection is restored.
        service.preview_refusal = service.trail_refusal = None
        app.controllers.connection.resume("the connection is back")
        await until(pilot, lambda: sees(pilot, "▀▀▀▀", "empty so far"))
        assert not sees(pilot, "no route to")
        service.preview_refusal = gone
        await press(pilot, "v")
        await until(pilot, lambda: sees(pilot, "no route to"))
        service.preview_refusal = None
        await press(pilot, "r")
        await until(pilot, lambda: sees(pilot, "▀▀▀▀"))


async def test_what_could_not_be_fetched_is_fetched_again_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when a file server that did not answer does so again."""
    monkeypatch.setattr(Detail, "RETRY_S", 0.0)
    gone = Unreachable("ssh viz-node002", "no route to host")
    silent = Unreachable("the folder", "no answer in 20 s")
    app, service = app_on(busy(), preview_refusal=gone, trail_refusal=silent, config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY)
        await until(pilot, lambda: sees(pilot, "no route to", "no answer in 20 s"))
        service.preview_refusal = service.trail_refusal = None
        await press(pilot, "R")
        await until(pilot, lambda: sees(pilot, "▀▀▀▀", "empty so far"))
        assert not sees(pilot, "no answer in 20 s")


async def test_a_restored_connection_restores_the_preview_on_screen() -> None:
    gone = Unreachable("ssh viz-node002", "no route to host")
    app, service = app_on(busy(), preview_refusal=gone, config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "v")
        await until(pilot, lambda: sees(pilot, "no route to"))
        service.preview_refusal = None
        service.looked_at.clear()
        app.controllers.connection.resume("the connection is back")
        await until(pilot, lambda: sees(pilot, "▀▀▀▀"))
        assert service.looked_at == [MINE.id]
        await press(pilot, "escape")
        await until(pilot, lambda: app.dashboard.query_one(Thumbnail).picture is not None)


async def test_reading_the_log_does_not_cancel_a_slow_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vizdash.ui.screens.session_details._EVERY_S", 3600.0)
    app, service = app_on(busy(), log="vizdash: step xvnc", config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "v")
        assert sees(pilot, "step xvnc")
        screen, gate, real = _details_screen(app), asyncio.Event(), service.sessions.folder_summary
        before = len(service.trails)

        async def slow(session: Session, *, lines: int) -> FolderSummary:
            found = await real(session, lines=lines)
            await gate.wait()
            return found

        monkeypatch.setattr(service.sessions, "folder_summary", slow)
        service.log += "\nvizdash: step ready"
        for _ in range(3):
            screen._again()
            await pilot.pause()
        await until(pilot, lambda: len(service.trails) == before + 1)
        gate.set()
        await until(pilot, lambda: sees(pilot, "step ready"))


async def test_previews_can_be_switched_off() -> None:
    app, service = app_on(busy(), log=LOG)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        assert not service.config.ui.preview
        await press(pilot, *_READY, "v", "v")
        assert sees(pilot, "owner you", "vizdash: step ready")
        assert service.looked_at == []


def _details_screen(app: VizdashApp) -> SessionDetailsScreen:
    assert isinstance(app.screen, SessionDetailsScreen)
    return app.screen
