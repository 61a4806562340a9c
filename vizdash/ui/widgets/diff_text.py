"""Text that redraws only the rows that changed, such as the one with a countdown."""

from __future__ import annotations

from typing import Any, Self

from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.visual import Visual
from textual.widgets import Static


class DiffText(Static):
    """A Static whose ``put`` redraws only changed rows."""

    _only: tuple[Region, ...] = ()

    def put(self, shown: Content, *, layout: bool = True) -> None:
        """Show this text; ``layout`` is whether its number of rows sets the height."""
        old = self.content
        if isinstance(old, Content) and old.is_same(shown):
            return
        width = self.size.width
        before = self._drawn(old, width) if isinstance(old, Content) and width else []
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
        """Redraw the changed rows only, where ``put`` set them."""
        return super().refresh(*(regions or self._only), **how)
