"""Driving the real program: waits for what a user sees, never for a fixed time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

from textual import events
from textual.command import CommandList, CommandPalette
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Input

from tests.ui.fake import FakeService
from vizdash.model import Snapshot
from vizdash.ui.app import VizdashApp
from vizdash.ui.widgets.footer import Footer, entry_cells
from vizdash.ui.widgets.table import Table

#: Seconds after which a wait fails.
DEADLINE_S = 60.0
#: Workers that run as long as the program, or as long as a desktop is open.
_ENDLESS = {"poller", "routes", "preview"}

#: Textual's names of keys that aren't letters or digits.
_NAMED = {"/": "slash", ":": "colon", "?": "question_mark"}

AnyPilot = Pilot[str]


async def until(pilot: AnyPilot, seen: Callable[[], object], what: str = "") -> None:
    """Let the program run until ``seen`` is true. Fails with the screen after DEADLINE_S."""
    end = time.monotonic() + DEADLINE_S
    while not seen():
        if time.monotonic() > end:
            raise AssertionError(f"never seen: {what or seen}\n{text(pilot)}")
        await _turn(pilot)


async def _turn(pilot: AnyPilot) -> None:
    """Let every widget handle its messages, and lay the screen out."""
    await pilot._wait_for_screen()
    await asyncio.sleep(0.002)
    pilot.app.screen._on_timer_update()


async def settled(pilot: AnyPilot) -> None:
    """Let the program run until it is idle, twice in a row: no worker, no pending message,
    nothing to lay out or paint.
    """
    quiet = 0

    def still() -> bool:
        nonlocal quiet
        quiet = quiet + 1 if _quiet(pilot) else 0
        return quiet >= 2

    await _turn(pilot)
    await until(pilot, still, "a screen that stands still")


def _quiet(pilot: AnyPilot) -> bool:
    app = pilot.app
    if app._exit:
        return True
    if any(w.is_running and w.group not in _ENDLESS for w in app.workers):
        return False
    pumps = [app, *app.screen.walk_children(with_self=True)]
    if any(pump.message_queue_size for pump in pumps):
        return False
    screen = app.screen
    return not (screen._layout_required or screen._dirty_widgets or screen._callbacks)


async def begin(pilot: AnyPilot) -> None:
    """Wait until the first snapshot, or the reason why there is none, is on the screen."""
    board = cast("VizdashApp", pilot.app).state
    await until(pilot, lambda: board.snapshot or board.failure, "the first snapshot")
    await settled(pilot)


async def poll(pilot: AnyPilot, service: FakeService, now: Snapshot | None = None) -> None:
    """Show the next snapshot: ``now``, or the same again."""
    app = pilot.app
    assert isinstance(app, VizdashApp)
    if now is not None:
        service.now = now
    asked = service.asked
    app.refresh_snapshot()
    await until(pilot, lambda: service.asked > asked)
    await settled(pilot)


async def press(pilot: AnyPilot, *keys: str) -> None:
    """Press keys one after another, each when the program is idle."""
    for key in keys:
        await pilot.press(key)
        await settled(pilot)


def together(app: VizdashApp, *keys: str) -> None:
    """Press keys together, as a slow link delivers them: none is handled before the next."""
    assert app._driver is not None
    for key in keys:
        name = _NAMED.get(key, key)
        app._driver.send_message(events.Key(name, key if len(key) == 1 else None))


def text(pilot: AnyPilot) -> str:
    """The screen as plain text, line by line."""
    screen = pilot.app.screen
    width, height = screen.size
    if not width:
        return ""
    lines = screen._compositor.render_strips()
    return "\n".join("".join(s.text for s in line).rstrip() for line in lines[:height])


def sees(pilot: AnyPilot, *words: str) -> bool:
    """Whether all of these texts are on the screen."""
    shown = text(pilot)
    return all(word in shown for word in words)


def toasts(pilot: AnyPilot) -> list[str]:
    """The texts of the toasts, newest last."""
    return [note.message for note in pilot.app._notifications]


async def click_row(pilot: AnyPilot, table: Table[Any], index: int, times: int = 1) -> None:
    """Click on a row of a table."""
    top = 1 if table.styles.border_top[0] else 0
    await pilot.click(table, offset=(6, top + 1 + index - table.scroll_offset.y), times=times)
    await settled(pilot)


async def click_key(pilot: AnyPilot, action_id: str) -> None:
    """Click on an action in the footer."""
    footer = pilot.app.screen.query_one(Footer)
    x = footer.gutter.left
    for found, key, title in footer.shown():
        if found == action_id:
            await pilot.click(footer, offset=(x + 1, 0))
            await settled(pilot)
            return
        x += entry_cells((found, key, title))
    raise AssertionError(f"{action_id} is not in the footer: {footer.shown()}")


async def palette(pilot: AnyPilot, words: str) -> None:
    """Choose an action in the palette by its name."""
    await pilot.press("ctrl+p")
    await choose(pilot, words)


async def choose(pilot: AnyPilot, words: str, *, by_mouse: bool = False) -> None:
    """Choose an entry in the palette that is opening."""
    await until(pilot, lambda: isinstance(pilot.app.screen, CommandPalette), "the palette")
    await settled(pilot)
    pilot.app.screen.query_one(Input).value = words
    hits = pilot.app.screen.query_one(CommandList)
    await until(pilot, lambda: _offered(hits)[:1] == [words], f"{words} in the palette")
    if by_mouse:
        await pilot.click(hits, offset=(4, 0))
        await settled(pilot)
    else:
        await press(pilot, "enter")


def offered(pilot: AnyPilot) -> list[str]:
    """The entries of the palette, without their help."""
    return _offered(pilot.app.screen.query_one(CommandList))


def _offered(hits: CommandList) -> list[str]:
    return [str(option.prompt).partition("\n")[0] for option in hits.options]


def widget(pilot: AnyPilot, selector: str) -> Widget:
    """A widget of the screen on top."""
    return pilot.app.screen.query_one(selector)
