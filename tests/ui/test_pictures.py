"""Snapshots of every screen, small and large, dark and light, with empty, small, busy and broken
data.

After an intended change: ``pytest tests/ui/test_pictures.py --snapshot-update``; check each.
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

from tests.ui import work_in_progress
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
from tests.ui.pilot import begin, press, settled, until
from vizdash.errors import Refused, Unreachable, VizdashError
from vizdash.model import ImageRoot, Snapshot, StrayFile
from vizdash.sessions.capacity import CapacityVerdict
from vizdash.sessions.join import Offer
from vizdash.ui import screens
from vizdash.ui.screens.build import BuildForm, BuildLogScreen, BuildScreen
from vizdash.ui.screens.change_progress import ChangeProgressScreen
from vizdash.ui.screens.clipboard import ClipboardScreen
from vizdash.ui.screens.clusters import ClustersScreen
from vizdash.ui.screens.command_log import CommandLogScreen
from vizdash.ui.screens.confirm import ConfirmScreen
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.screens.deploy import DeployScreen
from vizdash.ui.screens.handoff import HandoffScreen
from vizdash.ui.screens.help import HelpScreen
from vizdash.ui.screens.image_matrix import ImageMatrixScreen
from vizdash.ui.screens.load_history import LoadHistoryScreen
from vizdash.ui.screens.login_prompt import LoginPromptScreen, LoginWaitScreen
from vizdash.ui.screens.offers import OffersScreen
from vizdash.ui.screens.open_with import OpenWithScreen
from vizdash.ui.screens.quit import QuitScreen
from vizdash.ui.screens.session_details import SessionDetailsScreen
from vizdash.ui.screens.session_log import SessionLogScreen
from vizdash.ui.screens.start import StartScreen
from vizdash.ui.screens.text_prompt import TextPromptScreen
from vizdash.ui.screens.time_limit import TimeLimitScreen
from vizdash.ui.screens.tunnels import TunnelsScreen
from vizdash.ui.theme import THEMES
from vizdash.ui.widgets.thumbnail import Thumbnail

Compare = Callable[..., bool]


@dataclass(frozen=True)
class Picture:
    """Data, keys that lead to the screen, and what the service answers; a screen that is laid over
    the dashboard; and whether the user may change images.
    """

    data: Callable[[], Snapshot]
    keys: tuple[str, ...] = ()
    answers: dict[str, object] = field(default_factory=dict)
    fails: VizdashError | None = None
    scene: Callable[[], Screen[Any]] | None = None
    rights: bool = False


_READY = ("down", "down", "down")
_OFFERS = (
    Offer("3f9a01bc", "4711", "desktop", "olga", False, None, ""),
    Offer("7c11d0e2", "4712", "paraview", "anna", True, int(AT) + 1200, ""),
)
_NEVER = CapacityVerdict(
    refusal="40 cores requested, but viz-node002 has 16, and no node of the partition has more"
)
_LATER = CapacityVerdict(
    candidates=("viz-node001",), unavailable="viz-node004 is drained: fan 2 failed"
)
_NO_CTLD = Unreachable("slurm", "slurmctld does not answer", "is it running?")
_NO_HOME = Unreachable("the folder of 4f2a91c1", "the login host does not answer", "try again")
_NO_WAY = Unreachable("ssh viz-node002", "no route to host", "see vizdash doctor")


def deployed() -> Snapshot:
    """Nodes that do not all have the images that they should."""
    day = busy()
    free = (412, 388, 57)
    places = tuple(
        ImageRoot(node.name, free_bytes=gib << 30, total_bytes=960 << 30)
        for node, gib in zip(day.nodes, free, strict=False)
    )
    stray = StrayFile(
        "/opt/apptainers/apps/paraview/.paraview-5.13.1.sif.part", 1_200_000_000, int(AT) - 7200
    )
    last = replace(places[2], strays=(stray,))
    away = ImageRoot(day.nodes[3].name, failure="ssh: no route to host")
    return replace(day, image_roots=(*places[:2], last, away))


def _no_accounting() -> Snapshot:
    note = "what ended is known for 5 min: cluster viz keeps no accounting"
    return replace(busy(), past_note=note)


def _hostile_files() -> Snapshot:
    """A node of forty characters with a file that was named to be a nuisance."""
    now = broken()
    name = "\x1b[2Jboo\u202egnp\n가나다.sif"
    stray = StrayFile(f"/opt/apptainers/apps/paraview/{name}", 1 << 30, int(AT) - 7200)
    return replace(now, image_roots=(ImageRoot(now.nodes[0].name, free_bytes=0, strays=(stray,)),))


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
    "dashboard-detail": Picture(busy, _READY, {"log": LOG, "config": LOOKING}),
    "dashboard-detail-nothing": Picture(
        busy,
        _READY,
        {"trail_refusal": _NO_HOME, "preview_refusal": _NO_WAY, "config": LOOKING},
    ),
    "dashboard-detail-opened": Picture(busy, (*_READY, "o"), {"log": LOG}),
    "details-usual": Picture(busy, (*_READY, "v"), {"log": LOG, "config": LOOKING}),
    "details-alone": Picture(busy, (*_READY, "v", "v"), {"log": LOG, "config": LOOKING}),
    "details-failed": Picture(_no_accounting, ("end", "up", "v"), {"log": LOG, "config": LOOKING}),
    "details-pending": Picture(busy, ("v",), {"config": LOOKING}),
    "details-others": Picture(busy, (*_READY, "down", "v"), {"config": LOOKING}),
    "details-broken": Picture(
        hard, ("v",), {"log": "\x1b[2J\x07boo \u202egnp\n" * 9 + "가나다 " * 60}
    ),
    "handoff-usual": Picture(busy, (*_READY, "o"), {"browser": False}),
    "handoff-broken": Picture(hard, ("o",), {"browser": False}),
    "sessions-idle": Picture(watched, ("slash", *"viewer:idle", "enter", *"sssssss")),
    "dashboard-limit": Picture(ending),
    "dashboard-filter": Picture(busy, ("slash", *"state:ready")),
    "dashboard-marks": Picture(busy, ("space", "space", "s", "s")),
    "dashboard-contrast": Picture(busy, ("T", "T")),
    "log-search": Picture(busy, (*_READY, "l", "slash", *"number 5", "enter"), {"log": LOG}),
    "stop-several": Picture(busy, ("space", "space", "space", "x")),
    "time-limit": Picture(ending, ("w",)),
    "time-limit-broken": Picture(hard, ("w",)),
    "open": Picture(busy, (*_READY, "O")),
    "drain": Picture(busy, ("1", "D"), {"node_admin": True}),
    "message": Picture(busy, (*_READY, "m")),
    "copy": Picture(busy, ("c",)),
    "copy-broken": Picture(hard, ("c",)),
    "history": Picture(busy, ("h",), {"history": day()}),
    "history-empty": Picture(empty, ("h",)),
    "commands": Picture(busy, ("C", "down"), {"runs": RAN}),
    "commands-empty": Picture(busy, ("C",)),
    "help": Picture(busy, ("question_mark",)),
    "offers": Picture(busy, ("J",), {"offers": _OFFERS}),
    "offers-empty": Picture(empty, ("J",)),
    "palette-usual": Picture(busy, (*_READY, "ctrl+p")),
    "palette-empty": Picture(empty, ("ctrl+p",)),
    "matrix-empty": Picture(empty, ("M",)),
    "matrix-small": Picture(small, ("M",)),
    "matrix-busy": Picture(deployed, ("M", "down")),
    "matrix-broken": Picture(_hostile_files, ("M", "end")),
    "deploy": Picture(deployed, ("3", "d"), rights=True),
    "rollback": Picture(deployed, ("3", "r"), rights=True),
    "deploying": Picture(busy, scene=work_in_progress.deploying),
    "deploying-broken": Picture(broken, scene=work_in_progress.deployed_badly),
    "build": Picture(busy, ("b",)),
    "building": Picture(busy, scene=work_in_progress.building),
    "building-failed": Picture(busy, scene=work_in_progress.build_failed),
    "built-log": Picture(busy, scene=work_in_progress.build_log),
    "prompt-password": Picture(busy, scene=work_in_progress.password),
    "prompt-host-key": Picture(empty, scene=work_in_progress.host_key),
    "waiting": Picture(busy, scene=work_in_progress.waiting),
    "tunnels": Picture(busy, scene=work_in_progress.tunnels),
    "tunnels-empty": Picture(empty, ("t",)),
    "clusters": Picture(small, scene=work_in_progress.clusters),
    "quit": Picture(busy, scene=work_in_progress.leaving),
}
#: What each picture is one of, by its name's first word.
SHOWS: dict[str, type[Screen[Any]]] = {
    **dict.fromkeys(("dashboard", "nodes", "images", "session", "sessions"), Dashboard),
    **dict.fromkeys(("stop", "rollback"), ConfirmScreen),
    **dict.fromkeys(("drain", "message"), TextPromptScreen),
    "handoff": HandoffScreen,
    "build": BuildForm,
    "building": BuildScreen,
    "built": BuildLogScreen,
    "clusters": ClustersScreen,
    "commands": CommandLogScreen,
    "copy": ClipboardScreen,
    "time": TimeLimitScreen,
    "deploy": DeployScreen,
    "deploying": ChangeProgressScreen,
    "help": HelpScreen,
    "history": LoadHistoryScreen,
    "quit": QuitScreen,
    "log": SessionLogScreen,
    "details": SessionDetailsScreen,
    "matrix": ImageMatrixScreen,
    "offers": OffersScreen,
    "open": OpenWithScreen,
    "palette": CommandPalette,
    "prompt": LoginPromptScreen,
    "start": StartScreen,
    "tunnels": TunnelsScreen,
    "waiting": LoginWaitScreen,
}
SIZES = {"80x24": (80, 24), "160x48": (160, 48)}


def _drawn(shown: Thumbnail) -> bool:
    """Whether a thumbnail shows what it is to show, as large as it can."""
    picture = shown.picture
    if not shown.display or not shown.size.area or picture is None:
        return not (shown.display and shown.waiting)
    return picture == desktop_picture(*shown._points())


async def _open_screen(picture: Picture, service: FakeService, pilot: Pilot[str]) -> None:
    """Go to the screen, and wait until toasts have gone."""
    await begin(pilot)
    if picture.fails is not None:
        service.failure = picture.fails
        asked = service.asked
        await press(pilot, "R")
        await until(pilot, lambda: service.asked > asked)
    if picture.rights:
        rights = pilot.app.dashboard  # type: ignore[attr-defined]
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
    """In the dark theme, then in the light one."""
    picture = PICTURES[name]
    compared = snapshot.use_extension(SVGImageExtension)
    app, service = app_on(picture.data(), **picture.answers)  # type: ignore[arg-type]
    async with app.run_test(size=size) as pilot:
        await _open_screen(picture, service, pilot)
        assert isinstance(app.screen, SHOWS[name.partition("-")[0]])
        dark = app.export_screenshot(title=app.title, simplify=True)
        app.theme = THEMES["light"].name
        await settled(pilot)
        light = app.export_screenshot(title=app.title, simplify=True)
    assert dark == compared(name="dark")
    assert light == compared(name="light")


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
    "details-usual",
    "handoff-usual",
    "time-limit",
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
    "open",
    "quit",
)


@pytest.mark.parametrize("name", SMALLEST)
async def test_smallest(snapshot: SnapshotAssertion, name: str) -> None:
    """At 60x16, the smallest that everything is usable in."""
    await _compare(snapshot, name, (60, 16))


#: The main screens.
MAIN = ("dashboard-busy", "start-more", "stop-usual", "details-usual", "log-usual", "matrix-busy")


@pytest.mark.parametrize("size", [(80, 23), (300, 100)], ids=["80x23", "300x100"])
@pytest.mark.parametrize("name", MAIN)
async def test_other_sizes(snapshot: SnapshotAssertion, name: str, size: tuple[int, int]) -> None:
    """In tmux, whose status line takes a row of the usual terminal, and on a wall."""
    await _compare(snapshot, name, size)


async def _compare(snapshot: SnapshotAssertion, name: str, size: tuple[int, int]) -> None:
    compared = snapshot.use_extension(SVGImageExtension)
    picture = PICTURES[name]
    app, service = app_on(picture.data(), **picture.answers)  # type: ignore[arg-type]
    async with app.run_test(size=size) as pilot:
        await _open_screen(picture, service, pilot)
        shown = app.export_screenshot(title=app.title, simplify=True)
    assert shown == compared


@pytest.mark.parametrize("size", [(59, 24)], ids=["too-small"])
def test_too_small(snap_compare: Compare, size: tuple[int, int]) -> None:
    app, service = app_on(busy())

    async def run(pilot: Pilot[str]) -> None:
        await until(pilot, lambda: service.asked)
        await settled(pilot)

    assert snap_compare(app, terminal_size=size, run_before=run)
