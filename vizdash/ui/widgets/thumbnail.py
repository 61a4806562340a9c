"""A live preview of a desktop in half blocks: each cell shows two points, one above the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import lru_cache
from textwrap import wrap
from typing import TYPE_CHECKING, TypeAlias

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget
from textual.worker import Worker

from vizdash.errors import VizdashError
from vizdash.util.text import escape_control

if TYPE_CHECKING:
    from vizdash.sessions.preview import Picture

#: Yields pictures of at most the size (points across, points down) that the callable gives.
PictureSource: TypeAlias = (
    "Callable[[Callable[[], tuple[int, int]]], AsyncGenerator[Picture, None]]"
)

#: Seconds between checks whether the widget is visible again.
_PAUSE_S = 0.5
_HALF = "▀"


class Thumbnail(Widget):
    """Shows pictures of one source while it is visible; hidden or covered, it requests none."""

    DEFAULT_CSS = "Thumbnail { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._picture: Picture | None = None
        self._words = ""
        self._waiting = False
        self._failed = False
        self._worker: Worker[None] | None = None

    @property
    def picture(self) -> Picture | None:
        """The picture that is shown."""
        return self._picture

    @property
    def waiting(self) -> bool:
        """Whether the first picture, or the error, is still to come."""
        return self._waiting

    @property
    def failed(self) -> bool:
        """Whether the error is shown with which the source ended."""
        return self._failed

    def show_source(self, source: PictureSource | None, words: str = "connecting …") -> None:
        """Show another desktop, or None for nothing; ``words`` are shown until a picture comes."""
        self._failed = False
        if self._worker is not None:
            self._worker.cancel()
            self._worker = None
        self._show(None, words if source is not None else "")
        self._waiting = source is not None
        if source is not None:
            follow = self._follow(source)
            self._worker = self.run_worker(follow, group="preview")

    async def _follow(self, source: PictureSource) -> None:
        try:
            async with aclosing(source(self._points)) as pictures:
                await self._until_seen()
                async for picture in pictures:
                    self._show(picture, "")
                    await self._until_seen()
        except VizdashError as e:
            self._failed = True
            self._show(None, e.line)

    def _points(self) -> tuple[int, int]:
        return max(1, self.size.width), max(1, self.size.height * 2)

    async def _until_seen(self) -> None:
        while not (self.app.screen is self.screen and self.display and self.size.area):
            await asyncio.sleep(_PAUSE_S)

    def _show(self, picture: Picture | None, words: str) -> None:
        """Redraw only the rows that differ: the link to the terminal may be slow."""
        before, self._picture, self._words = self._picture, picture, words
        self._waiting = False
        same_shape = before is not None and picture is not None and before.width == picture.width
        if not same_shape or before is None or picture is None or before.height != picture.height:
            self.refresh()
            return
        step = picture.width * 6
        for y in range(-(-picture.height // 2)):
            if before.rgb[y * step : (y + 1) * step] != picture.rgb[y * step : (y + 1) * step]:
                self.refresh(Region(0, y + self._above(picture), self.size.width, 1))

    def _above(self, picture: Picture) -> int:
        return max(0, (self.size.height - -(-picture.height // 2)) // 2)

    def render_line(self, y: int) -> Strip:
        """One row of cells, with the picture centred."""
        width, base = self.size.width, self.rich_style
        picture = self._picture
        if picture is None:
            lines = wrap(escape_control(self._words), max(1, width))
            at = y - (self.size.height - len(lines) + 1) // 2
            text = lines[at] if 0 <= at < len(lines) else ""
            return Strip([Segment(text.center(width), base)]).adjust_cell_length(width, base)
        row = y - self._above(picture)
        if not 0 <= row * 2 < picture.height:
            return Strip.blank(width, base)
        left = max(0, (width - picture.width) // 2)
        segments = [Segment(" " * left, base), *_cells(picture, row * 2, base)]
        return Strip(segments).adjust_cell_length(width, base)


def _cells(picture: Picture, top: int, base: Style) -> list[Segment]:
    """Two rows of points as cells; equal neighbours are merged."""
    segments: list[Segment] = []
    run, count = None, 0
    last = top + 1 >= picture.height
    for x in range(picture.width):
        pair = (picture.at(x, top), None if last else picture.at(x, top + 1))
        if pair != run and run is not None:
            segments.append(Segment(_HALF * count, base + _style(*run)))
            count = 0
        run, count = pair, count + 1
    if run is not None:
        segments.append(Segment(_HALF * count, base + _style(*run)))
    return segments


@lru_cache(maxsize=4096)
def _style(top: tuple[int, int, int], bottom: tuple[int, int, int] | None) -> Style:
    below = None if bottom is None else Color.from_rgb(*bottom)
    return Style(color=Color.from_rgb(*top), bgcolor=below)
