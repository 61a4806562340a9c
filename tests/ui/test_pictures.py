"""Snapshots of every screen, small and large, with empty, small, busy and broken data.

After a wanted change: ``pytest tests/ui/test_pictures.py --snapshot-update``, and look at each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest
from textual.pilot import Pilot

from tests.ui.drive import begin, press, settled, until
from tests.ui.fake import (
    LOG,
    LOOKING,
    RAN,
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
from vizdash.errors import Refused, Unreachable, VizdashError
from vizdash.model import Snapshot
from vizdash.sessions.fit import Fit
from vizdash.ui.app import VizdashApp
from vizdash.ui.widgets.thumbnail import Thumbnail

Compare = Callable[..., bool]


@dataclass(frozen=True)
class Picture:
    """Data, keys that lead to the screen, and what the service answers."""

    data: Callable[[], Snapshot]
    keys: tuple[str, ...] = ()
    answers: dict[str, object] = field(default_factory=dict)
    fails: VizdashError | None = None


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
    "look-light": Picture(busy, ("T", *_READY, "v"), {"log": LOG, "config": LOOKING}),
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
    "dashboard-light": Picture(busy, ("T",)),
    "dashboard-contrast": Picture(busy, ("T", "T")),
    "broken-light": Picture(broken, ("T",)),
    "start-light": Picture(busy, ("T", "n")),
    "stop-light": Picture(busy, ("T", *_READY, "x")),
    "log-light": Picture(busy, ("T", *_READY, "l", "slash", *"number 5", "enter"), {"log": LOG}),
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
}
SIZES = {"80x24": (80, 24), "160x48": (160, 48)}


def _drawn(shown: Thumbnail) -> bool:
    """Whether a thumbnail shows what it is to show, as large as it can."""
    picture = shown.picture
    if not shown.display or not shown.size.area or picture is None:
        return not (shown.display and shown.waiting)
    return picture == desktop_picture(*shown._points())


def _drive(picture: Picture, service: object) -> Callable[[Pilot[str]], Awaitable[None]]:
    async def run(pilot: Pilot[str]) -> None:
        await begin(pilot)
        if picture.fails is not None:
            service.failure = picture.fails  # type: ignore[attr-defined]
            asked = service.asked  # type: ignore[attr-defined]
            await press(pilot, "R")
            await until(pilot, lambda: service.asked > asked)  # type: ignore[attr-defined]
        await press(pilot, *picture.keys)
        await settled(pilot)
        seen = pilot.app.screen.query(Thumbnail)
        await until(pilot, lambda: all(map(_drawn, seen)), "every thumbnail")
        pilot.app.clear_notifications()
        await settled(pilot)

    return run


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES.keys())
def test_screen(snap_compare: Compare, picture: Picture, size: tuple[int, int]) -> None:
    app, service = app_on(picture.data(), **picture.answers)  # type: ignore[arg-type]
    assert isinstance(app, VizdashApp)
    assert snap_compare(app, terminal_size=size, run_before=_drive(picture, service))


@pytest.mark.parametrize("size", [(79, 24), (300, 100)], ids=["too-small", "300x100"])
def test_other_sizes(snap_compare: Compare, size: tuple[int, int]) -> None:
    app, service = app_on(busy())

    async def run(pilot: Pilot[str]) -> None:
        await until(pilot, lambda: service.asked)
        await settled(pilot)

    assert snap_compare(app, terminal_size=size, run_before=run)
