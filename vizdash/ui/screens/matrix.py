"""Every image on every node, judged: what is current, old, missing, damaged or a stray file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from textual import on
from textual.app import ComposeResult

from vizdash.actions import ActionRegistry, Context, judging
from vizdash.model.drift import Finding, State, drift_first, judge, sessions_of, version_key
from vizdash.ui import words
from vizdash.ui.format import about, escape_control, natural, plural, size, width
from vizdash.ui.keyed import Keyed
from vizdash.ui.screens.help import HelpScreen, own_help
from vizdash.ui.theme import Line, Span, Tone, content, lines
from vizdash.ui.widgets.footer import refused
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


def _when(row: Finding) -> float:
    thing = row.image or row.stray
    return -thing.modified_at if thing else 0.0


def _bytes(row: Finding) -> int:
    thing = row.image or row.stray
    return thing.size_bytes if thing else 0


MATRIX: tuple[Column[Finding], ...] = (
    Column(
        "APP", _app, 7, 16, measure=lambda r: width(escape_control(r.app)), sort=lambda r: r.app
    ),
    Column(
        "VERSION",
        _version,
        7,
        12,
        measure=lambda r: width(escape_control(r.version)) or 11,
        sort=lambda r: version_key(r.version),
    ),
    Column(
        "NODE",
        _node,
        6,
        16,
        measure=lambda r: width(escape_control(r.node)) or 12,
        sort=lambda r: natural(r.node),
    ),
    Column(
        "STATE",
        _state,
        9,
        16,
        measure=lambda r: 2 + len(r.state),
        sort=lambda r: (not r.state.drift, r.state),
    ),
    Column("SIZE", _size, 8, 8, rank=2, right=True, sort=_bytes),
    Column("AGE", _age, 6, 8, rank=3, right=True, sort=_when),
    Column("DIGEST", _digest, 12, 12, rank=4),
    Column("NOTE", _note, 10, 120, rank=1, grows=1, sort=lambda r: r.note),
)


@dataclass(frozen=True, slots=True)
class Around:
    """What is known around the screen: the last snapshot and the rights in ``context``, the moment,
    and the actions on the person's keys.
    """

    context: Context
    now: Now
    registry: ActionRegistry


class MatrixScreen(Keyed[None]):
    """``look`` tells what is known now; ``want`` does an action that can be done."""

    AUTO_FOCUS = "Table"

    def __init__(self, look: Callable[[], Around], want: Callable[[str, Context], None]) -> None:
        super().__init__(look().registry, judging)
        self._look = look
        self._want = want
        self._title = Rows(id="matrix-title", markup=False)
        self._places = Rows(id="matrix-places", markup=False)
        self.table: Table[Finding] = Table(MATRIX, _key, id="matrix")

    def compose(self) -> ComposeResult:
        """Title, findings, the places, keys."""
        yield self._title
        yield self.table
        yield self._places
        yield self._footer

    def on_mount(self) -> None:
        """Draw now, and again as snapshots come."""
        self._draw()
        self.set_interval(_EVERY_S, self._draw)

    def _draw(self) -> None:
        around = self._look()
        snapshot = around.context.snapshot
        if snapshot is None:
            return
        found = judge(snapshot.matrix)
        bare: Line = (Span("No images found on any node", "muted"),)
        self.table.set_empty(*words.no_images(snapshot, bare))
        self.table.set_rows(drift_first(found), around.now)
        drift = sum(f.state.drift for f in found)
        told = Span(f"{drift} need something done" if drift else "all as it should be", "muted")
        if drift:
            told = Span(f"! {told.text}", "warn")
        elif not snapshot.matrix.places:
            told = Span("the nodes have not been looked at yet", "muted")
        elif words.unseen(snapshot):
            told = Span("nothing is known of them", "muted")
        silent = sum(bool(place.failure) for place in snapshot.places)
        away = f"   {plural(silent, 'node')} not looked at" if silent else ""
        title = Span("Images × nodes   ", "strong", bold=True)
        self._title.put(content((title, told, Span(away, "warn"))), layout=False)
        self._show_row()

    def _show_keys(self) -> None:
        """Those that work, and why the others don't."""
        around = self._look()
        self.take(around.registry)
        self._footer.show(self._about(around))

    def _about(self, around: Around) -> Context:
        """Of the app under the cursor here, wherever the dashboard's is."""
        row = self.table.row
        return replace(
            around.context,
            session=None,
            node=None,
            marked=(),
            pane="image",
            app=row.app if row else "",
        )

    @on(Table.Moved)
    def _show_row(self) -> None:
        """The node under the cursor: its room, who runs from the image there."""
        self._show_keys()
        around = self._look()
        snapshot, now, row = around.context.snapshot, around.now, self.table.row
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
        told = [row for row in (first, note, second, third) if any(span.text for span in row)]
        self._places.put(lines(told), layout=False)

    # ------------------------------------------------------------------ keys

    def action_want(self, action_id: str) -> None:
        """Do it with the app under the cursor, or say why it can't be done."""
        action, context = self._actions.by_id(action_id), self._about(self._look())
        if refused(self, action, action.reason(context)):
            return
        match action_id:
            case "back":
                self.dismiss()
            case "sort":
                self.table.sort_next()
            case "sort_other_way":
                self.table.sort_other_way()
            case "help":
                self.app.push_screen(HelpScreen(own_help("Images × nodes", self._actions, context)))
            case _:
                self._want(action_id, context)


def _key(row: Finding) -> str:
    thing = row.image or row.stray
    return f"{row.node}\0{thing.path if thing else row.app}\0{row.state}"
