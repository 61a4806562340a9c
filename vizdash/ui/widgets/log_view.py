"""A wrapped log drawn by the line API, with matches of a search highlighted."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import ClassVar

from rich.cells import chop_cells
from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from vizdash.util.text import cell_width

#: Lines that are kept.
_MOST = 20_000


class LogView(ScrollView, can_focus=True):
    """``add`` appends lines; while ``following``, the last line stays visible."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", show=False),
        Binding("k", "scroll_up", show=False),
        Binding("g,home", "scroll_home", show=False),
        Binding("G,end", "scroll_end", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"log--found", "log--here"}

    following: reactive[bool] = reactive(True, repaint=False)

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[str] = []
        #: For each row: the index of its line, and where in the line it begins and ends.
        self._rows: list[tuple[int, int, int]] = []
        self._cells = 0
        self._word = ""
        self._hits: list[int] = []
        self._hit = -1

    @property
    def hits(self) -> tuple[int, int]:
        """The number of the match that is shown (from 1), and of all matches."""
        return self._hit + 1, len(self._hits)

    def clear(self) -> None:
        """Remove all lines."""
        self._lines.clear()
        self._rows.clear()
        self.search(self._word)
        self._resized()

    def add(self, lines: Iterable[str]) -> None:
        """Append lines, which must be safe on a terminal: they are shown unescaped."""
        new = list(lines)
        if not new:
            return
        self._lines += new
        if len(self._lines) > _MOST:
            del self._lines[:-_MOST]
            self._wrap(0)
        else:
            self._wrap(len(self._lines) - len(new))
        if self._word:
            self._hits = self._matching_lines()
        self._resized()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Stop following when the user scrolls up by key, wheel or bar."""
        super().watch_scroll_y(old_value, new_value)
        if new_value < old_value and new_value < self.max_scroll_y:
            self.following = False

    def _resized(self) -> None:
        self.virtual_size = Size(0, len(self._rows))
        self.refresh()
        if self.following:
            self.scroll_end(animate=False, immediate=True, x_axis=False)

    def on_resize(self) -> None:
        """Wrap again; without following, the line on top stays on top."""
        if self._cells == self._across:
            self._resized()
            return
        top = self.scroll_offset.y
        line = self._rows[top][0] if top < len(self._rows) else 0
        self._wrap(0)
        self._resized()
        if not self.following:
            self.scroll_to(y=self._row_of(line), animate=False, immediate=True)

    @property
    def _across(self) -> int:
        """Cells of a row without the scrollbar."""
        return self.scrollable_content_region.width

    def _wrap(self, first: int) -> None:
        """Wrap the lines from ``first`` on into rows."""
        if first == 0:
            self._rows.clear()
            self._cells = self._across
        for index in range(first, len(self._lines)):
            text, at = self._lines[index], 0
            fits = not self._cells or cell_width(text) <= self._cells
            for piece in [text] if fits else chop_cells(text, self._cells):
                self._rows.append((index, at, at + len(piece)))
                at += len(piece)

    def _row_of(self, index: int) -> int:
        """The first row of a line."""
        return bisect_left(self._rows, (index, 0, 0))

    def _matching_lines(self) -> list[int]:
        return [i for i, one in enumerate(self._lines) if self._word in one.casefold()]

    def search(self, word: str) -> None:
        """Highlight lines that contain ``word`` (case is ignored) and show the last one."""
        self._word = word.casefold()
        self._hits = self._matching_lines() if word else []
        self._hit = len(self._hits) - 1
        self._go()

    def next(self, by: int) -> None:
        """Show the next match, wrapping around."""
        if self._hits:
            self._hit = (self._hit + by) % len(self._hits)
            self._go()

    def _go(self) -> None:
        if 0 <= self._hit < len(self._hits):
            self.following = False
            middle = self._row_of(self._hits[self._hit]) - self.size.height // 2
            self.scroll_to(y=max(0, middle), animate=False, immediate=True)
        self.refresh()

    def action_scroll_end(self) -> None:
        """The last line."""
        self.scroll_end(animate=False, immediate=True, x_axis=False)

    def action_scroll_home(self) -> None:
        """The first line."""
        self.following = False
        self.scroll_home(animate=False, immediate=True)

    def render_line(self, y: int) -> Strip:
        """One row, from where it is scrolled to."""
        cells, at = self.size.width, y + self.scroll_offset.y
        if at >= len(self._rows):
            return Strip.blank(cells, self.rich_style)
        index, begin, end = self._rows[at]
        before = cell_width(self._lines[index][:begin])
        strip = Strip(self._segments(index))
        shown = strip.crop(before, before + cell_width(self._lines[index][begin:end]))
        return shown.adjust_cell_length(cells, self.rich_style)

    def _segments(self, index: int) -> list[Segment]:
        text, base = self._lines[index], self.rich_style
        if not self._word or index not in self._hits:
            return [Segment(text, base)]
        here = 0 <= self._hit < len(self._hits) and self._hits[self._hit] == index
        name = "log--here" if here else "log--found"
        style = base + self.get_component_rich_style(name, partial=True)
        segments, at, folded = [], 0, text.casefold()
        if len(folded) != len(text):  # folding changed lengths: mark the whole line
            return [Segment(text, style)]
        while (match := folded.find(self._word, at)) >= 0:
            end = match + len(self._word)
            segments += [Segment(text[at:match], base), Segment(text[match:end], style)]
            at = end
        return [*segments, Segment(text[at:], base)]
