"""A list of typed rows drawn by the line API: only visible lines are rendered."""

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
from typing_extensions import override

from vizdash.ui.present.lines import TONES, Line
from vizdash.ui.widgets.columns import GAP, GUTTER, Column, Now, PlacedColumn, place_columns
from vizdash.ui.widgets.row_view import RowView
from vizdash.util.text import cell_width, escape_control, pad, truncate

__all__ = ["Column", "Now", "Table"]

R = TypeVar("R")

#: Lines above the rows: the titles.
_HEAD = 1


class Table(ScrollView, Generic[R], can_focus=True):
    """Rows below a fixed line of titles, with a cursor that stays on its row.

    ``key`` identifies a row. ``set_rows`` repaints what changed, ``tick`` the visible cells that
    depend on the time.
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
        """The cursor moved to another row, or its row changed."""

        def __init__(self, table: Table[Any]) -> None:
            self.table = table
            super().__init__()

        @property
        def control(self) -> Table[Any]:
            """The table."""
            return self.table

        def can_replace(self, message: Message) -> bool:
            """Only the last message of a burst counts."""
            return isinstance(message, Table.Moved) and message.table is self.table

    class DoubleClicked(Message):
        """The row under the cursor was double-clicked."""

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
        self._all_rows: tuple[R, ...] = ()
        self._rows: tuple[R, ...] = ()
        self._cursor_moved = False
        self._index: dict[str, int] = {}
        self._preferred: list[int] = []
        self._placed: list[PlacedColumn[R]] = []
        self._empty: tuple[Line, ...] = ()
        self._now = Now()
        self._base = Style()
        self.view: RowView[R] = RowView(key)
        self._sorted = -1
        self._measure()

    # ------------------------------------------------------------------ rows

    @property
    def rows(self) -> tuple[R, ...]:
        """The rows that are shown."""
        return self._rows

    @property
    def all_rows(self) -> tuple[R, ...]:
        """The rows as last set, with those that the filter hides."""
        return self._all_rows

    @property
    def marked(self) -> tuple[R, ...]:
        """The marked rows, shown or not."""
        return self.view.marked(self._all_rows)

    @property
    def row(self) -> R | None:
        """The row under the cursor."""
        return self._rows[self.cursor] if self.cursor < len(self._rows) else None

    def set_empty(self, *lines: Line) -> None:
        """Set the text that is shown while there are no rows."""
        if lines != self._empty:
            self._empty = lines
            if not self._rows:
                self.refresh()

    def set_rows(self, rows: Sequence[R], now: Now, *, keep_cursor: bool = True) -> None:
        """Show ``rows``; only changed cells are repainted. Without ``keep_cursor`` it goes to the
        first row, unless the user has moved it.
        """
        old, kept, before = self._rows, self.row, self._now
        if not keep_cursor and not self._cursor_moved:
            kept = None
            self.set_reactive(Table.cursor, 0)
        kept_key = "" if kept is None else self._key(kept)
        self._all_rows, self._now = tuple(rows), now
        self.view.forget(self._all_rows)
        self._rows = self.view.rows(self._all_rows)
        self._index = {self._key(row): i for i, row in enumerate(self._rows)}
        if changed := old != self._rows:
            self._measure()
        same_places = [self._key(r) for r in old] == list(self._index)
        moved = self._lay_out()  # before drawing: a pane of fixed size gets no layout pass
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
        self.set_rows(self._all_rows, self._now)

    def sort_by(self, index: int, *, reverse: bool = False) -> None:
        """Sort by the column with this index (-1: unsorted)."""
        self._sorted, self.view.reverse = index, reverse
        self.view.sort = self._columns[index].sort if index >= 0 else None
        self.set_rows(self._all_rows, self._now)
        self.refresh()
        self.post_message(self.Moved(self))

    def sort_next(self) -> None:
        """Sort by the next column, shown or not; after the last one, unsorted."""
        useful = [i for i, c in enumerate(self._columns) if c.sort and self._preferred[i]]
        self.sort_by(next((i for i in useful if i > self._sorted), -1))

    def reverse_sort(self) -> None:
        """Reverse the order."""
        if self._sorted >= 0:
            self.sort_by(self._sorted, reverse=not self.view.reverse)

    @property
    def sorted_by(self) -> str:
        """The title of the sorted column."""
        return self._columns[self._sorted].title.strip() if self._sorted >= 0 else ""

    @property
    def summary(self) -> str:
        """What the rows don't show: a sorted column that is not shown, and the number of marks."""
        seen = self._sorted < 0 or self._columns[self._sorted] in [p.column for p in self._placed]
        by = "" if seen else f"  by {self.sorted_by.lower()} {self.view.arrow}"
        return by + (f"  ◆ {len(self.marked)} marked" if self.marked else "")

    def mark(self) -> None:
        """Mark or unmark the row under the cursor and move to the next."""
        if self.row is not None:
            self.view.mark(self.row)
            self._refresh_row(self.cursor)
            self.cursor += 1
            self.post_message(self.Moved(self))

    def unmark(self) -> None:
        """Remove all marks."""
        self.view.marks.clear()
        self.refresh()
        self.post_message(self.Moved(self))

    def shows(self, title: str) -> bool:
        """Whether the column with this title is shown."""
        return any(spot.column.title == title for spot in self._placed)

    def cells(self, row: R) -> list[tuple[str, str]]:
        """Title and whole text of each of the row's cells."""
        return [(c.title.strip(), c.text(row, self._now)) for c in self._columns]

    def tick(self, now: Now) -> None:
        """Repaint the visible cells that depend on the time."""
        if now != self._now:
            before, self._now = self._now, now
            self._repaint(self._rows, before)

    def _repaint(self, old: Sequence[R], before: Now) -> None:
        """Repaint the visible cells that differ from those drawn of ``old``, row by row."""
        first = self.scroll_offset.y
        for i in range(first, min(len(self._rows), first + self.size.height - _HEAD)):
            row, same = self._rows[i], self._rows[i] == old[i]
            for spot in self._placed:
                if not same or (spot.column.ticks and self._moving(row)):
                    at, end = spot.changed(old[i], before, row, self._now)
                    if at < end:
                        self.refresh(Region(spot.x + at, i - first + _HEAD, end - at, 1))

    def select(self, key: str) -> bool:
        """Move the cursor to the row with this key; False when there is none."""
        if key not in self._index:
            return False
        self.cursor = self._index[key]
        return True

    def _measure(self) -> None:
        """The preferred width of each column, from its title and its rows."""
        self._preferred = []
        for column in self._columns:
            preferred = column.most
            if column.measure is not None:
                preferred = max((column.measure(row) for row in self._rows), default=0)
                gone = not preferred and column.sparse and self._rows
                preferred = 0 if gone else max(preferred, cell_width(column.title), column.least)
            self._preferred.append(min(preferred, column.most))

    def _lay_out(self) -> bool:
        """Lay out the columns; returns whether any moved."""
        width = self.size.width - GUTTER - 1
        was, self._placed = self._placed, place_columns(self._columns, self._preferred, width)
        return was != self._placed

    def _height(self) -> int:
        return _HEAD + max(len(self._rows), len(self._empty) if not self._rows else 0)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Titles and rows."""
        return self._height()

    # ------------------------------------------------------------------ drawing

    @override
    def render_lines(self, crop: Region) -> list[Strip]:
        self._base = self.rich_style  # from the styles of all ancestors: once for all lines
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """One line of the widget: the titles, or a row."""
        cells = self.size.width
        if y < _HEAD:
            return self._render_titles(cells)
        if not self._rows:
            return self._render_empty(y - _HEAD, cells)
        index = y - _HEAD + self.scroll_offset.y
        if index >= len(self._rows):
            return Strip.blank(cells, self._base)
        return self.render_row(index, cells)

    def render_row(self, index: int, cells: int) -> Strip:
        """The row with this index."""
        base, mark = self._base, " "
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

    def _cell(self, drawn: Line, spot: PlacedColumn[R], base: Style) -> list[Segment]:
        left, segments = spot.width, []
        for span in drawn:
            text = truncate(escape_control(span.text), left)
            left -= cell_width(text)
            style = base + self.get_component_rich_style(f"table--{span.tone}", partial=True)
            segments.append(Segment(text, style + Style(bold=True) if span.bold else style))
            if left < 1:
                break
        blank = Segment(" " * left, base)
        return [blank, *segments] if spot.column.right else [*segments, blank]

    def _render_titles(self, cells: int) -> Strip:
        style = self._base + self.get_component_rich_style("table--head", partial=True)
        titles = [Segment(" " * GUTTER, style)]
        chosen = self._base + self.get_component_rich_style("table--accent", partial=True)
        for spot in self._placed:
            title, by = spot.column.title, self._columns.index(spot.column) == self._sorted
            if by:
                title += self.view.arrow
            title = pad(title, spot.width, right=spot.column.right)
            titles.append(Segment(title + " " * GAP, chosen if by else style))
        return Strip(titles).adjust_cell_length(cells, style)

    def _render_empty(self, index: int, cells: int) -> Strip:
        base, segments = self._base, [Segment(" " * GUTTER, self._base)]
        if index >= len(self._empty):
            return Strip.blank(cells, base)
        for span in self._empty[index]:
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
        """Keep the cursor on a row."""
        return min(max(0, cursor), max(0, len(self._rows) - 1))

    def watch_cursor(self, old: int, new: int) -> None:
        """Repaint the two rows."""
        self._cursor_moved = self._cursor_moved or old != new
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
        self._lay_out()
        self._into_view()
        self.refresh()

    def on_focus(self) -> None:
        """Show the cursor."""
        self._refresh_row(self.cursor)

    on_blur = on_focus

    def on_click(self, event: events.Click) -> None:
        """A click selects, a double click opens."""
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
                self.post_message(self.DoubleClicked(self))

    def _title_clicked(self, x: int) -> None:
        """Sort by this column, then reversed, then unsorted."""
        spot = next((p for p in self._placed if p.x <= x < p.x + p.width + GAP), None)
        if spot is not None and spot.column.sort is not None:
            index = self._columns.index(spot.column)
            again, back = index == self._sorted, self.view.reverse
            self.sort_by(-1 if again and back else index, reverse=again and not back)
