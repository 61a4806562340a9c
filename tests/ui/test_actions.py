"""Every action of the registry does its work by key, by mouse and by palette."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from textual.widgets import Static

from tests.ui.drive import (
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
from tests.ui.fake import FakeService, app_on, busy, empty
from vizdash.actions import REGISTRY, Action, Context
from vizdash.model import Place, Snapshot
from vizdash.ui.app import VizdashApp
from vizdash.ui.screens.ask import AskScreen
from vizdash.ui.screens.build import BuildForm
from vizdash.ui.screens.clusters import ClustersScreen
from vizdash.ui.screens.commands import CommandsScreen
from vizdash.ui.screens.confirm import Confirm
from vizdash.ui.screens.copy import CopyScreen
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.screens.deadline import DeadlineScreen
from vizdash.ui.screens.deploy import DeployScreen
from vizdash.ui.screens.help import HelpScreen
from vizdash.ui.screens.history import HistoryScreen
from vizdash.ui.screens.log import LogScreen
from vizdash.ui.screens.look import LookScreen
from vizdash.ui.screens.matrix import MatrixScreen
from vizdash.ui.screens.start import StartScreen
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
        isinstance(app.screen, Confirm)
        and any(words in str(one.render()) for one in app.screen.query(Static))
    )


def _day() -> Snapshot:
    """A usual day: the nodes were looked at, and a newer image of a running desktop is out."""
    day = busy()
    sessions = tuple(replace(s, newer_version="2.2") if s.live else s for s in day.sessions)
    return replace(day, sessions=sessions, places=tuple(Place(n.name) for n in day.nodes))


CASES: dict[str, Case] = {
    "start": Case(_on_top(StartScreen)),
    "open": Case(lambda app, service: service.browsed == 1),
    "stop": Case(_on_top(Confirm)),
    "logs": Case(_on_top(LogScreen)),
    "look": Case(_on_top(LookScreen)),
    "again": Case(_on_top(StartScreen)),
    "deadline": Case(_on_top(DeadlineScreen)),
    "renew": Case(lambda app, service: [r.app for r in service.started] == ["desktop"]),
    "build": Case(_on_top(BuildForm)),
    "deploy": Case(_on_top(DeployScreen)),
    "rollback": Case(_asks("desktop 2.0"), ("3",)),
    "matrix": Case(_on_top(MatrixScreen)),
    "extend": Case(_on_top(DeadlineScreen)),
    "message": Case(_on_top(AskScreen)),
    "drain": Case(_on_top(AskScreen), ("1",)),
    "resume": Case(_on_top(Confirm), ("1", "end")),
    "filter": Case(_focused("filter")),
    "sort": Case(lambda app, service: app._dashboard.sessions.sorted_by == "STATE"),
    "sort_other_way": Case(lambda app, service: app._dashboard.sessions.view.reverse, ("s",)),
    "mark": Case(lambda app, service: app._dashboard.sessions.marked),
    "clear": Case(lambda app, service: not app._dashboard.sessions.marked, ("space",)),
    "mine": Case(lambda app, service: len(app._dashboard.sessions.rows) == 6),
    "copy": Case(_on_top(CopyScreen)),
    "history": Case(_on_top(HistoryScreen)),
    "commands": Case(_on_top(CommandsScreen)),
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
    return app._dashboard.context()


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


async def test_the_palette_offers_everything_and_says_why_not() -> None:
    app, _service = app_on(empty())
    async with app.run_test(size=(140, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "colon")
        assert set(offered(pilot)) == {action.title for action in REGISTRY}
        reasons = [a.reason(_context(app)) for a in REGISTRY if a.reason(_context(app))]
        assert set(offered(pilot)[-len(reasons) :]) >= {"Open", "Stop", "Log"}  # they stand last
        await press(pilot, "ctrl+end")
        assert "not now: no session is chosen" in text(pilot)
        await press(pilot, "escape")
        await palette(pilot, "Stop")
        assert toasts(pilot) == ["Stop: no session is chosen"]


async def test_a_double_click_opens() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(140, 24)) as pilot:
        await begin(pilot)
        await click_row(pilot, _dashboard(app).sessions, 3, times=2)
        await until(pilot, lambda: service.browsed == 1)


async def test_a_key_without_effect_says_why() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(140, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "o")  # a pending one
        await press(pilot, "down", "down", "down", "down", "x")  # another person's
        assert toasts(pilot) == ["Open: it is pending", "Stop: it belongs to björn"]
        assert not service.browsed
        assert not service.stopped


async def test_read_only_removes_what_changes_something() -> None:
    app, _service = app_on(busy())
    app._dashboard.read_only = True
    async with app.run_test(size=(140, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down")
        assert sees(pilot, "read-only", "o Open")
        assert not sees(pilot, "New session")
        await press(pilot, "n", "x")
        assert isinstance(app.screen, Dashboard)
        assert toasts(pilot) == [
            "New session: this vizdash is read-only",
            "Stop: this vizdash is read-only",
        ]


async def test_an_admin_stops_what_is_not_theirs() -> None:
    app, service = app_on(busy(), admin=True)
    async with app.run_test(size=(140, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "down", "x")
        assert sees(pilot, "Stop this session?", "of björn")
        await press(pilot, "y")
        assert len(service.stopped) == 1


async def test_an_admin_leaves_a_note_for_whose_session_they_stop() -> None:
    app, service = app_on(busy(), admin=True)
    async with app.run_test(size=(140, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "x")
        assert not sees(pilot, "With a note")  # it is their own
        await press(pilot, "m", "n", "down", "x")
        assert sees(pilot, "of björn", "m  With a note")
        await press(pilot, "m")
        assert isinstance(app.screen, AskScreen)
        assert sees(pilot, "björn to read")
        await press(pilot, *"down at 9", "enter")
        await until(pilot, lambda: service.stopped)
        assert service.notes == ["down at 9"]


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
        app._poller.refresh()
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
