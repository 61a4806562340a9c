"""A live preview of the user's own ready session, as long as it is shown.

It comes from Xvnc's socket, not through websockify, so that it does not count as a viewer (see
``inner_viewers`` in assets/jobs/inner.sh). It is cheap by design: one update at a time, at most one
in ``EVERY_S`` seconds, fewer when they are large; an idle desktop costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from vizdash.errors import NotFound, Refused
from vizdash.model import Session, SessionState
from vizdash.sessions.folder import Connection
from vizdash.sessions.folder_store import SessionStore
from vizdash.sessions.rfb import Framebuffer, RfbClient
from vizdash.transport.base import PortForwarder

#: Seconds between two pictures, and the bytes a second that they may cost in the long run.
EVERY_S = 2.0
BYTES_PER_S = 32 * 1024
#: Seconds between checks for another requested size, while the desktop does not change.
_SIZE_S = 0.5
#: Pixels of the desktop that are sampled for one of the picture, across and down.
_POINTS = 3
_sleep = asyncio.sleep


@dataclass(frozen=True, slots=True)
class Picture:
    """``width`` x ``height`` points, three bytes each (red, green, blue), row by row, and the
    size of the desktop that it shows.
    """

    width: int
    height: int
    rgb: bytes = field(repr=False)
    desktop: tuple[int, int]

    def at(self, x: int, y: int) -> tuple[int, int, int]:
        """One point's red, green and blue, 0 to 255."""
        red, green, blue = self.rgb[(y * self.width + x) * 3 :][:3]
        return red, green, blue


async def session_pictures(
    session: Session,
    store: SessionStore,
    forwarder: PortForwarder,
    size: Callable[[], tuple[int, int]],
) -> AsyncGenerator[Picture, None]:
    """Pictures of the user's own ready session; close the iterator (``aclosing``) to end them.

    ``size`` returns the largest size of a picture, in pixels. Raises Refused for another user's
    session or one that is not ready, and as ``pictures`` does.
    """
    if not session.mine or session.state is not SessionState.READY:
        why = f"it is {session.state}" if session.mine else f"it belongs to {session.user}"
        raise Refused(f"no picture of session {session.id}", why)
    connection = await store.connection(session.id)
    async with aclosing(pictures(connection, forwarder, size)) as stream:
        async for picture in stream:
            yield picture


async def pictures(
    connection: Connection, forwarder: PortForwarder, size: Callable[[], tuple[int, int]]
) -> AsyncGenerator[Picture, None]:
    """Pictures of a desktop: one at once, then one at every change of the desktop or the requested
    size, until the iterator is closed or the desktop ends.

    ``size`` returns the largest size of a picture, in pixels; a picture keeps the desktop's aspect
    ratio. Raises NotFound without a VNC socket, Unreachable or TimedOut where the node or the
    desktop does not answer.
    """
    if not connection.vnc_socket:
        raise NotFound("the desktop's picture", "this session has no VNC socket")
    forward = await forwarder.open(connection.node, connection.vnc_socket, job_id=connection.job_id)
    try:
        client = await RfbClient.connect(forward.dial, connection.view_password)
        try:
            async with aclosing(_pictures(client, size)) as stream:
                async for picture in stream:
                    yield picture
        finally:
            await client.close()
    finally:
        # A second cancellation must not leave the tunnel open.
        await asyncio.shield(forward.close())


async def _pictures(
    client: RfbClient, size: Callable[[], tuple[int, int]]
) -> AsyncGenerator[Picture, None]:
    whole, shown = True, (0, 0)
    while True:
        before = client.received
        await client.ask(whole=whole)
        update = asyncio.ensure_future(client.update())
        try:
            while not update.done():
                await asyncio.wait({update}, timeout=_SIZE_S)
                if not update.done() and not whole and size() != shown:
                    shown = size()
                    yield await asyncio.to_thread(scale_down, client.screen, *shown)
        finally:
            update.cancel()
            await asyncio.gather(update, return_exceptions=True)
        whole = not update.result()
        if not whole:
            shown = size()
            yield await asyncio.to_thread(scale_down, client.screen, *shown)
        await _sleep(max(EVERY_S, (client.received - before) / BYTES_PER_S))


def scale_down(screen: Framebuffer, width: int, height: int) -> Picture:
    """The desktop in at most ``width`` x ``height`` pixels, with its aspect ratio.

    Each is the mean of a few of the desktop's, so that text turns grey instead of flickering.
    """
    scale = min(width / screen.width, height / screen.height, 1.0)
    wide, tall = max(1, round(screen.width * scale)), max(1, round(screen.height * scale))
    xs = _spread(screen.width, wide * _POINTS)
    ys = _spread(screen.height, tall * _POINTS)
    pixels = memoryview(screen.pixels).cast("H")
    rgb = bytearray()
    for top in range(0, len(ys), _POINTS):
        rows = [y * screen.width for y in ys[top : top + _POINTS]]
        for left in range(0, len(xs), _POINTS):
            columns = xs[left : left + _POINTS]
            rgb += _mean([pixels[row + x] for row in rows for x in columns])
    return Picture(wide, tall, bytes(rgb), (screen.width, screen.height))


def _spread(length: int, count: int) -> list[int]:
    """``count`` places, evenly over ``length``."""
    return [(2 * i + 1) * length // (2 * count) for i in range(count)]


def _mean(points: list[int]) -> bytes:
    """The mean of RGB565 points as red, green, blue."""
    count = len(points)
    red = sum(p >> 11 for p in points) * 255 // (31 * count)
    green = sum((p >> 5) & 63 for p in points) * 255 // (63 * count)
    blue = sum(p & 31 for p in points) * 255 // (31 * count)
    return bytes((red, green, blue))
