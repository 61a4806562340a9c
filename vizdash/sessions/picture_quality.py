"""noVNC's picture quality: chosen by the user, or from the measured link to the desktop.

noVNC reads ``quality`` (0 to 9, of JPEG) and ``compression`` (0 to 9) from the fragment of its page
(noVNC, docs/EMBEDDING.md); without them it uses 6 and 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from vizdash.errors import VizdashError
from vizdash.transport.base import Reader, Writer
from vizdash.util.files import make_private, read_own, write_whole

#: What the user may choose; ``medium`` are noVNC's own settings.
QUALITIES = ("auto", "low", "medium", "high")
_SETTINGS = {"low": (0, 9), "high": (9, 2)}
#: Below this rate (bytes a second), or beyond this round trip with twice the rate, the link is
#: full before the picture is: quality is lowered. High quality needs a link in the same building.
_SLOW_BYTES_S, _SLOW_RTT_S = 1_000_000, 0.1
_FAST_BYTES_S, _FAST_RTT_S = 25_000_000, 0.01
#: Files of noVNC's: a small one for the round trip, and a large one for the rate.
_SMALL, _LARGE = "/vnc.html", "/core/rfb.js"
_MEASURE_S = 4.0
#: How often the large one is loaded, until that has taken so many seconds.
_LOADS, _ENOUGH_S = 3, 1.0
_CHUNK = 1 << 16

Dial = Callable[[], Awaitable[tuple[Reader, Writer]]]


@dataclass(frozen=True, slots=True)
class Link:
    """A measured link: round trip in seconds, rate in bytes a second."""

    rtt_s: float
    bytes_s: float

    @property
    def text(self) -> str:
        """``152 ms, 0.9 Mbit/s``."""
        rate = self.bytes_s * 8e-6
        shown = f"{rate:.1f}" if rate < 10 else f"{rate:.0f}"
        return f"{self.rtt_s * 1000:.0f} ms, {shown if rate < 1000 else 'over 1000'} Mbit/s"


def choose_quality(link: Link) -> str:
    """The quality for a link."""
    slow = _SLOW_BYTES_S * (2 if link.rtt_s > _SLOW_RTT_S else 1)
    if link.bytes_s < slow:
        return "low"
    if link.bytes_s >= _FAST_BYTES_S and link.rtt_s <= _FAST_RTT_S:
        return "high"
    return "medium"


def novnc_settings(quality: str) -> str:
    """The part of noVNC's fragment for a quality; empty for noVNC's own."""
    if quality not in _SETTINGS:
        return ""
    level, compression = _SETTINGS[quality]
    return f"quality={level}&compression={compression}"


async def measure_link(dial: Dial) -> Link | None:
    """Measure the link to a session by loading files of noVNC's; None where that fails.

    It takes about a second on a slow link, and a few milliseconds on a fast one. The best of some
    loads counts: a TCP connection that was idle sends little at first and waits for a round trip
    each time (RFC 5681, slow start), which is no lack of capacity.
    """
    began = time.monotonic()
    with contextlib.suppress(OSError, VizdashError, TimeoutError, ValueError):
        async with asyncio.timeout(_MEASURE_S):
            firsts = [(await _load(dial, _SMALL))[0] for _ in range(2)]
            best = 0.0
            for _ in range(_LOADS):
                first_s, size, rest_s = await _load(dial, _LARGE)
                firsts.append(first_s)
                best = max(best, size / max(rest_s, 1e-4))
                if time.monotonic() - began > _ENOUGH_S:
                    break
            return Link(min(firsts), best)
    return None


async def _load(dial: Dial, path: str) -> tuple[float, int, float]:
    """Load a page: seconds until its first byte, its size, and the seconds for the rest of it.

    Raises ValueError where it is not there.
    """
    reader, writer = await dial()
    try:
        began = time.monotonic()
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        await writer.drain()
        data = await reader.read(_CHUNK)
        first = time.monotonic()
        if b" 200 " not in data.partition(b"\r\n")[0]:
            raise ValueError(path)
        size = len(data)
        while part := await reader.read(_CHUNK):
            size += len(part)
        return first - began, size, time.monotonic() - first
    finally:
        writer.close()


class SavedQuality:
    """The quality that a user chose for a cluster; a home that is full or read-only is no error."""

    def __init__(self, cluster: str) -> None:
        self._path = Path(platformdirs.user_state_dir("vizdash")) / f"picture-{cluster}.json"

    def load(self) -> str:
        """The saved quality; empty for none."""
        with contextlib.suppress(ValueError, RecursionError, AttributeError):
            saved = json.loads(read_own(self._path) or "{}").get("quality")
            return saved if saved in QUALITIES else ""
        return ""

    def save(self, quality: str) -> None:
        """Save it."""
        with contextlib.suppress(OSError):
            make_private(self._path.parent)
            write_whole(self._path, json.dumps({"quality": quality}))
