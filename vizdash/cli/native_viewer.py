"""Showing a desktop in the user's native viewer (``vizdash open --viewer``)."""

from __future__ import annotations

import asyncio

from vizdash.cli import output
from vizdash.cli.hold_tunnels import report_end, until_lost
from vizdash.errors import VizdashError
from vizdash.model import Session
from vizdash.service.service import Service
from vizdash.sessions.routes import Route
from vizdash.sessions.viewer import RunningViewer


async def view(service: Service, session: Session, *, handoff: bool) -> None:
    """Open a route, start the viewer or print how to start one on another computer, and hold the
    route until the viewer is closed, Ctrl-C, or the end of the session.
    """
    route, viewer = await service.desktops.open_viewer(session, handoff=handoff)
    try:
        if viewer is None:
            await _print_line(service, session, route)
        else:
            words = (
                "closing it or Ctrl-C closes the tunnel"
                if viewer.viewer.stays
                else "Ctrl-C closes it"
            )
            output.print_message(
                f"{viewer.viewer.kind} shows the desktop; {words}, the session keeps running"
            )
        if viewer is None or viewer.asks:
            output.print_message("the viewer asks for this password:")
            output.write(route.password)
        await _hold(service, session, route, viewer)
    finally:
        if viewer is not None:
            await viewer.close()
        await route.close()


async def _print_line(service: Service, session: Session, route: Route) -> None:
    offer = await service.desktops.hand_off_viewer(route, session)
    output.print_message(f"there is no screen on {offer.host}. On your own computer, run this:")
    output.line_to_copy(offer.command)


async def _hold(
    service: Service, session: Session, route: Route, viewer: RunningViewer | None
) -> None:
    """Hold the route. Raises VizdashError where the viewer fails or the tunnel is lost."""
    lost = asyncio.create_task(until_lost(service, session, route))
    tasks: set[asyncio.Task[str] | asyncio.Task[str | None]] = {lost}
    closed = asyncio.create_task(viewer.wait()) if viewer is not None else None
    if closed is not None:
        tasks.add(closed)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if closed is not None and closed.done() and not lost.done():
            if why := closed.result():
                assert viewer is not None
                raise VizdashError(viewer.viewer.program, why, "vizdash open without --viewer")
            output.print_message("the viewer was closed; the session keeps running")
            return
        await report_end(service, session, route, await lost)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
