"""What is told of a session: fetched for one's own only, and only while somebody looks at it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.ui.drive import begin, press, sees, text, toasts, until
from tests.ui.fake import LOG, LOOKING, app_on, busy, ready, snapshot
from vizdash.errors import Unreachable
from vizdash.ui.screens.copy import CopyScreen
from vizdash.ui.screens.log import LogScreen
from vizdash.ui.screens.look import LookScreen
from vizdash.ui.widgets.detail import Detail
from vizdash.ui.widgets.thumbnail import Thumbnail

WIDE, SMALL = (160, 48), (80, 24)
_READY = ("down", "down", "down")
MINE, OTHERS = busy().sessions[3], busy().sessions[4]


async def test_a_ready_desktop_of_ones_own_is_seen_beside_its_row() -> None:
    app, service = app_on(busy(), log=LOG, config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY)
        await until(pilot, lambda: service.looked_at == [MINE.id])
        shown = pilot.app.screen.query_one(Thumbnail)
        await until(pilot, lambda: shown.picture is not None)
        assert sees(pilot, "▀▀▀▀▀▀▀▀", "log ", "vizdash: step ready", "→ ready +12s")
        trails = len(service.trails)
        await press(pilot, "down")  # another person's, and ready
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
        app.look_again()
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
        assert isinstance(app.screen, LookScreen)
        shown = app.screen.query_one(Thumbnail)
        await until(pilot, lambda: shown.picture is not None)
        assert sees(pilot, "Session  ● ready", "owner you", "6 of 16 cores given", "step ready")
        small = shown.picture.height if shown.picture else 0
        await press(pilot, "v")
        await until(pilot, lambda: shown.picture and shown.picture.height > 2 * small)
        assert not sees(pilot, "owner you")
        await press(pilot, "v")
        assert sees(pilot, "owner you")
        await press(pilot, "escape")
        await until(pilot, lambda: app.screen is app._dashboard)
        await until(pilot, lambda: service.looked_at == [])


async def test_a_desktop_is_not_looked_at_twice_at_a_time() -> None:
    app, service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY)
        first = app._dashboard.query_one(Thumbnail)
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
        # The next look is by a key, or when the connection is there again.
        service.preview_refusal = service.trail_refusal = None
        app.link_back("the connection is back")
        await until(pilot, lambda: sees(pilot, "▀▀▀▀", "empty so far"))
        assert not sees(pilot, "no route to")
        service.preview_refusal = gone
        await press(pilot, "v")
        await until(pilot, lambda: sees(pilot, "no route to"))
        service.preview_refusal = None
        await press(pilot, "r")
        await until(pilot, lambda: sees(pilot, "▀▀▀▀"))


async def test_who_wants_no_pictures_gets_none() -> None:
    app, service = app_on(busy(), log=LOG)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        assert not service.config.ui.preview
        await press(pilot, *_READY, "v", "v")
        assert sees(pilot, "owner you", "vizdash: step ready")
        assert service.looked_at == []


async def test_an_open_desktop_has_its_address_without_its_password() -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY)
        assert not sees(pilot, "address ")
        await press(pilot, "o")
        await until(
            pilot, lambda: sees(pilot, "address    http://127.0.0.1:40123/vnc.html   c copies")
        )
        assert "password" not in text(pilot)


async def test_a_session_that_gets_ready_while_it_is_looked_at_is_seen() -> None:
    waits = replace(busy().sessions[1], job_id="1041", id=MINE.id)
    app, service = app_on(snapshot(sessions=(waits,)), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        assert service.looked_at == []
        await press(pilot, "v")
        assert sees(pilot, "starting")
        service.now = snapshot(sessions=(ready(1, id=MINE.id),))
        app.look_again()
        await until(pilot, lambda: app._board.find("1041").state == "ready")  # type: ignore[union-attr]
        screen = app.screen
        assert isinstance(screen, LookScreen)
        screen.tick()
        await until(pilot, lambda: screen.query_one(Thumbnail).picture is not None)
        assert service.looked_at == [MINE.id]


async def test_what_is_done_to_a_session_can_be_done_from_there() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=SMALL) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "v", "l")
        assert isinstance(app.screen, LogScreen)
        await press(pilot, "escape", "v", "x")
        assert sees(pilot, "Stop this session?")
        await press(pilot, "n", "v", "c")
        assert isinstance(app.screen, CopyScreen)
        await press(pilot, "escape", "v", "o")
        await until(pilot, lambda: service.browsed == 1)


async def test_why_there_is_no_history_is_told_of_what_ended() -> None:
    note = "what ended is known for 5 min: cluster viz keeps no accounting"
    app, _service = app_on(replace(busy(), past_note=note))
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        assert not sees(pilot, note)
        await press(pilot, "end")
        assert sees(pilot, "✓ finished   it ended by itself", note)
