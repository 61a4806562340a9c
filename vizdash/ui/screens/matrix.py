"""Every image on every node, judged: what is current, old, missing, damaged or a stray file."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Static

from vizdash.model import Snapshot
from vizdash.model.drift import Finding, State, judge, sessions_of
from vizdash.ui.format import about, escape_control, plural, size, width
from vizdash.ui.theme import Line, Span, Tone, content, keys_line, lines
from vizdash.ui.widgets.rows import Rows
from vizdash.ui.widgets.table import Column, Now, Table

_EVERY_S = 2.0
_STATES: dict[State, tuple[str, Tone]] = {
    State.CURRENT: ("✓", "good"),
    State.KEPT: ("○", "muted"),
    State.OLDER: ("↓", "warn"),
    State.NEWER: ("↑", "warn"),
    State.MISSING: ("!", "warn"),
    State.DIFFERS: ("≠", "bad"),
    State.DAMAGED: ("✗", "bad"),
    State.STRAY: ("?", "warn"),
}


def _app(row: Finding, now: Now, cells: int) -> Line:
    return (Span(row.app, "strong"),)


def _version(row: Finding, now: Now, cells: int) -> Line:
    return (Span("" if row.stray else row.version or "unversioned", "text"),)


def _node(row: Finding, now: Now, cells: int) -> Line:
    return (Span(row.node or "this machine", "text"),)


def _state(row: Finding, now: Now, cells: int) -> Line:
    glyph, tone = _STATES[row.state]
    return (Span(f"{glyph} {row.state}", tone),)


def _size(row: Finding, now: Now, cells: int) -> Line:
    thing = row.image or row.stray
    return (Span(size(thing.size_bytes) if thing else "", "muted"),)


def _age(row: Finding, now: Now, cells: int) -> Line:
    thing = row.image or row.stray
    since = thing.modified_at if thing else 0
    return (Span(about(max(0.0, now.at - since)) if since else "", "muted"),)


def _digest(row: Finding, now: Now, cells: int) -> Line:
    return (Span(row.image.digest[:12] if row.image else "", "faint"),)


def _note(row: Finding, now: Now, cells: int) -> Line:
    text = f"{row.stray.path}: {row.note}" if row.stray else row.note
    return (Span(text, "warn" if row.state.drift else "muted"),)


MATRIX: tuple[Column[Finding], ...] = (
    Column("APP", _app, 7, 16, measure=lambda r: width(escape_control(r.app))),
    Column("VERSION", _version, 7, 12, measure=lambda r: width(escape_control(r.version)) or 11),
    Column("NODE", _node, 6, 16, measure=lambda r: width(escape_control(r.node)) or 12),
    Column("STATE", _state, 16, 16),
    Column("SIZE", _size, 8, 8, rank=2, right=True),
    Column("AGE", _age, 6, 8, rank=3, right=True),
    Column("DIGEST", _digest, 12, 12, rank=4),
    Column("NOTE", _note, 10, 120, rank=1, grows=1),
)


class MatrixScreen(Screen[None]):
    """``now`` gives the last snapshot and the moment; ``want`` does an action on an app;
    ``rights`` says why images can't be changed (empty: they can).
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,M", "dismiss", "Back", show=False),
        Binding("d", "want('deploy')", "Deploy", show=False),
        Binding("r", "want('rollback')", "Roll back", show=False),
        Binding("l", "want('logs')", "Build log", show=False),
    ]
    AUTO_FOCUS = "Table"

    def __init__(
        self,
        now: Callable[[], tuple[Snapshot | None, Now]],
        want: Callable[[str, str], None],
        rights: Callable[[], str],
    ) -> None:
        super().__init__()
        self._now = now
        self._want = want
        self._rights = rights
        self.table: Table[Finding] = Table(MATRIX, _key, id="matrix")

    def compose(self) -> ComposeResult:
        """Title, findings, the places, keys."""
        yield Static(id="matrix-title", markup=False)
        yield self.table
        yield Static(id="matrix-places", markup=False)
        yield Rows(id="matrix-keys", markup=False)

    def on_mount(self) -> None:
        """Draw now, and again as snapshots come."""
        self._draw()
        self.set_interval(_EVERY_S, self._draw)

    def _draw(self) -> None:
        snapshot, now = self._now()
        if snapshot is None:
            return
        found = judge(snapshot.matrix)
        self.table.set_empty((Span("No images found on any node", "muted"),))
        self.table.set_rows(found, now)
        drift = sum(f.state.drift for f in found)
        told = Span(f"{drift} need something done" if drift else "all as it should be", "muted")
        if drift:
            told = Span(f"! {told.text}", "warn")
        elif not snapshot.matrix.places:
            told = Span("the nodes have not been looked at yet", "muted")
        silent = sum(bool(place.failure) for place in snapshot.places)
        away = f"   {plural(silent, 'node')} not looked at" if silent else ""
        title = (Span("Images × nodes   ", "strong", bold=True), told, Span(away, "warn"))
        self.query_one("#matrix-title", Static).update(content(title))
        self._show_keys()
        self._show_row()

    def _show_keys(self) -> None:
        """Those that work, and why the others don't."""
        why = self._rights()
        chosen = self.table.row is not None
        keys = [("esc", "Back"), *([("l", "Build log")] if chosen else [])]
        keys += [] if why else [("d", "Deploy"), *([("r", "Roll back")] if chosen else [])]
        told = content([Span(f"no deploy: {escape_control(why)}", "faint")] if why else [])
        self.query_one("#matrix-keys", Rows).put(keys_line(keys) + told, layout=False)

    @on(Table.Moved)
    def _show_row(self) -> None:
        """The node under the cursor: its room, who runs from the image there."""
        snapshot, now = self._now()
        row = self.table.row
        place = snapshot.matrix.place(row.node) if snapshot and row else None
        if snapshot is None or row is None or place is None:
            return
        free = f"{size(place.free_bytes) or '0 MiB'} free of {size(place.total_bytes)}"
        room = free if place.total_bytes else ""
        seen = f"   not looked at: {place.failure}" if place.failure else ""
        if place.failure and place.seen_at:
            seen = f"   as of {about(now.at - place.seen_at)} ago ({place.failure})"
        first: Line = (Span(f"{row.node or 'this machine'}  {room}"), Span(seen, "warn"))
        users = sessions_of(row.image, snapshot.sessions) if row.image else ()
        ran = ", ".join(f"{s.id} ({'you' if s.mine else s.user})" for s in users)
        second: Line = (Span(f"in use by {ran}" if ran else "", "muted"),)
        thing = row.image or row.stray
        third: Line = (Span(escape_control(thing.path) if thing else "", "faint"),)
        note: Line = (Span(escape_control(row.note), "warn" if row.state.drift else "muted"),)
        self.query_one("#matrix-places", Static).update(lines([first, note, second, third]))

    def action_want(self, action_id: str) -> None:
        """Do it with the app under the cursor."""
        row = self.table.row
        if row is None and action_id != "deploy":
            self.notify("no image is chosen", severity="warning")
            return
        self._want(action_id, row.app if row else "")


def _key(row: Finding) -> str:
    thing = row.image or row.stray
    return f"{row.node}\0{thing.path if thing else row.app}\0{row.state}"
