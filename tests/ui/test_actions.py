"""Every action of the registry works by key, by mouse and from the palette."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from textual.widgets import Static

from tests.ui.fake import FakeService, app_on, busy, empty
from tests.ui.pilot import (
    AnyPilot,
    begin,
    choose,
    click_key,
    click_row,
    offered,
    palette,
    press,
    sees,
    settled,
    text,
    toasts,
    until,
)
from vizdash.actions import REGISTRY, Action, Context
from vizdash.model import ImageRoot, Snapshot
from vizdash.sessions import comment
from vizdash.ui.app import VizdashApp
from vizdash.ui.screens.build import BuildForm
from vizdash.ui.screens.clipboard import ClipboardScreen
from vizdash.ui.screens.clusters import ClustersScreen
from vizdash.ui.screens.command_log import CommandLogScreen
from vizdash.ui.screens.confirm import ConfirmScreen
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.screens.deploy import DeployScreen
from vizdash.ui.screens.help import HelpScreen
from vizdash.ui.screens.image_matrix import ImageMatrixScreen
from vizdash.ui.screens.load_history import LoadHistoryScreen
from vizdash.ui.screens.offers import OffersScreen
from vizdash.ui.screens.open_with import OpenWithScreen
from vizdash.ui.screens.session_details import SessionDetailsScreen
from vizdash.ui.screens.session_log import SessionLogScreen
from vizdash.ui.screens.start import StartScreen
from vizdash.ui.screens.text_prompt import TextPromptScreen
from vizdash.ui.screens.time_limit import TimeLimitScreen
from vizdash.ui.screens.tunnels import TunnelsScreen

Done = Callable[[VizdashApp, FakeService], object]


@dataclass(frozen=True)
class Case:
    """What shows that an action was done; ``before`` are keys that make it possible."""

    done: Done
    before: tuple[str, ...] = ()


def _on_top(screen: type) -> Done:
    return lambda app, service: isinstance(app.screen, screen)


def _focused(pane: str) -> Done:
    return lambda app, service: app.focused is not None and app.focused.id == pane


def _asks(words: str) -> Done:
    return lambda app, service: (
        isinstance(app.screen, ConfirmScreen)
        and any(words in str(one.render()) for one in app.screen.query(Static))
    )


def _day() -> Snapshot:
    """A usual day: the nodes were surveyed, and a running desktop has a newer image."""
    day = busy()
    sessions = tuple(replace(s, newer_version="2.2") if s.live else s for s in day.sessions)
    return replace(day, sessions=sessions, image_roots=tuple(ImageRoot(n.name) for n in day.nodes))


CASES: dict[str, Case] = {
    "start": Case(_on_top(StartScreen)),
    "open": Case(lambda app, service: service.browsed == 1),
    "share": Case(_on_top(TextPromptScreen)),
    "join": Case(_on_top(OffersScreen)),
    "open_with": Case(_on_top(OpenWithScreen)),
    "ssh": Case(lambda app, service: app.clipboard.startswith("vizdash ssh ")),
    "stop": Case(_on_top(ConfirmScreen)),
    "logs": Case(_on_top(SessionLogScreen)),
    "details": Case(_on_top(SessionDetailsScreen)),
    "repeat": Case(_on_top(StartScreen)),
    "time_limit": Case(_on_top(TimeLimitScreen)),
    "upgrade": Case(lambda app, service: [r.app for r in service.started] == ["desktop"]),
    "build": Case(_on_top(BuildForm)),
    "deploy": Case(_on_top(DeployScreen)),
    "rollback": Case(_asks("desktop 2.0"), ("3",)),
    "matrix": Case(_on_top(ImageMatrixScreen)),
    "extend": Case(_on_top(TimeLimitScreen)),
    "message": Case(_on_top(TextPromptScreen)),
    "drain": Case(_on_top(TextPromptScreen), ("1",)),
    "resume": Case(_on_top(ConfirmScreen), ("1", "end")),
    "filter": Case(_focused("filter")),
    "sort": Case(lambda app, service: app.dashboard.sessions.sorted_by == "STATE"),
    "sort_reverse": Case(lambda app, service: app.dashboard.sessions.view.reverse, ("s",)),
    "mark": Case(lambda app, service: app.dashboard.sessions.marked),
    "clear": Case(lambda app, service: not app.dashboard.sessions.marked, ("space",)),
    "mine": Case(lambda app, service: len(app.dashboard.sessions.rows) == 6),
    "copy": Case(_on_top(ClipboardScreen)),
    "history": Case(_on_top(LoadHistoryScreen)),
    "commands": Case(_on_top(CommandLogScreen)),
    "theme": Case(lambda app, service: app.theme == "vizdash-light"),
    "tunnels": Case(_on_top(TunnelsScreen)),
    "clusters": Case(_on_top(ClustersScreen)),
    "refresh": Case(lambda app, service: service.asked == 2),
    "focus_nodes": Case(_focused("nodes")),
    "focus_sessions": Case(_focused("sessions")),
    "focus_images": Case(_focused("images")),
    "help": Case(_on_top(HelpScreen)),
    "quit": Case(lambda app, service: app._exit),
}
ACTIONS = pytest.mark.parametrize("action", list(REGISTRY), ids=lambda a: a.id)


def test_no_action_is_forgotten_here() -> None:
    assert set(CASES) == {action.id for action in REGISTRY}


def _context(app: VizdashApp) -> Context:
    return app.dashboard.context()


def _dashboard(app: VizdashApp) -> Dashboard:
    assert isinstance(app.screen, Dashboard)
    return app.screen


async def _ready_to(pilot: AnyPilot, app: VizdashApp, action: Action) -> Done:
    """The screen from which the action is wanted; what shows that it was done."""
    await begin(pilot)
    await click_row(pilot, _dashboard(app).sessions, 3)
    await press(pilot, *CASES[action.id].before)
    if action.id == "focus_sessions":
        await press(pilot, "1")
    return CASES[action.id].done


@ACTIONS
async def test_by_each_of_its_keys(action: Action) -> None:
    for key in action.keys:
        await _by_key(action, key)


async def _by_key(action: Action, key: str) -> None:
    app, service = app_on(_day(), log="a line", node_admin=True)
    async with app.run_test(size=(140, 24)) as pilot:
        done = await _ready_to(pilot, app, action)
        assert not done(app, service)
        await pilot.press(key)
        await until(pilot, lambda: done(app, service), f"{action.id} by {key}")


@ACTIONS
async def test_by_mouse(action: Action) -> None:
    app, service = app_on(_day(), log="a line", node_admin=True)
    async with app.run_test(size=(140, 24)) as pilot:
        done = await _ready_to(pilot, app, action)
        if action.id.startswith("focus_"):
            await pilot.click(f"#{action.id.removeprefix('focus_')}", offset=(5, 3))
        elif action.id in {one for one, _, _ in _dashboard(app)._footer.shown()}:
            await click_key(pilot, action.id)
        else:
            await click_key(pilot, "command_palette")
            await choose(pilot, action.title, by_mouse=True)
        await until(pilot, lambda: done(app, service), f"{action.id} by mouse")


@ACTIONS
async def test_by_palette(action: Action) -> None:
    app, service = app_on(_day(), log="a line", node_admin=True)
    async with app.run_test(size=(140, 24)) as pilot:
        done = await _ready_to(pilot, app, action)
        await palette(pilot, action.title)
        await until(pilot, lambda: done(app, service), f"{action.id} by palette")


async def test_the_palette_offers_everything_with_reasons_for_disabled_actions() -> None:
    app, _service = app_on(empty())
    async with app.run_test(size=(140, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "colon")
        assert set(offered(pilot)) == {action.title for action in REGISTRY}
        reasons = [a.reason(_context(app)) for a in REGISTRY if a.reason(_context(app))]
        assert set(offered(pilot)[-len(reasons) :]) >= {"Open", "Stop", "Log"}  # they stand last
        await press(pilot, "ctrl+end")
        assert "unavailable: no session is selected" in text(pilot)
        await press(pilot, "escape")
        await palette(pilot, "Stop")
        assert toasts(pilot) == ["Stop: no session is selected"]


async def test_a_double_click_opens() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(140, 24)) as pilot:
        await begin(pilot)
        await click_row(pilot, _dashboard(app).sessions, 3, times=2)
        await until(pilot, lambda: service.browsed == 1)


async def test_a_key_without_effect_gives_the_reason() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(140, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "o")  # a pending one
        await press(pilot, "down", "down", "down", "down", "x")  # another user's
        assert toasts(pilot) == ["Open: it is pending", "Stop: it belongs to björn"]
        assert not service.browsed
        assert not service.stopped


async def test_read_only_removes_what_changes_something() -> None:
    app, _service = app_on(busy())
    app.dashboard.read_only = True
    async with app.run_test(size=(140, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down")
        assert sees(pilot, "read-only", "o Open")
        assert not sees(pilot, "New session")
        await press(pilot, "n", "x")
        assert isinstance(app.screen, Dashboard)
        assert toasts(pilot) == [
            "New session: vizdash is read-only",
            "Stop: vizdash is read-only",
        ]


async def test_an_admin_stops_what_is_not_theirs() -> None:
    app, service = app_on(busy(), admin=True)
    async with app.run_test(size=(140, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "down", "x")
        assert sees(pilot, "Stop this session?", "(björn)")
        await press(pilot, "y")
        assert len(service.stopped) == 1


async def test_an_admin_leaves_a_note_for_whose_session_they_stop() -> None:
    app, service = app_on(busy(), admin=True)
    async with app.run_test(size=(140, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "x")
        assert not sees(pilot, "With a note")  # it is their own
        await press(pilot, "m", "n", "down", "x")
        assert sees(pilot, "(björn)", "m  With a note")
        await press(pilot, "m")
        assert isinstance(app.screen, TextPromptScreen)
        assert sees(pilot, "björn to read")
        await press(pilot, *"down at 9", "enter")
        await until(pilot, lambda: service.stopped)
        claims = [comment.decode(c[2]) for c in service.fake_engine.changes if len(c) > 2]
        assert [claim and claim.note for claim in claims] == ["down at 9"]


async def test_three_keys_from_a_cold_start_to_an_open_desktop_and_two_to_stop_it() -> None:
    keys: list[str] = []
    app, service = app_on(empty())
    async with app.run_test(size=(140, 24)) as pilot:

        async def key(name: str) -> None:
            keys.append(name)
            await press(pilot, name)

        await begin(pilot)
        await key("n")
        await key("enter")
        await until(pilot, lambda: service.started)
        service.become_ready()
        app.refresh_snapshot()
        await until(pilot, lambda: sees(pilot, "● ready"))
        await key("o")
        await until(pilot, lambda: service.browsed)
        assert keys == ["n", "enter", "o"]
        keys.clear()
        await key("x")
        await key("y")
        await until(pilot, lambda: service.stopped)
        assert keys == ["x", "y"]
        await settled(pilot)
