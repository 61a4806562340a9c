"""Every command that vizdash ran, with its time and outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Static

from vizdash.model import Ran
from vizdash.ui.theme import Line, Span, keys_line, line, lines
from vizdash.ui.widgets.clicked import Keys
from vizdash.ui.widgets.table import Column, Now, Table


def _at(ran: Ran, now: Now, cells: int) -> Line:
    return line(Span(time.strftime("%H:%M:%S", time.localtime(ran.at)), "muted"))


def _took(ran: Ran, now: Now, cells: int) -> Line:
    slow = ran.took_s > 1
    shown = f"{ran.took_s:.1f} s" if slow else f"{ran.took_s * 1000:.0f} ms"
    return line(Span(shown, "warn" if slow else "text"))


def _outcome(ran: Ran, now: Now, cells: int) -> Line:
    if ran.code is None:
        return line(Span("✗ no answer", "bad"))
    return line(Span(f"✗ exit {ran.code}", "bad") if ran.code else Span("✓ done", "good"))


def _command(ran: Ran, now: Now, cells: int) -> Line:
    return line(Span(ran.brief, "text"))


COLUMNS: tuple[Column[Ran], ...] = (
    Column("AT", _at, 8, 8, sort=lambda r: r.at),
    Column("TOOK", _took, 8, 8, right=True, sort=lambda r: r.took_s),
    Column("OUTCOME", _outcome, 11, 11, sort=lambda r: (r.code is None, r.code)),
    Column("COMMAND", _command, 20, 400, grows=1, sort=lambda r: r.brief),
)


class CommandsScreen(Screen[None]):
    """Newest first; the whole command and what it said stand below."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,C", "dismiss", "Back", show=False),
        Binding("r,R", "reload", "Reload", show=False),
        Binding("s", "sort", "Sort", show=False),
        Binding("f", "failed", "Failed", show=False),
        Binding("c", "copy", "Copy", show=False),
    ]
    AUTO_FOCUS = "Table"

    def __init__(self, ran: Callable[[], Sequence[Ran]]) -> None:
        super().__init__()
        self._ran = ran
        self._failed = False
        self._table: Table[Ran] = Table(COLUMNS, lambda r: str(r.number), id="ran")
        self._whole = Static(id="ran-whole", markup=False)
        self._keys = Keys(id="log-keys", markup=False)

    def compose(self) -> ComposeResult:
        """The list, the whole of one, the keys."""
        yield self._table
        yield self._whole
        yield self._keys

    def on_mount(self) -> None:
        """Show what there is."""
        self._table.set_empty(line(Span("no commands: this machine is asked directly", "muted")))
        self.action_reload()

    def action_reload(self) -> None:
        """Show what was run since."""
        self._table.set_rows(self._ran(), Now())
        shown = " failed" if self._failed else ""
        self._table.border_title = f"Commands {len(self._table.rows)}{shown}"
        self._show_keys()

    def _show_keys(self) -> None:
        """Those that do something with what is there."""
        keys = [("esc", "Back"), ("r", "Reload")]
        keys += [("s", "Sort")] if self._table.rows else []
        keys += [("f", "All" if self._failed else "Failed only")] if self._table.found else []
        keys += [("c", "Copy")] if self._table.rows else []
        self._keys.put(keys_line(keys), layout=False)

    def action_sort(self) -> None:
        """By the next column."""
        self._table.sort_next()

    def action_failed(self) -> None:
        """Those that failed, or all."""
        self._failed = not self._failed
        only = self._failed
        self._table.keep(lambda ran: ran.failed or not only)
        self.action_reload()

    def action_copy(self) -> None:
        """The command under the cursor."""
        if self._table.row is not None:
            self.app.copy_to_clipboard(self._table.row.line)
            self.notify("the command is copied, if your terminal allows it", markup=False)

    def on_table_moved(self, event: Table.Moved) -> None:
        """Show the whole of this one."""
        event.stop()
        ran = self._table.row
        if ran is None:
            self._whole.update("")
            return
        said = line(Span(ran.said, "bad" if ran.failed else "muted"))
        found = [line(Span(ran.brief, "strong")), *([said] if ran.said else [])]
        if ran.brief != ran.line:
            found.append(line(Span(f"as it was run: {ran.line}", "faint")))
        self._whole.update(lines(found))
