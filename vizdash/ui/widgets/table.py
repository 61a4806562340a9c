"""A list of typed rows drawn by the line API: only the lines on the screen are rendered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from vizdash.ui.format import ellipsis, escape_control, pad, width
from vizdash.ui.theme import TONES, Line
from vizdash.ui.widgets.columns import GAP, GUTTER, Column, Now, Placed, place
from vizdash.ui.widgets.view import View

__all__ = ["Column", "Now", "Table"]

R = TypeVar("R")

#: Lines above the rows: the titles.
_HEAD = 1


class Table(ScrollView, Generic[R], can_focus=True):
    """Rows under a row of titles that stays, with a cursor that stays on its row.

    Rows are told apart by ``key``. ``set_rows`` repaints what changed, ``tick`` the cells that
    depend on the moment and are on the screen.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False),
        Binding("pagedown,ctrl+f", "page(1)", "Page down", show=False),
        Binding("home,g", "edge(-1)", "First", show=False),
        Binding("end,G", "edge(1)", "Last", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--head",
        "table--cursor",
        "table--rest",
        *(f"table--{tone}" for tone in TONES),
    }

    cursor: reactive[int] = reactive(0, repaint=False)

    class Moved(Message):
        """The cursor is on another row, or its row changed."""

        def __init__(self, table: Table[Any]) -> None:
            self.table = table
            super().__init__()

        @property
        def control(self) -> Table[Any]:
            """The table."""
            return self.table

        def can_replace(self, message: Message) -> bool:
            """Only the last of a burst counts."""
            return isinstance(message, Table.Moved) and message.table is self.table

    class Chosen(Message):
        """The row under the cursor was clicked twice."""

        def __init__(self, table: Table[Any]) -> None:
            self.table = table
            super().__init__()

        @property
        def control(self) -> Table[Any]:
            """The table."""
            return self.table

    def __init__(
        self,
        columns: Sequence[Column[R]],
        key: Callable[[R], str],
        *,
        moving: Callable[[R], bool] = lambda row: False,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._key = key
        self._moving = moving
        self._found: tuple[R, ...] = ()
        self._rows: tuple[R, ...] = ()
        self._index: dict[str, int] = {}
        self._wishes: list[int] = []
        self._placed: list[Placed[R]] = []
        self._empty: tuple[Line, ...] = ()
        self._now = Now()
        self.view: View[R] = View(key)
        self._sorted = -1
        self._measure()

    # ------------------------------------------------------------------ rows

    @property
    def rows(self) -> tuple[R, ...]:
        """The rows that are shown."""
        return self._rows

    @property
    def found(self) -> tuple[R, ...]:
        """The rows as last set, those that the filter hides too."""
        return self._found

    @property
    def marked(self) -> tuple[R, ...]:
        """The rows that are marked, shown or not."""
        return self.view.marked(self._found)

    @property
    def row(self) -> R | None:
        """The row under the cursor."""
        return self._rows[self.cursor] if self.cursor < len(self._rows) else None

    def set_empty(self, *found: Line) -> None:
        """What to say while there are no rows."""
        if found != self._empty:
            self._empty = found
            if not self._rows:
                self.refresh()

    def set_rows(self, rows: Sequence[R], now: Now) -> None:
        """Show ``rows``; only cells that changed are repainted."""
        old, kept, before = self._rows, self.row, self._now
        kept_key = "" if kept is None else self._key(kept)
        self._found, self._now = tuple(rows), now
        self.view.forget(self._found)
        self._rows = self.view.rows(self._found)
        self._index = {self._key(row): i for i, row in enumerate(self._rows)}
        if changed := old != self._rows:
            self._measure()
        same_places = [self._key(r) for r in old] == list(self._index)
        moved = self._place()  # before the rows are drawn: a pane of a fixed size lays out no more
        if not same_places:
            self.virtual_size = Size(0, self._height())
            last = max(0, len(self._rows) - 1)
            self.set_reactive(Table.cursor, self._index.get(kept_key, min(self.cursor, last)))
            self._into_view()
            self.refresh(layout=self.styles.is_auto_height)
        elif moved:
            self.refresh()
        else:
            self._repaint(old, before)
        if changed:
            self.post_message(self.Moved(self))

    def keep(self, kept: Callable[[R], bool]) -> None:
        """Show only rows for which ``kept`` holds."""
        self.view.keep = kept
        self.set_rows(self._found, self._now)

    def sort_by(self, index: int, *, reverse: bool = False) -> None:
        """Sort by the column with this index (-1: as the rows come)."""
        self._sorted, self.view.reverse = index, reverse
        self.view.sort = self._columns[index].sort if index >= 0 else None
        self.set_rows(self._found, self._now)
        self.refresh()
        self.post_message(self.Moved(self))

    def sort_next(self) -> None:
        """Sort by the next column, whether there's room for it or not; at last as the rows come."""
        useful = [i for i, c in enumerate(self._columns) if c.sort and self._wishes[i]]
        self.sort_by(next((i for i in useful if i > self._sorted), -1))

    def sort_other_way(self) -> None:
        """Turn the order round."""
        if self._sorted >= 0:
            self.sort_by(self._sorted, reverse=not self.view.reverse)

    @property
    def sorted_by(self) -> str:
        """The title of the column that is sorted by."""
        return self._columns[self._sorted].title.strip() if self._sorted >= 0 else ""

    @property
    def told(self) -> str:
        """What the rows do not show: a column that's sorted by without being there; marks."""
        seen = self._sorted < 0 or self._columns[self._sorted] in [p.column for p in self._placed]
        by = "" if seen else f"  by {self.sorted_by.lower()} {self.view.arrow}"
        return by + (f"  ◆ {len(self.marked)} marked" if self.marked else "")

    def mark(self) -> None:
        """Mark the row under the cursor, or take its mark away, and go on to the next."""
        if self.row is not None:
            self.view.mark(self.row)
            self._refresh_row(self.cursor)
            self.cursor += 1
            self.post_message(self.Moved(self))

    def unmark(self) -> None:
        """Take every mark away."""
        self.view.marks.clear()
        self.refresh()
        self.post_message(self.Moved(self))

    def shows(self, title: str) -> bool:
        """Whether there is room for the column with this title."""
        return any(spot.column.title == title for spot in self._placed)

    def cells(self, row: R) -> list[tuple[str, str]]:
        """Title and text of each of the row's cells, whole."""
        return [(c.title.strip(), c.text(row, self._now)) for c in self._columns]

    def tick(self, now: Now) -> None:
        """It is ``now``: repaint the cells on the screen that depend on it."""
        if now != self._now:
            before, self._now = self._now, now
            self._repaint(self._rows, before)

    def _repaint(self, old: Sequence[R], before: Now) -> None:
        """The cells on the screen that are not as they were drawn of ``old``, row for row."""
        first = self.scroll_offset.y
        for i in range(first, min(len(self._rows), first + self.size.height - _HEAD)):
            row, same = self._rows[i], self._rows[i] == old[i]
            for spot in self._placed:
                if not same or (spot.column.ticks and self._moving(row)):
                    at, end = spot.changed(old[i], before, row, self._now)
                    if at < end:
                        self.refresh(Region(spot.x + at, i - first + _HEAD, end - at, 1))

    def select(self, key: str) -> bool:
        """Put the cursor on the row called ``key``; False when there's none."""
        if key not in self._index:
            return False
        self.cursor = self._index[key]
        return True

    def _measure(self) -> None:
        """What each column wishes, from its title and its rows."""
        self._wishes = []
        for column in self._columns:
            wish = column.most
            if column.measure is not None:
                wish = max((column.measure(row) for row in self._rows), default=0)
                gone = not wish and column.sparse and self._rows
                wish = 0 if gone else max(wish, width(column.title), column.least)
            self._wishes.append(min(wish, column.most))

    def _place(self) -> bool:
        """Lay the columns out anew; whether anything moved."""
        room = self.size.width - GUTTER - 1
        was, self._placed = self._placed, place(self._columns, self._wishes, room)
        return was != self._placed

    def _height(self) -> int:
        return _HEAD + max(len(self._rows), len(self._empty) if not self._rows else 0)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Titles and rows."""
        return self._height()

    # ------------------------------------------------------------------ drawing

    def render_line(self, y: int) -> Strip:
        """One line of the widget: the titles, or a row."""
        cells = self.size.width
        if y < _HEAD:
            return self._render_titles(cells)
        if not self._rows:
            return self._render_empty(y - _HEAD, cells)
        index = y - _HEAD + self.scroll_offset.y
        if index >= len(self._rows):
            return Strip.blank(cells, self.rich_style)
        return self.render_row(index, cells)

    def render_row(self, index: int, cells: int) -> Strip:
        """The row with this index."""
        base, mark = self.rich_style, " "
        if index == self.cursor:
            name = "table--cursor" if self.has_focus else "table--rest"
            base += self.get_component_rich_style(name, partial=True)
            mark = "▌" if self.has_focus else " "
        accent = base + self.get_component_rich_style("table--accent", partial=True)
        flag = "◆" if self._key(self._rows[index]) in self.view.marks else " "
        segments = [Segment(mark + flag, accent)]
        for spot in self._placed:
            drawn = spot.column.cell(self._rows[index], self._now, spot.width)
            segments += self._cell(drawn, spot, base)
            segments.append(Segment(" " * GAP, base))
        return Strip(segments).adjust_cell_length(cells, base)

    def _cell(self, drawn: Line, spot: Placed[R], base: Style) -> list[Segment]:
        left, segments = spot.width, []
        for span in drawn:
            text = ellipsis(escape_control(span.text), left)
            left -= width(text)
            style = base + self.get_component_rich_style(f"table--{span.tone}", partial=True)
            segments.append(Segment(text, style + Style(bold=True) if span.bold else style))
            if left < 1:
                break
        blank = Segment(" " * left, base)
        return [blank, *segments] if spot.column.right else [*segments, blank]

    def _render_titles(self, cells: int) -> Strip:
        style = self.rich_style + self.get_component_rich_style("table--head", partial=True)
        titles = [Segment(" " * GUTTER, style)]
        chosen = self.rich_style + self.get_component_rich_style("table--accent", partial=True)
        for spot in self._placed:
            title, by = spot.column.title, self._columns.index(spot.column) == self._sorted
            if by:
                title += self.view.arrow
            title = pad(title, spot.width, right=spot.column.right)
            titles.append(Segment(title + " " * GAP, chosen if by else style))
        return Strip(titles).adjust_cell_length(cells, style)

    def _render_empty(self, index: int, cells: int) -> Strip:
        base, segments = self.rich_style, [Segment(" " * GUTTER, self.rich_style)]
        for span in self._empty[index] if index < len(self._empty) else ():
            style = base + self.get_component_rich_style(f"table--{span.tone}", partial=True)
            text = escape_control(span.text)
            segments.append(Segment(text, style + Style(bold=True) if span.bold else style))
        return Strip(segments).adjust_cell_length(cells, base)

    def _refresh_row(self, index: int) -> None:
        y = index - self.scroll_offset.y + _HEAD
        if _HEAD <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    # ------------------------------------------------------------------ moving

    def validate_cursor(self, cursor: int) -> int:
        """Keep it on a row."""
        return min(max(0, cursor), max(0, len(self._rows) - 1))

    def watch_cursor(self, old: int, new: int) -> None:
        """Repaint the two rows."""
        self._refresh_row(old)
        self._refresh_row(new)
        self._into_view()
        self.post_message(self.Moved(self))

    def _into_view(self) -> None:
        page, top = self._page, self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, immediate=True)
        elif self.cursor >= top + page:
            self.scroll_to(y=self.cursor - page + 1, animate=False, immediate=True)

    @property
    def _page(self) -> int:
        return max(1, self.size.height - _HEAD)

    def action_move(self, by: int) -> None:
        """One row up or down."""
        self.cursor += by

    def action_page(self, by: int) -> None:
        """One page up or down."""
        self.cursor += by * self._page

    def action_edge(self, by: int) -> None:
        """The first or the last row."""
        self.cursor = 0 if by < 0 else len(self._rows) - 1

    def on_resize(self, event: events.Resize) -> None:
        """Columns and cursor follow the new size."""
        self._place()
        self._into_view()
        self.refresh()

    def on_focus(self) -> None:
        """The cursor shows."""
        self._refresh_row(self.cursor)

    on_blur = on_focus

    def on_click(self, event: events.Click) -> None:
        """A click chooses, a double click opens."""
        offset = event.get_content_offset(self)
        if offset is None or not self._rows:
            return
        if offset.y < _HEAD:
            self._title_clicked(offset.x)
            return
        index = offset.y - _HEAD + self.scroll_offset.y
        if index < len(self._rows):
            self.cursor = index
            if event.chain == 2:
                self.post_message(self.Chosen(self))

    def _title_clicked(self, x: int) -> None:
        """Sort by this column; again: the other way; again: as the rows come."""
        spot = next((p for p in self._placed if p.x <= x < p.x + p.width + GAP), None)
        if spot is not None and spot.column.sort is not None:
            index = self._columns.index(spot.column)
            again, back = index == self._sorted, self.view.reverse
            self.sort_by(-1 if again and back else index, reverse=again and not back)
