"""Pictures of the real program's screens: ``python -m tests.ui.pictures OUTDIR``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.ui.fake import AT, LOG, LOOKING, app_on, broken, busy, empty, many
from vizdash.errors import Unreachable
from vizdash.model import Place, SessionRequest, Snapshot
from vizdash.model.image import Stray
from vizdash.ui.app import VizdashApp

_WIDE, _NARROW = (160, 48), (80, 24)
#: The keys to a ready session.
_READY = ("down", "down", "down")


def deployed() -> Snapshot:
    """Nodes that were looked at, and do not all have what they should."""
    day = busy()
    free = (412, 388, 57)
    places = tuple(
        Place(node.name, free_bytes=gib << 30, total_bytes=960 << 30)
        for node, gib in zip(day.nodes, free, strict=False)
    )
    stray = Stray(
        "/opt/apptainers/apps/paraview/.paraview-5.13.1.sif.part", 1_200_000_000, int(AT) - 7200
    )
    last = replace(places[2], strays=(stray,))
    away = Place(day.nodes[3].name, failure="ssh: no route to host")
    return replace(day, places=(*places[:2], last, away))


#: Of the documents: name, data, size of the terminal, keys.
PICTURES: tuple[tuple[str, Callable[[], Snapshot], tuple[int, int], tuple[str, ...]], ...] = (
    ("dashboard", busy, (160, 42), _READY),
    ("nodes", busy, (140, 36), ("1",)),
    ("start", busy, (110, 32), ("n",)),
    ("look", busy, (110, 32), (*_READY, "v")),
    ("log", busy, (110, 32), (*_READY, "l")),
    ("address", busy, (110, 32), (*_READY, "o")),
    ("matrix", deployed, (140, 24), ("M",)),
)
#: For looking at, not for the documents.
PROOFS = (
    ("dashboard-80x24", busy, _NARROW, ()),
    ("dashboard-100x30", busy, (100, 30), ()),
    ("dashboard-120x40", busy, (120, 40), ()),
    ("dashboard-140x40", busy, (140, 40), ()),
    ("dashboard-160x48", busy, _WIDE, ()),
    ("dashboard-300x100", busy, (300, 100), ()),
    ("images", busy, (140, 36), ("3",)),
    ("empty", empty, _NARROW, ()),
    ("broken", broken, (140, 36), ()),
    ("stop", busy, (110, 32), (*_READY, "x")),
    ("help", busy, (110, 36), ("question_mark",)),
    ("palette", busy, (110, 32), ("ctrl+p",)),
    ("start-80x24", busy, _NARROW, ("n", "tab", "tab")),
    ("help-80x24", busy, _NARROW, ("question_mark",)),
    ("empty-160", empty, _WIDE, ()),
    ("broken-80", broken, _NARROW, ()),
    ("huge", lambda: many(1000), (300, 100), ()),
    ("many-80", lambda: many(1000), _NARROW, ("1", "end")),
    ("small", busy, (70, 20), ()),
    ("opening", busy, (110, 32), ("down", "down", "o", "x")),
)


async def picture(app: VizdashApp, size: tuple[int, int], keys: tuple[str, ...]) -> str:
    """The screen as SVG after these keys."""
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        await pilot.press(*keys)
        await pilot.pause(1.2)
        return app.export_screenshot(title="vizdash")


async def failing(size: tuple[int, int]) -> str:
    """The cluster stops answering."""
    app, service = app_on(busy())
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        service.failure = Unreachable("slurm", "slurmctld does not answer", "is it running?")
        await pilot.press("R")
        await pilot.pause(0.2)
        return app.export_screenshot(title="vizdash")


def main(folder: Path, *, proofs: bool = False) -> None:
    """Write them all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data, size, keys in (*PICTURES, *(PROOFS if proofs else ())):
        app, service = app_on(data(), log=LOG, browser="address" not in name, config=LOOKING)
        service.last = SessionRequest("paraview", service.catalogue["paraview"].resources)
        svg = asyncio.run(picture(app, size, keys))
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    if proofs:
        (folder / "stale.svg").write_text(asyncio.run(failing((140, 36))), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), proofs="--proofs" in sys.argv)
