"""Text of which only the rows that look different are drawn anew: a countdown is one of many."""

from __future__ import annotations

from typing import Any, Self

from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.visual import Visual
from textual.widgets import Static


class Rows(Static):
    """``put`` takes what is to be shown from now on."""

    _only: tuple[Region, ...] = ()

    def put(self, shown: Content, *, layout: bool = True) -> None:
        """Show this; ``layout`` is whether the number of rows sets the height."""
        told = self.content
        if isinstance(told, Content) and told.is_same(shown):
            return
        width = self.size.width
        before = self._drawn(told, width) if isinstance(told, Content) and width else []
        after = self._drawn(shown, width) if width else []
        if not before or len(before) != len(after):
            self.update(shown, layout=layout)
            return
        changed = [y for y, row in enumerate(after) if row != before[y]]
        self._only = tuple(Region(0, y, width, 1) for y in changed)
        try:
            self.update(shown, layout=False)
        finally:
            self._only = ()

    def _drawn(self, shown: Content, width: int) -> list[Strip]:
        return Visual.to_strips(self, shown, width, None, self.visual_style)

    def refresh(self, *regions: Region, **how: Any) -> Self:
        """Where only some rows changed, those."""
        return super().refresh(*(regions or self._only), **how)
