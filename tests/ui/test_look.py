"""What is told of a session: fetched for one's own only, and only while somebody looks at it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from textual.geometry import Region
from textual.widget import Widget

from tests.ui.drive import begin, click_key, press, sees, settled, text, toasts, until
from tests.ui.fake import AT, LOG, LOOKING, app_on, busy, ready, snapshot
from vizdash.actions import REGISTRY, looking
from vizdash.errors import Unreachable
from vizdash.model import Session
from vizdash.sessions.trail import Trail
from vizdash.ui.app import VizdashApp
from vizdash.ui.screens.copy import CopyScreen
from vizdash.ui.screens.help import HelpScreen
from vizdash.ui.screens.log import LogScreen
from vizdash.ui.screens.look import LookScreen
from vizdash.ui.widgets.detail import Detail
from vizdash.ui.widgets.footer import Footer
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


async def test_a_connection_that_is_back_brings_the_picture_back_where_it_is_looked_at() -> None:
    gone = Unreachable("ssh viz-node002", "no route to host")
    app, service = app_on(busy(), preview_refusal=gone, config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "v")
        await until(pilot, lambda: sees(pilot, "no route to"))
        service.preview_refusal = None
        service.looked_at.clear()
        app.link_back("the connection is back")
        await until(pilot, lambda: sees(pilot, "▀▀▀▀"))
        assert service.looked_at == [MINE.id]
        await press(pilot, "escape")
        await until(pilot, lambda: app._dashboard.query_one(Thumbnail).picture is not None)


async def test_a_look_at_the_log_breaks_no_slow_one_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vizdash.ui.screens.look._EVERY_S", 3600.0)
    app, service = app_on(busy(), log="vizdash: step xvnc", config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "v")
        assert sees(pilot, "step xvnc")
        screen, gate, real = _looking(app), asyncio.Event(), service.trail
        before = len(service.trails)

        async def slow(session: Session, *, lines: int) -> Trail:
            found = await real(session, lines=lines)
            await gate.wait()
            return found

        monkeypatch.setattr(service, "trail", slow)
        service.log += "\nvizdash: step ready"
        for _ in range(3):
            screen._again()
            await pilot.pause()
        await until(pilot, lambda: len(service.trails) == before + 1)
        gate.set()
        await until(pilot, lambda: sees(pilot, "step ready"))


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
        screen._again()  # the look at its log comes at the same moment
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


# ---------------------------------------------------------------------- its keys


def _keys(app: VizdashApp) -> list[str]:
    """What the line of keys offers."""
    return [action_id for action_id, _, _ in app.screen.query_one(Footer).shown()]


def _looking(app: VizdashApp) -> LookScreen:
    assert isinstance(app.screen, LookScreen)
    return app.screen


async def test_of_ones_own_ready_desktop_everything_is_offered() -> None:
    app, _service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "v")
        shown = app.screen.query_one(Thumbnail)
        await until(pilot, lambda: shown.picture is not None)
        await settled(pilot)
        assert _keys(app) == [
            "back", "look", "open", "stop", "logs", "extend", "message", "again", "deadline",
            "copy", "reload", "help",
        ]  # fmt: skip


async def test_of_somebody_elses_what_can_t_be_done_is_not_offered_and_says_why() -> None:
    app, service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "down", "v")
        assert _keys(app) == ["back", "again", "copy", "reload", "help"]
        assert not sees(pilot, "o Open", "x Stop")
        said = []
        for key in ("v", "o", "enter", "x", "l", "e", "w"):
            await press(pilot, key)
            said.append(toasts(pilot)[-1])
        assert said == [
            "Picture: only björn can see its desktop",
            "Open: only björn can open it",
            "Open: only björn can open it",
            "Stop: it belongs to björn",
            "Log: only björn can read its log",
            "Extend: it belongs to björn",
            "Time: no session of yours is chosen whose time is running",
        ]
        _looking(app)
        assert not service.browsed


async def test_of_one_that_ended_what_can_t_be_done_is_not_offered_and_says_why() -> None:
    app, service = app_on(busy(), config=LOOKING, log=LOG)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, "end", "v")
        assert _keys(app) == ["back", "logs", "again", "copy", "reload", "help"]
        said = []
        for key in ("v", "o", "x", "e"):
            await press(pilot, key)
            said.append(toasts(pilot)[-1])
        assert said == [
            "Picture: it is ended",
            "Open: it is ended",
            "Stop: it has ended",
            "Extend: it has ended",
        ]
        _looking(app)
        assert not service.browsed


async def test_read_only_it_stops_nothing() -> None:
    app, _service = app_on(busy(), config=LOOKING)
    app._dashboard.read_only = True
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "v", "x")
        assert "stop" not in _keys(app)
        assert "open" in _keys(app)
        assert toasts(pilot) == ["Stop: this vizdash is read-only"]
        _looking(app)


async def test_one_that_is_gone_can_only_be_left() -> None:
    app, service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "v")
        service.now = snapshot(sessions=busy().sessions[:3])
        app.look_again()
        await until(pilot, lambda: app._board.find(MINE.job_id) is None)
        _looking(app).tick()
        await settled(pilot)
        assert not {"open", "stop", "logs", "again"} & set(_keys(app))
        await press(pilot, "x")
        assert toasts(pilot)[-1] == "Stop: the session is no longer in the list"
        await press(pilot, "escape")
        await until(pilot, lambda: app.screen is app._dashboard)


async def test_a_click_on_a_key_is_the_key() -> None:
    app, service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=SMALL) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "v")
        shown = app.screen.query_one(Thumbnail)
        await until(pilot, lambda: shown.picture is not None)
        await settled(pilot)
        await click_key(pilot, "look")
        assert not sees(pilot, "owner you")
        await click_key(pilot, "back")
        await until(pilot, lambda: app.screen is app._dashboard)
        await press(pilot, "v")
        await click_key(pilot, "open")
        await until(pilot, lambda: service.browsed == 1)


async def test_a_person_s_own_keys_work_there_at_once() -> None:
    app, service = app_on(busy(), config=LOOKING)
    keys = {"stop": ("f8",), "open": ("q", "escape"), "look": ("z",), "logs": ()}
    app._dashboard.use(REGISTRY.remapped({**keys, "quit": ("Q",), "clear": ()}))
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "z")
        assert sees(pilot, "esc Back", "f8 Stop", "q Open")
        assert not sees(pilot, "l Log")
        await press(pilot, "x", "l")
        _looking(app)
        assert toasts(pilot) == []
        app._dashboard.use(REGISTRY.remapped(keys | {"stop": ("f9",), "quit": (), "clear": ()}))
        _looking(app).tick()
        await settled(pilot)
        assert sees(pilot, "f9 Stop")
        await press(pilot, "escape")  # leads back, whatever else it was given to
        assert app.screen is app._dashboard
        assert not service.browsed
        await press(pilot, "z", "q")
        await until(pilot, lambda: service.browsed == 1)


def test_every_action_on_a_session_is_there() -> None:
    there = {action.id for action in looking(REGISTRY)}
    assert there >= {a.id for a in REGISTRY if a.on == "session"} - {"mark"}


async def test_its_help_is_of_this_session() -> None:
    app, _service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "down", "v", "question_mark")
        assert isinstance(app.screen, HelpScreen)
        assert sees(pilot, "This session", "not now: only björn can open it", "Go back to the")
        assert not sees(pilot, "Nodes, when they have the focus")
        await press(pilot, "question_mark")
        _looking(app)


async def test_it_acts_on_its_session_not_on_what_is_marked_or_under_the_cursor() -> None:
    app, service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, "space", "space", "down", "v")
        assert sees(pilot, MINE.id)
        app._dashboard.sessions.select(busy().sessions[2].job_id)
        await press(pilot, "x")
        assert sees(pilot, "Stop this session?")
        await press(pilot, "y")
        await until(pilot, lambda: service.stopped)
        assert service.stopped == [MINE.id]


async def test_an_operator_extends_somebody_elses_from_there() -> None:
    app, service = app_on(busy(), admin=True, node_admin=True)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "down", "v", "e", "e")
        assert service.operations.done == [("extend", OTHERS.job_id, "7200")]


async def test_the_time_of_one_that_waits_is_not_extended() -> None:
    app, _service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, "v", "e")
        assert "extend" not in _keys(app)
        assert toasts(pilot) == ["Extend: its time is not running yet"]


# ---------------------------------------------------------------------- what a second draws


def _watch(app: VizdashApp, drawn: list[tuple[str, tuple[Region, ...]]]) -> None:
    """Note what is drawn anew from now on: whose, and which part (none: all of it)."""

    def watched(widget: Widget) -> None:
        real = widget._set_dirty

        def noted(*regions: Region) -> None:
            drawn.append((widget.id or type(widget).__name__, regions))
            real(*regions)

        widget._set_dirty = noted  # type: ignore[method-assign]

    for widget in app.screen.walk_children(with_self=True):
        assert isinstance(widget, Widget)
        watched(widget)


@pytest.mark.parametrize("size", [WIDE, SMALL], ids=["wide", "small"])
async def test_a_second_draws_the_countdown_and_nothing_else(size: tuple[int, int]) -> None:
    clock = [AT]
    app, _service = app_on(busy(), log=LOG, clock=lambda: clock[0])
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "v")
        await until(pilot, lambda: sees(pilot, "vizdash: step ready"))
        screen = _looking(app)
        screen.tick()
        await settled(pilot)
        row = next(y for y, one in enumerate(text(pilot).splitlines()) if " left of " in one)
        drawn: list[tuple[str, tuple[Region, ...]]] = []
        _watch(app, drawn)
        screen.tick()
        await settled(pilot)
        assert drawn == []
        clock[0] += 1
        app.tick()
        screen.tick()
        await settled(pilot)
        assert sees(pilot, "1:12:05 left of 2 h")
        assert [name for name, _ in drawn] == ["detail-text"]
        top = screen.query_one("#detail-text").content_region.y
        assert [region.y + top for region in drawn[0][1]] == [row]


async def test_a_second_of_one_that_starts_turns_no_sign() -> None:
    clock = [AT]
    starting = replace(busy().sessions[1], time_left_s=None)
    app, _service = app_on(snapshot(sessions=(starting,)), clock=lambda: clock[0])
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, "v")
        screen = _looking(app)
        drawn: list[tuple[str, tuple[Region, ...]]] = []
        _watch(app, drawn)
        clock[0] += 1
        screen.tick()
        await settled(pilot)
        assert drawn == []
