"""The lines of a log, drawn by the line API, with what is searched for in another colour."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from vizdash.ui.format import width

#: Lines that are kept.
_MOST = 20_000


class LogView(ScrollView, can_focus=True):
    """``add`` puts lines below; while ``following`` the last one stays in sight."""

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
        self._widest = 0
        self._word = ""
        self._hits: list[int] = []
        self._hit = -1

    @property
    def hits(self) -> tuple[int, int]:
        """Which of the lines with the word is shown (from 1), and how many there are."""
        return self._hit + 1, len(self._hits)

    def clear(self) -> None:
        """No lines."""
        self._lines.clear()
        self._widest = 0
        self.search(self._word)
        self._resized()

    def add(self, lines: Iterable[str]) -> None:
        """New lines below; they are shown as they are, so they must be safe on a terminal."""
        new = list(lines)
        if not new:
            return
        self._lines += new
        del self._lines[: max(0, len(self._lines) - _MOST)]
        self._widest = max(self._widest, *map(width, new))
        if self._word:
            self._hits = self._found()
        self._resized()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Whoever moves up, by key, wheel or bar, wants to read on there."""
        super().watch_scroll_y(old_value, new_value)
        if new_value < old_value and new_value < self.max_scroll_y:
            self.following = False

    def _resized(self) -> None:
        self.virtual_size = Size(self._widest, len(self._lines))
        self.refresh()
        if self.following:
            self.scroll_end(animate=False, immediate=True, x_axis=False)

    def on_resize(self) -> None:
        """Lines may have come before there was room for them."""
        if self.following:
            self.scroll_end(animate=False, immediate=True, x_axis=False)

    def _found(self) -> list[int]:
        return [i for i, one in enumerate(self._lines) if self._word in one.casefold()]

    def search(self, word: str) -> None:
        """Mark lines with ``word`` (case does not count) and go to the last one."""
        self._word = word.casefold()
        self._hits = self._found() if word else []
        self._hit = len(self._hits) - 1
        self._go()

    def next(self, by: int) -> None:
        """To the next line with the word, round and round."""
        if self._hits:
            self._hit = (self._hit + by) % len(self._hits)
            self._go()

    def _go(self) -> None:
        if 0 <= self._hit < len(self._hits):
            self.following = False
            middle = self._hits[self._hit] - self.size.height // 2
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
        """One line, from where it is scrolled to."""
        left, top = self.scroll_offset
        cells, index = self.size.width, y + top
        if index >= len(self._lines):
            return Strip.blank(cells, self.rich_style)
        strip = Strip(self._segments(index))
        return strip.crop_extend(left, left + cells, self.rich_style)

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
        while (found := folded.find(self._word, at)) >= 0:
            end = found + len(self._word)
            segments += [Segment(text[at:found], base), Segment(text[found:end], style)]
            at = end
        return [*segments, Segment(text[at:], base)]
