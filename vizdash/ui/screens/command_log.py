"""Every command that vizdash ran, with its time and outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Static

from vizdash.model import CommandRun
from vizdash.ui.present.lines import Line, Span, keys_line, line, lines
from vizdash.ui.widgets.clickable_keys import KeyLine
from vizdash.ui.widgets.columns import Column, Now
from vizdash.ui.widgets.table import Table


def _at(run: CommandRun, now: Now, cells: int) -> Line:
    return line(Span(time.strftime("%H:%M:%S", time.localtime(run.at)), "muted"))


def _took(run: CommandRun, now: Now, cells: int) -> Line:
    slow = run.took_s > 1
    shown = f"{run.took_s:.1f} s" if slow else f"{run.took_s * 1000:.0f} ms"
    return line(Span(shown, "warn" if slow else "text"))


def _outcome(run: CommandRun, now: Now, cells: int) -> Line:
    if run.code is None:
        return line(Span("✗ no answer", "bad"))
    return line(Span(f"✗ exit {run.code}", "bad") if run.code else Span("✓ done", "good"))


def _command(run: CommandRun, now: Now, cells: int) -> Line:
    return line(Span(run.brief, "text"))


COMMAND_COLUMNS: tuple[Column[CommandRun], ...] = (
    Column("AT", _at, 8, 8, sort=lambda r: r.at),
    Column("TOOK", _took, 8, 8, right=True, sort=lambda r: r.took_s),
    Column("OUTCOME", _outcome, 11, 11, sort=lambda r: (r.code is None, r.code)),
    Column("COMMAND", _command, 20, 400, grows=1, sort=lambda r: r.brief),
)


class CommandLogScreen(Screen[None]):
    """Newest first; the whole command and its output are shown below the list."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,C", "dismiss", "Back", show=False),
        Binding("r,R", "reload", "Reload", show=False),
        Binding("s", "sort", "Sort", show=False),
        Binding("f", "failed", "Failed", show=False),
        Binding("c", "copy", "Copy", show=False),
    ]
    AUTO_FOCUS = "Table"

    def __init__(self, runs: Callable[[], Sequence[CommandRun]]) -> None:
        super().__init__()
        self._runs = runs
        self._failed = False
        self._table: Table[CommandRun] = Table(
            COMMAND_COLUMNS, lambda r: str(r.number), id="commands"
        )
        self._command = Static(id="command", markup=False)
        self._keys = KeyLine(id="log-keys", markup=False)

    def compose(self) -> ComposeResult:
        """The list, the selected command, the keys."""
        yield self._table
        yield self._command
        yield self._keys

    def on_mount(self) -> None:
        """Show the commands."""
        self._table.set_empty(line(Span("No commands: the local engine runs none.", "muted")))
        self.action_reload()

    def action_reload(self) -> None:
        """Show the commands run since."""
        self._table.set_rows(self._runs(), Now())
        shown = " failed" if self._failed else ""
        self._table.border_title = f"Commands {len(self._table.rows)}{shown}"
        self._show_keys()

    def _show_keys(self) -> None:
        """Show the keys that do something now."""
        keys = [("esc", "Back"), ("r", "Reload")]
        keys += [("s", "Sort")] if self._table.rows else []
        keys += [("f", "All" if self._failed else "Failed only")] if self._table.all_rows else []
        keys += [("c", "Copy")] if self._table.rows else []
        self._keys.put(keys_line(keys), layout=False)

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._table.sort_next()

    def action_failed(self) -> None:
        """Show only failed commands, or all."""
        self._failed = not self._failed
        only = self._failed
        self._table.keep(lambda run: run.failed or not only)
        self.action_reload()

    def action_copy(self) -> None:
        """Copy the selected command."""
        if self._table.row is not None:
            self.app.copy_to_clipboard(self._table.row.line)
            self.notify("command copied, if your terminal allows it", markup=False)

    def on_table_moved(self, event: Table.Moved) -> None:
        """Show the selected command."""
        event.stop()
        run = self._table.row
        if run is None:
            self._command.update("")
            return
        message = line(Span(run.message, "bad" if run.failed else "muted"))
        texts = [line(Span(run.brief, "strong")), *([message] if run.message else [])]
        if run.brief != run.line:
            texts.append(line(Span(f"full command: {run.line}", "faint")))
        self._command.update(lines(texts))
