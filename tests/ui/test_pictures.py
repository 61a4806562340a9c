"""Snapshots of every screen, small and large, dark and light, with empty, small, busy and broken
data.

After a wanted change: ``pytest tests/ui/test_pictures.py --snapshot-update``, and look at each.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from pytest_textual_snapshot import SVGImageExtension  # type: ignore[import-untyped]
from syrupy.assertion import SnapshotAssertion
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.screen import Screen

from tests.ui import scenes
from tests.ui.drive import begin, press, settled, until
from tests.ui.fake import (
    AT,
    LOG,
    LOOKING,
    RAN,
    FakeService,
    app_on,
    broken,
    busy,
    day,
    desktop_picture,
    empty,
    ending,
    hard,
    many,
    small,
    watched,
)
from tests.ui.pictures import deployed
from vizdash.errors import Refused, Unreachable, VizdashError
from vizdash.model import Place, Snapshot, Stray
from vizdash.sessions.fit import Fit
from vizdash.ui import screens
from vizdash.ui.screens.address import AddressScreen
from vizdash.ui.screens.ask import AskScreen
from vizdash.ui.screens.build import BuildForm, BuildLogScreen, BuildScreen
from vizdash.ui.screens.clusters import ClustersScreen
from vizdash.ui.screens.commands import CommandsScreen
from vizdash.ui.screens.confirm import Confirm
from vizdash.ui.screens.copy import CopyScreen
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.screens.deadline import DeadlineScreen
from vizdash.ui.screens.deploy import DeployScreen
from vizdash.ui.screens.help import HelpScreen
from vizdash.ui.screens.history import HistoryScreen
from vizdash.ui.screens.leave import LeaveScreen
from vizdash.ui.screens.log import LogScreen
from vizdash.ui.screens.look import LookScreen
from vizdash.ui.screens.matrix import MatrixScreen
from vizdash.ui.screens.progress import ProgressScreen
from vizdash.ui.screens.prompt import PromptScreen, WaitScreen
from vizdash.ui.screens.start import StartScreen
from vizdash.ui.screens.tunnels import TunnelsScreen
from vizdash.ui.theme import THEMES
from vizdash.ui.widgets.thumbnail import Thumbnail

Compare = Callable[..., bool]


@dataclass(frozen=True)
class Picture:
    """Data, keys that lead to the screen, and what the service answers; a screen that is laid over
    the dashboard; and whether the person may change images.
    """

    data: Callable[[], Snapshot]
    keys: tuple[str, ...] = ()
    answers: dict[str, object] = field(default_factory=dict)
    fails: VizdashError | None = None
    scene: Callable[[], Screen[Any]] | None = None
    rights: bool = False


_READY = ("down", "down", "down")
_NEVER = Fit(
    refusal="40 cores asked, but viz-node002 has 16, and no node of the partition has more"
)
_LATER = Fit(ever=("viz-node001",), away="viz-node004 is drained: fan 2 failed")
_NO_CTLD = Unreachable("slurm", "slurmctld does not answer", "is it running?")
_NO_HOME = Unreachable("the folder of 4f2a91c1", "the login host does not answer", "try again")
_NO_WAY = Unreachable("ssh viz-node002", "no route to host", "see vizdash doctor")


def _no_accounting() -> Snapshot:
    note = "what ended is known for 5 min: cluster viz keeps no accounting"
    return replace(busy(), past_note=note)


def _hostile_files() -> Snapshot:
    """A node of forty characters with a file that was named to be a nuisance."""
    now = broken()
    name = "\x1b[2Jboo\u202egnp\n가나다.sif"
    stray = Stray(f"/opt/apptainers/apps/paraview/{name}", 1 << 30, int(AT) - 7200)
    return replace(now, places=(Place(now.nodes[0].name, free_bytes=0, strays=(stray,)),))


PICTURES: dict[str, Picture] = {
    "dashboard-empty": Picture(empty),
    "dashboard-small": Picture(small),
    "dashboard-busy": Picture(busy),
    "dashboard-broken": Picture(broken),
    "dashboard-many": Picture(lambda: many(500), ("end",)),
    "dashboard-stale": Picture(busy, fails=_NO_CTLD),
    "nodes-busy": Picture(busy, ("1",)),
    "nodes-broken": Picture(broken, ("1", "down")),
    "images-busy": Picture(busy, ("3",)),
    "session-failed": Picture(busy, ("end", "up")),
    "start-usual": Picture(busy, ("n",)),
    "start-more": Picture(
        busy, ("n", "tab", "tab", "tab", "tab", "tab", "tab", "tab", "tab", "enter")
    ),
    "start-never": Picture(busy, ("n",), {"verdict": _NEVER}),
    "start-later": Picture(busy, ("n",), {"verdict": _LATER}),
    "start-refused": Picture(
        busy, ("n", "enter"), {"refusal": Refused("desktop was not started", "bad account", "ask")}
    ),
    "start-no-apps": Picture(empty, ("n",), {"catalogue": {}}),
    "stop-usual": Picture(busy, (*_READY, "x")),
    "stop-pending": Picture(busy, ("x",)),
    "stop-broken": Picture(hard, ("x",)),
    "log-usual": Picture(busy, (*_READY, "l"), {"log": LOG}),
    "log-empty": Picture(busy, (*_READY, "l")),
    "log-broken": Picture(hard, ("l",), {"log": "\x1b[2J\x07boo \u202egnp\n" * 9 + "가나다 " * 60}),
    "log-missing": Picture(busy, (*_READY, "l"), {"log_refusal": Unreachable("log", "no file")}),
    "detail-usual": Picture(busy, _READY, {"log": LOG, "config": LOOKING}),
    "detail-nothing": Picture(
        busy,
        _READY,
        {"trail_refusal": _NO_HOME, "preview_refusal": _NO_WAY, "config": LOOKING},
    ),
    "detail-opened": Picture(busy, (*_READY, "o"), {"log": LOG}),
    "look-usual": Picture(busy, (*_READY, "v"), {"log": LOG, "config": LOOKING}),
    "look-alone": Picture(busy, (*_READY, "v", "v"), {"log": LOG, "config": LOOKING}),
    "look-failed": Picture(_no_accounting, ("end", "up", "v"), {"log": LOG, "config": LOOKING}),
    "look-pending": Picture(busy, ("v",), {"config": LOOKING}),
    "look-others": Picture(busy, (*_READY, "down", "v"), {"config": LOOKING}),
    "look-broken": Picture(
        hard, ("v",), {"log": "\x1b[2J\x07boo \u202egnp\n" * 9 + "가나다 " * 60}
    ),
    "address-usual": Picture(busy, (*_READY, "o"), {"browser": False}),
    "address-broken": Picture(hard, ("o",), {"browser": False}),
    "sessions-idle": Picture(watched, ("slash", *"viewer:idle", "enter", *"sssssss")),
    "dashboard-limit": Picture(ending),
    "dashboard-filter": Picture(busy, ("slash", *"state:ready")),
    "dashboard-marks": Picture(busy, ("space", "space", "s", "s")),
    "dashboard-contrast": Picture(busy, ("T", "T")),
    "log-search": Picture(busy, (*_READY, "l", "slash", *"number 5", "enter"), {"log": LOG}),
    "stop-several": Picture(busy, ("space", "space", "space", "x")),
    "deadline": Picture(ending, ("w",)),
    "deadline-broken": Picture(hard, ("w",)),
    "drain": Picture(busy, ("1", "D"), {"node_admin": True}),
    "message": Picture(busy, (*_READY, "m")),
    "copy": Picture(busy, ("c",)),
    "copy-broken": Picture(hard, ("c",)),
    "history": Picture(busy, ("h",), {"history": day()}),
    "history-empty": Picture(empty, ("h",)),
    "commands": Picture(busy, ("C", "down"), {"ran": RAN}),
    "commands-empty": Picture(busy, ("C",)),
    "help": Picture(busy, ("question_mark",)),
    "palette-usual": Picture(busy, (*_READY, "ctrl+p")),
    "palette-empty": Picture(empty, ("ctrl+p",)),
    "matrix-empty": Picture(empty, ("M",)),
    "matrix-small": Picture(small, ("M",)),
    "matrix-busy": Picture(deployed, ("M", "down")),
    "matrix-broken": Picture(_hostile_files, ("M", "end")),
    "deploy": Picture(deployed, ("3", "d"), rights=True),
    "rollback": Picture(deployed, ("3", "r"), rights=True),
    "deploying": Picture(busy, scene=scenes.deploying),
    "deploying-broken": Picture(broken, scene=scenes.deployed_badly),
    "build": Picture(busy, ("b",)),
    "building": Picture(busy, scene=scenes.building),
    "building-failed": Picture(busy, scene=scenes.build_failed),
    "built-log": Picture(busy, scene=scenes.build_log),
    "prompt-password": Picture(busy, scene=scenes.password),
    "prompt-host-key": Picture(empty, scene=scenes.host_key),
    "waiting": Picture(busy, scene=scenes.waiting),
    "tunnels": Picture(busy, scene=scenes.tunnels),
    "tunnels-empty": Picture(empty, ("t",)),
    "clusters": Picture(small, scene=scenes.clusters),
    "leave": Picture(busy, scene=scenes.leaving),
}
#: What each picture is one of, by its name's first word.
SHOWS: dict[str, type[Screen[Any]]] = {
    **dict.fromkeys(("dashboard", "nodes", "images", "session", "sessions", "detail"), Dashboard),
    **dict.fromkeys(("stop", "rollback"), Confirm),
    **dict.fromkeys(("drain", "message"), AskScreen),
    "address": AddressScreen,
    "build": BuildForm,
    "building": BuildScreen,
    "built": BuildLogScreen,
    "clusters": ClustersScreen,
    "commands": CommandsScreen,
    "copy": CopyScreen,
    "deadline": DeadlineScreen,
    "deploy": DeployScreen,
    "deploying": ProgressScreen,
    "help": HelpScreen,
    "history": HistoryScreen,
    "leave": LeaveScreen,
    "log": LogScreen,
    "look": LookScreen,
    "matrix": MatrixScreen,
    "palette": CommandPalette,
    "prompt": PromptScreen,
    "start": StartScreen,
    "tunnels": TunnelsScreen,
    "waiting": WaitScreen,
}
SIZES = {"80x24": (80, 24), "160x48": (160, 48)}


def _drawn(shown: Thumbnail) -> bool:
    """Whether a thumbnail shows what it is to show, as large as it can."""
    picture = shown.picture
    if not shown.display or not shown.size.area or picture is None:
        return not (shown.display and shown.waiting)
    return picture == desktop_picture(*shown._points())


async def _drive(picture: Picture, service: FakeService, pilot: Pilot[str]) -> None:
    """Go to the screen, and let what comes and goes by itself be gone."""
    await begin(pilot)
    if picture.fails is not None:
        service.failure = picture.fails
        asked = service.asked
        await press(pilot, "R")
        await until(pilot, lambda: service.asked > asked)
    if picture.rights:
        rights = pilot.app._dashboard  # type: ignore[attr-defined]
        await until(pilot, lambda: rights.image_rights == "", "rights to the images")
    await press(pilot, *picture.keys)
    if picture.scene is not None:
        await pilot.app.push_screen(picture.scene())
    await settled(pilot)
    seen = pilot.app.screen.query(Thumbnail)
    await until(pilot, lambda: all(map(_drawn, seen)), "every thumbnail")
    pilot.app.clear_notifications()
    await settled(pilot)


def test_every_screen_is_shown() -> None:
    names = [info.name for info in pkgutil.iter_modules(screens.__path__)]
    modules = [importlib.import_module(f"{screens.__name__}.{name}") for name in names]
    ours = {
        cls
        for module in modules
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, Screen) and cls.__module__ == module.__name__
    }
    assert len(ours) > 20
    assert ours <= set(SHOWS.values())
    assert {name.partition("-")[0] for name in PICTURES} == set(SHOWS)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("name", PICTURES)
async def test_screen(snapshot: SnapshotAssertion, name: str, size: tuple[int, int]) -> None:
    """Dark as it comes, then light: the second picture of one run."""
    picture = PICTURES[name]
    compared = snapshot.use_extension(SVGImageExtension)
    app, service = app_on(picture.data(), **picture.answers)  # type: ignore[arg-type]
    async with app.run_test(size=size) as pilot:
        await _drive(picture, service, pilot)
        assert isinstance(app.screen, SHOWS[name.partition("-")[0]])
        dark = app.export_screenshot(title=app.title, simplify=True)
        app.theme = THEMES["light"].name
        await settled(pilot)
        light = app.export_screenshot(title=app.title, simplify=True)
    assert dark == compared
    assert light == compared


#: Of each kind of screen the one with the most on it.
SMALLEST = (
    "dashboard-busy",
    "dashboard-limit",
    "dashboard-filter",
    "nodes-busy",
    "images-busy",
    "start-more",
    "stop-several",
    "log-usual",
    "look-usual",
    "address-usual",
    "deadline",
    "drain",
    "copy",
    "history",
    "commands",
    "help",
    "palette-usual",
    "deploying-broken",
    "building-failed",
    "prompt-password",
    "prompt-host-key",
    "waiting",
    "clusters",
    "leave",
)


@pytest.mark.parametrize("name", SMALLEST)
async def test_smallest(snapshot: SnapshotAssertion, name: str) -> None:
    """At 60x16, the smallest that everything is usable in."""
    await _compare(snapshot, name, (60, 16))


@pytest.mark.parametrize("size", [(80, 23), (300, 100)], ids=["80x23", "300x100"])
async def test_other_sizes(snapshot: SnapshotAssertion, size: tuple[int, int]) -> None:
    """In tmux, whose status line takes a row of the usual terminal, and on a wall."""
    await _compare(snapshot, "dashboard-busy", size)


async def _compare(snapshot: SnapshotAssertion, name: str, size: tuple[int, int]) -> None:
    compared = snapshot.use_extension(SVGImageExtension)
    picture = PICTURES[name]
    app, service = app_on(picture.data(), **picture.answers)  # type: ignore[arg-type]
    async with app.run_test(size=size) as pilot:
        await _drive(picture, service, pilot)
        shown = app.export_screenshot(title=app.title, simplify=True)
    assert shown == compared


@pytest.mark.parametrize("size", [(59, 24)], ids=["too-small"])
def test_too_small(snap_compare: Compare, size: tuple[int, int]) -> None:
    app, service = app_on(busy())

    async def run(pilot: Pilot[str]) -> None:
        await until(pilot, lambda: service.asked)
        await settled(pilot)

    assert snap_compare(app, terminal_size=size, run_before=run)
