"""Images by node: which are current, older, missing, damaged or stray files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from textual import on
from textual.app import ComposeResult

from vizdash.actions import Context, matrix_screen_actions
from vizdash.images.drift import DriftCache, ImageFinding, sessions_using
from vizdash.model import Snapshot
from vizdash.ui.action_screen import ActionScreen, ScreenState
from vizdash.ui.present.image_matrix import (
    IMAGE_LEGEND,
    MATRIX_COLUMNS,
    MatrixGroup,
    MatrixRow,
    fold_findings,
    matrix_rows,
)
from vizdash.ui.present.images import images_unknown, no_images_lines
from vizdash.ui.present.lines import Line, Span, content, lines
from vizdash.ui.screens.help import HelpScreen, screen_help_lines
from vizdash.ui.widgets.columns import Now
from vizdash.ui.widgets.diff_text import DiffText
from vizdash.ui.widgets.footer import warn_if_disabled
from vizdash.ui.widgets.table import Table
from vizdash.util.text import escape_control, plural
from vizdash.util.units import format_rough_duration, format_size

_EVERY_S = 2.0


class ImageMatrixScreen(ActionScreen[None]):
    """``get_state`` gives the current state; ``perform`` performs an action of the dashboard."""

    AUTO_FOCUS = "Table"

    def __init__(
        self, get_state: Callable[[], ScreenState], perform: Callable[[str, Context], None]
    ) -> None:
        super().__init__(get_state().registry, matrix_screen_actions)
        self._get_state = get_state
        self._perform = perform
        self._title = DiffText(id="matrix-title", markup=False)
        self._places = DiffText(id="matrix-places", markup=False)
        self.table: Table[MatrixRow] = Table(MATRIX_COLUMNS, lambda row: row.key, id="matrix")
        self._judgement = DriftCache()
        self._folded: tuple[tuple[ImageFinding, ...], tuple[MatrixGroup, ...]] = ((), ())
        self._unfolded: set[str] = set()

    def compose(self) -> ComposeResult:
        """Title, findings, details of the selected row, keys."""
        yield self._title
        yield self.table
        yield self._places
        yield self._footer

    def on_mount(self) -> None:
        """Draw now, and repeatedly."""
        self._draw()
        self.set_interval(_EVERY_S, self._draw)

    def _draw(self) -> None:
        state = self._get_state()
        snapshot = state.context.snapshot
        if snapshot is None:
            return
        findings = self._judgement.findings(snapshot.matrix)
        if findings is not self._folded[0]:
            self._folded = findings, fold_findings(findings)
        bare: Line = (Span("No images found on any node", "muted"),)
        self.table.set_empty(*no_images_lines(snapshot, bare))
        self.table.set_rows(matrix_rows(self._folded[1], self._unfolded), state.now)
        drift = self._judgement.count_drift(snapshot.matrix)
        verdict = Span(f"{drift} need attention" if drift else "no drift", "muted")
        if drift:
            verdict = Span(f"! {verdict.text}", "warn")
        elif not snapshot.matrix.roots:
            verdict = Span("the nodes have not been checked yet", "muted")
        elif images_unknown(snapshot):
            verdict = Span("no data from any node", "muted")
        silent = sum(bool(place.failure) for place in snapshot.image_roots)
        not_checked = f"   {plural(silent, 'node')} not checked" if silent else ""
        title = Span("Images by node   ", "strong", bold=True)
        self._title.put(content((title, verdict, Span(not_checked, "warn"))), layout=False)
        self._show_row()

    def _show_keys(self) -> None:
        """Show the keys of enabled actions."""
        state = self._get_state()
        self.use(state.registry)
        self._footer.show(self._about(state))

    def _about(self, state: ScreenState) -> Context:
        """The context of the selected app, whatever the dashboard has selected."""
        row = self.table.row
        return replace(
            state.context,
            session=None,
            node=None,
            marked=(),
            pane="image",
            app=row.group.first.app if row else "",
        )

    @on(Table.Moved)
    def _show_row(self) -> None:
        """Show details of the selected row: nodes or disk space, sessions, path and note."""
        self._show_keys()
        state = self._get_state()
        snapshot, row = state.context.snapshot, self.table.row
        if snapshot is None or row is None:
            return
        findings = row.findings
        first = self._where(snapshot, row, state.now)
        users = [s for f in findings if f.image for s in sessions_using(f.image, snapshot.sessions)]
        users_text = ", ".join(f"{s.id} ({'you' if s.mine else s.user})" for s in users)
        second: Line = (Span(f"in use by {users_text}" if users_text else "", "muted"),)
        thing = findings[0].image or findings[0].stray
        third: Line = (Span(escape_control(thing.path) if thing else "", "faint"),)
        text = row.finding.note if row.finding else row.group.note
        note: Line = (Span(escape_control(text), "warn" if findings[0].state.drift else "muted"),)
        shown = [line for line in (first, note, second, third) if any(s.text for s in line)]
        self._places.put(lines(shown), layout=False)

    def _where(self, snapshot: Snapshot, row: MatrixRow, now: Now) -> Line:
        only = row.only
        if only is None:
            return (
                Span(f"{plural(len(row.findings), 'node')}: {escape_control(row.group.nodes)}"),
            )
        place = snapshot.matrix.root_of(only.node)
        if place is None:
            return (Span(only.node),)
        free = (
            f"{format_size(place.free_bytes) or '0.0 GiB'} free of {format_size(place.total_bytes)}"
        )
        seen = f"   not checked: {place.failure}" if place.failure else ""
        if place.failure and place.seen_at:
            seen = f"   as of {format_rough_duration(now.at - place.seen_at)} ago ({place.failure})"
        name = f"{only.node or 'this machine'}  {free if place.total_bytes else ''}"
        return (Span(name), Span(seen, "warn"))

    @on(Table.DoubleClicked)
    def _unfold(self) -> None:
        """Show the nodes of the row under the cursor, or fold them again."""
        row, state = self.table.row, self._get_state()
        if row is None or len(row.group.findings) < 2:
            return
        self._unfolded ^= {row.group.key}
        if row.finding is not None:
            self.table.select(row.group.key)
        self.table.set_rows(matrix_rows(self._folded[1], self._unfolded), state.now)

    # ------------------------------------------------------------------ keys

    def perform(self, action_id: str) -> None:
        """Perform the action on the selected app, or show why it is disabled."""
        action, context = self._actions.by_id(action_id), self._about(self._get_state())
        if warn_if_disabled(self, action, action.reason(context)):
            return
        handlers: Mapping[str, Callable[[], object]] = {
            "back": self.dismiss,
            "unfold": self._unfold,
            "sort": self.table.sort_next,
            "sort_reverse": self.table.reverse_sort,
            "help": lambda: self._show_help(context),
        }
        handlers.get(action_id, lambda: self._perform(action_id, context))()

    def _show_help(self, context: Context) -> None:
        shown = screen_help_lines("Images by node", self._actions, context, IMAGE_LEGEND)
        self.app.push_screen(HelpScreen(shown))
