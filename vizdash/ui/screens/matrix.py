"""Every image on every node, judged: what is current, old, missing, damaged or a stray file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from textual import on
from textual.app import ComposeResult

from vizdash.actions import ActionRegistry, Context, judging
from vizdash.model import Snapshot
from vizdash.model.drift import Finding, Judgement, sessions_of
from vizdash.ui import words
from vizdash.ui.format import about, escape_control, plural, size
from vizdash.ui.keyed import Keyed
from vizdash.ui.present.matrix import MATRIX, Group, Row, fold, rows
from vizdash.ui.screens.help import HelpScreen, own_help
from vizdash.ui.theme import Line, Span, content, lines
from vizdash.ui.widgets.footer import refused
from vizdash.ui.widgets.rows import Rows
from vizdash.ui.widgets.table import Now, Table

_EVERY_S = 2.0


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
        self.table: Table[Row] = Table(MATRIX, lambda row: row.key, id="matrix")
        self._judgement = Judgement()
        self._folded: tuple[tuple[Finding, ...], tuple[Group, ...]] = ((), ())
        self._unfolded: set[str] = set()

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
        found = self._judgement.findings(snapshot.matrix)
        if found is not self._folded[0]:
            self._folded = found, fold(found)
        bare: Line = (Span("No images found on any node", "muted"),)
        self.table.set_empty(*words.no_images(snapshot, bare))
        self.table.set_rows(rows(self._folded[1], self._unfolded), around.now)
        drift = self._judgement.drift(snapshot.matrix)
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
            app=row.group.first.app if row else "",
        )

    @on(Table.Moved)
    def _show_row(self) -> None:
        """The row under the cursor: its nodes, or the one node's space; who runs from the image."""
        self._show_keys()
        around = self._look()
        snapshot, row = around.context.snapshot, self.table.row
        if snapshot is None or row is None:
            return
        findings = row.findings
        first = self._where(snapshot, row, around.now)
        users = [s for f in findings if f.image for s in sessions_of(f.image, snapshot.sessions)]
        ran = ", ".join(f"{s.id} ({'you' if s.mine else s.user})" for s in users)
        second: Line = (Span(f"in use by {ran}" if ran else "", "muted"),)
        thing = findings[0].image or findings[0].stray
        third: Line = (Span(escape_control(thing.path) if thing else "", "faint"),)
        text = row.finding.note if row.finding else row.group.note
        note: Line = (Span(escape_control(text), "warn" if findings[0].state.drift else "muted"),)
        told = [line for line in (first, note, second, third) if any(s.text for s in line)]
        self._places.put(lines(told), layout=False)

    def _where(self, snapshot: Snapshot, row: Row, now: Now) -> Line:
        only = row.only
        if only is None:
            return (
                Span(f"{plural(len(row.findings), 'node')}: {escape_control(row.group.nodes)}"),
            )
        place = snapshot.matrix.place(only.node)
        if place is None:
            return (Span(only.node),)
        free = f"{size(place.free_bytes) or '0 MiB'} free of {size(place.total_bytes)}"
        seen = f"   not looked at: {place.failure}" if place.failure else ""
        if place.failure and place.seen_at:
            seen = f"   as of {about(now.at - place.seen_at)} ago ({place.failure})"
        name = f"{only.node or 'this machine'}  {free if place.total_bytes else ''}"
        return (Span(name), Span(seen, "warn"))

    @on(Table.Chosen)
    def _unfold(self) -> None:
        """Show the nodes of the row under the cursor, or fold them again."""
        row, around = self.table.row, self._look()
        if row is None or len(row.group.findings) < 2:
            return
        self._unfolded ^= {row.group.key}
        if row.finding is not None:
            self.table.select(row.group.key)
        self.table.set_rows(rows(self._folded[1], self._unfolded), around.now)

    # ------------------------------------------------------------------ keys

    def action_want(self, action_id: str) -> None:
        """Do it with the app under the cursor, or say why it can't be done."""
        action, context = self._actions.by_id(action_id), self._about(self._look())
        if refused(self, action, action.reason(context)):
            return
        match action_id:
            case "back":
                self.dismiss()
            case "unfold":
                self._unfold()
            case "sort":
                self.table.sort_next()
            case "sort_other_way":
                self.table.sort_other_way()
            case "help":
                self.app.push_screen(HelpScreen(own_help("Images × nodes", self._actions, context)))
            case _:
                self._want(action_id, context)
