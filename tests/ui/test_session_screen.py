"""The session details screen: what it shows, its keys, and what it redraws each second."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.geometry import Region
from textual.widget import Widget

from tests.ui.fake import AT, LOG, LOOKING, app_on, busy, ready, snapshot
from tests.ui.pilot import begin, click_key, press, sees, settled, text, toasts, until
from vizdash.actions import REGISTRY, session_screen_actions
from vizdash.ui.app import VizdashApp
from vizdash.ui.screens.clipboard import ClipboardScreen
from vizdash.ui.screens.help import HelpScreen
from vizdash.ui.screens.session_details import SessionDetailsScreen
from vizdash.ui.screens.session_log import SessionLogScreen
from vizdash.ui.widgets.footer import Footer
from vizdash.ui.widgets.thumbnail import Thumbnail

WIDE, SMALL = (160, 48), (80, 24)
_READY = ("down", "down", "down")
MINE, OTHERS = busy().sessions[3], busy().sessions[4]


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


async def test_a_session_that_gets_ready_on_screen_is_shown() -> None:
    waits = replace(busy().sessions[1], job_id="1041", id=MINE.id)
    app, service = app_on(snapshot(sessions=(waits,)), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        assert service.looked_at == []
        await press(pilot, "v")
        assert sees(pilot, "starting")
        service.now = snapshot(sessions=(ready(1, id=MINE.id),))
        app.refresh_snapshot()
        await until(pilot, lambda: app.state.find("1041").state == "ready")  # type: ignore[union-attr]
        screen = app.screen
        assert isinstance(screen, SessionDetailsScreen)
        screen.tick()
        screen._again()  # its log is read at the same moment
        await until(pilot, lambda: screen.query_one(Thumbnail).picture is not None)
        assert service.looked_at == [MINE.id]


async def test_what_is_done_to_a_session_can_be_done_from_there() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=SMALL) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "v", "l")
        assert isinstance(app.screen, SessionLogScreen)
        await press(pilot, "escape", "v", "x")
        assert sees(pilot, "Stop this session?")
        await press(pilot, "n", "v", "c")
        assert isinstance(app.screen, ClipboardScreen)
        await press(pilot, "escape", "v", "o")
        await until(pilot, lambda: service.browsed == 1)


async def test_why_an_ended_session_has_no_history_is_shown() -> None:
    note = "what ended is known for 5 min: cluster viz keeps no accounting"
    app, _service = app_on(replace(busy(), past_note=note))
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        assert not sees(pilot, note)
        await press(pilot, "end")
        assert sees(pilot, "✓ finished   it ended by itself", note)


def _keys(app: VizdashApp) -> list[str]:
    """What the line of keys offers."""
    return [action_id for action_id, _, _ in app.screen.query_one(Footer).shown()]


def _details_screen(app: VizdashApp) -> SessionDetailsScreen:
    assert isinstance(app.screen, SessionDetailsScreen)
    return app.screen


async def test_every_action_is_offered_for_your_ready_desktop() -> None:
    app, _service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "v")
        shown = app.screen.query_one(Thumbnail)
        await until(pilot, lambda: shown.picture is not None)
        await settled(pilot)
        assert _keys(app) == [
            "back", "details", "open", "open_with", "stop", "logs", "ssh", "share", "extend",
            "message", "repeat", "time_limit", "copy", "reload", "help",
        ]  # fmt: skip


async def test_actions_on_another_users_session_are_disabled_with_the_reason() -> None:
    app, service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "down", "v")
        assert _keys(app) == ["back", "repeat", "copy", "reload", "help"]
        assert not sees(pilot, "o Open", "x Stop")
        lines = []
        for key in ("v", "o", "enter", "x", "l", "e", "w"):
            await press(pilot, key)
            lines.append(toasts(pilot)[-1])
        assert lines == [
            "Preview: only björn can see its desktop",
            "Open: only björn can open it",
            "Open: only björn can open it",
            "Stop: it belongs to björn",
            "Log: only björn can read its log",
            "Extend: it belongs to björn",
            "Time limit: select a running session of yours that has a time limit",
        ]
        _details_screen(app)
        assert not service.browsed


async def test_actions_on_an_ended_session_are_disabled_with_the_reason() -> None:
    app, service = app_on(busy(), config=LOOKING, log=LOG)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, "end", "v")
        assert _keys(app) == ["back", "logs", "repeat", "copy", "reload", "help"]
        lines = []
        for key in ("v", "o", "x", "e"):
            await press(pilot, key)
            lines.append(toasts(pilot)[-1])
        assert lines == [
            "Preview: it is ended",
            "Open: it is ended",
            "Stop: it has already ended",
            "Extend: it has already ended",
        ]
        _details_screen(app)
        assert not service.browsed


async def test_read_only_it_stops_nothing() -> None:
    app, _service = app_on(busy(), config=LOOKING)
    app.dashboard.read_only = True
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "v", "x")
        assert "stop" not in _keys(app)
        assert "open" in _keys(app)
        assert toasts(pilot) == ["Stop: vizdash is read-only"]
        _details_screen(app)


async def test_one_that_is_gone_can_only_be_left() -> None:
    app, service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "v")
        service.now = snapshot(sessions=busy().sessions[:3])
        app.refresh_snapshot()
        await until(pilot, lambda: app.state.find(MINE.job_id) is None)
        _details_screen(app).tick()
        await settled(pilot)
        assert not {"open", "stop", "logs", "repeat"} & set(_keys(app))
        await press(pilot, "x")
        assert toasts(pilot)[-1] == "Stop: the session is no longer in the list"
        await press(pilot, "escape")
        await until(pilot, lambda: app.screen is app.dashboard)


async def test_a_click_on_a_key_is_the_key() -> None:
    app, service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=SMALL) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "v")
        shown = app.screen.query_one(Thumbnail)
        await until(pilot, lambda: shown.picture is not None)
        await settled(pilot)
        await click_key(pilot, "details")
        assert not sees(pilot, "owner you")
        await click_key(pilot, "back")
        await until(pilot, lambda: app.screen is app.dashboard)
        await press(pilot, "v")
        await click_key(pilot, "open")
        await until(pilot, lambda: service.browsed == 1)


async def test_configured_keys_work_there_at_once() -> None:
    app, service = app_on(busy(), config=LOOKING)
    keys = {"stop": ("f8",), "open": ("q", "escape"), "details": ("z",), "logs": ()}
    app.dashboard.use(REGISTRY.remapped({**keys, "quit": ("Q",), "clear": ()}))
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "z")
        assert sees(pilot, "esc Back", "f8 Stop", "q Open")
        assert not sees(pilot, "l Log")
        await press(pilot, "x", "l")
        _details_screen(app)
        assert toasts(pilot) == []
        app.dashboard.use(REGISTRY.remapped(keys | {"stop": ("f9",), "quit": (), "clear": ()}))
        _details_screen(app).tick()
        await settled(pilot)
        assert sees(pilot, "f9 Stop")
        await press(pilot, "escape")  # leads back, whatever else it was given to
        assert app.screen is app.dashboard
        assert not service.browsed
        await press(pilot, "z", "q")
        await until(pilot, lambda: service.browsed == 1)


def test_every_action_on_a_session_is_there() -> None:
    there = {action.id for action in session_screen_actions(REGISTRY)}
    assert there >= {a.id for a in REGISTRY if a.on == "session"} - {"mark"}


async def test_its_help_is_of_this_session() -> None:
    app, _service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "down", "v", "question_mark")
        assert isinstance(app.screen, HelpScreen)
        assert sees(pilot, "This session", "unavailable: only björn can open it", "Go back to the")
        assert not sees(pilot, "Nodes pane")
        await press(pilot, "question_mark")
        _details_screen(app)


async def test_it_acts_on_its_session_not_on_what_is_marked_or_under_the_cursor() -> None:
    app, service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, "space", "space", "down", "v")
        assert sees(pilot, MINE.id)
        app.dashboard.sessions.select(busy().sessions[2].job_id)
        await press(pilot, "x")
        assert sees(pilot, "Stop this session?")
        await press(pilot, "y")
        await until(pilot, lambda: service.stopped)
        assert service.stopped == [MINE.id]


async def test_an_operator_extends_another_users_from_there() -> None:
    app, service = app_on(busy(), admin=True, node_admin=True)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, *_READY, "down", "v", "e", "e")
        assert service.fake_engine.changes == [("set_time_limit", OTHERS.job_id, "14400")]


async def test_the_time_of_one_that_waits_is_not_extended() -> None:
    app, _service = app_on(busy(), config=LOOKING)
    async with app.run_test(size=WIDE) as pilot:
        await begin(pilot)
        await press(pilot, "v", "e")
        assert "extend" not in _keys(app)
        assert toasts(pilot) == ["Extend: its job has not started yet"]


def _watch(app: VizdashApp, drawn: list[tuple[str, tuple[Region, ...]]]) -> None:
    """Record what is drawn from now on: which widget, and which regions (none: all of it)."""

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
        screen = _details_screen(app)
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
        screen = _details_screen(app)
        drawn: list[tuple[str, tuple[Region, ...]]] = []
        _watch(app, drawn)
        clock[0] += 1
        screen.tick()
        await settled(pilot)
        assert drawn == []
