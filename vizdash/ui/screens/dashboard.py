"""The dashboard: nodes, sessions and images, details of the selected row, and its keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from vizdash.actions import NOT_CHECKED, REGISTRY, ActionRegistry, Context, Target, timed
from vizdash.model import Node, Session, SessionRequest, Snapshot
from vizdash.ui.dashboard_state import DashboardState
from vizdash.ui.present import panes
from vizdash.ui.present.free_capacity import FittingSessions, count_fitting_sessions
from vizdash.ui.present.images import (
    IMAGE_COLUMNS,
    ImageRow,
    image_details,
    image_rows,
    image_summary,
)
from vizdash.ui.present.lines import Line, Span, content, line
from vizdash.ui.present.nodes import node_columns, node_details, node_state, node_summary
from vizdash.ui.present.sessions import changes_with_time, session_columns
from vizdash.ui.widgets.columns import Now
from vizdash.ui.widgets.filter import (
    IMAGE_FIELDS,
    NODE_FIELDS,
    SESSION_FIELDS,
    Fields,
    parse_filter,
)
from vizdash.ui.widgets.filter_bar import FilterBar
from vizdash.ui.widgets.footer import Footer, warn_if_disabled
from vizdash.ui.widgets.header import Header
from vizdash.ui.widgets.row_details import Detail, DetailLayout, DetailSource
from vizdash.ui.widgets.table import Table
from vizdash.util.text import escape_control

if TYPE_CHECKING:
    from vizdash.service.load_history import LoadSample

#: The smallest usable terminal.
LEAST = (60, 16)
#: Seconds after which is counted again what fits, although nothing has changed: reservations and
#: planned starts come nearer.
_COUNTED_S = 60.0
#: Classes of the screen from these widths and heights on.
_WIDTHS = [(0, "-small"), (LEAST[0], "-narrow"), (150, "-wide")]
_HEIGHTS = [(0, "-low"), (20, "-short"), (36, "-tall")]
#: Classes of the screen that name the focused pane.
_AT = {pane: f"-at-{pane}" for pane in ("nodes", "sessions", "images")}
_TARGETS: dict[str, Target] = {"nodes": "node", "sessions": "session", "images": "image"}
_FIELDS: dict[str, Fields[Any]] = {
    "nodes": NODE_FIELDS,
    "sessions": SESSION_FIELDS,
    "images": IMAGE_FIELDS,
}


class Dashboard(Screen[None]):
    """``show`` takes the state, ``tick`` the time; other actions go up as ActionRequested."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("colon", "app.command_palette", "Palette", show=False),
    ]
    HORIZONTAL_BREAKPOINTS = _WIDTHS
    VERTICAL_BREAKPOINTS = _HEIGHTS
    AUTO_FOCUS = "#sessions"

    class ActionRequested(Message):
        """An action that the app performs, and its context."""

        def __init__(self, action_id: str, context: Context) -> None:
            self.action_id = action_id
            self.context = context
            super().__init__()

    def __init__(
        self,
        registry: ActionRegistry = REGISTRY,
        *,
        read_only: bool = False,
    ) -> None:
        super().__init__(classes=_AT["sessions"])
        self.read_only = read_only
        self.admin = False
        self.image_rights = NOT_CHECKED
        self.node_admin = False
        self.usual: SessionRequest | None = None
        self.memory_request = "mem"
        self._fitting: FittingSessions | None = None
        #: What ``_fitting`` was counted from.
        self._counted: tuple[SessionRequest | None, str, Snapshot] | None = None
        self._showed_saved = False
        self.registry = registry
        self._state = DashboardState()
        self._now = Now()
        self._composed = False
        self.history: Sequence[LoadSample] = ()
        self._mine = False
        self._filters: dict[str, str] = {}
        self._pane: Table[Any] | None = None
        # Attributes, not queries: a tick may come while the screen is being removed.
        self._header = Header()
        self._footer = Footer(registry)
        self._bar = FilterBar()
        self._detail = Detail(id="detail")
        columns = node_columns(lambda: self.nodes.all_rows, lambda: self._fitting)
        self.nodes: Table[Node] = Table(columns, lambda node: node.name, id="nodes")
        shown_columns = session_columns(lambda: self.sessions.shows("IDLE"))
        self.sessions: Table[Session] = Table(
            shown_columns, lambda s: s.job_id, moving=changes_with_time, id="sessions"
        )
        self.images: Table[ImageRow] = Table(IMAGE_COLUMNS, lambda row: row.key, id="images")

    def compose(self) -> ComposeResult:
        """All parts; classes by size choose the layout. Textual sets them at the first resize, and
        would then style every widget again.
        """
        for size, steps in zip(self.app.size, (_WIDTHS, _HEIGHTS), strict=True):
            self.set_class(True, max(step for step in steps if step[0] <= size)[1], update=False)
        yield self._header
        with Container(id="panes"):
            yield self.nodes
            yield self.sessions
            yield self.images
            yield self._detail
        yield self._bar
        yield self._footer
        yield Static(id="too-small", markup=False)

    def on_mount(self) -> None:
        """Show titles, and what is loading."""
        asking: Line = line(Span("querying the cluster …", "muted"))
        for table in self.tables:
            table.set_empty(asking)
        self._composed = True
        self._draw()

    @property
    def tables(self) -> tuple[Table[Any], ...]:
        """The three lists."""
        return (self.nodes, self.sessions, self.images)

    @property
    def pane(self) -> Table[Any]:
        """The list that has or last had the focus."""
        if isinstance(self.focused, Table):
            self._pane = self.focused
        return self._pane or self.sessions

    def use(self, registry: ActionRegistry) -> None:
        """Use another registry."""
        self.registry = registry
        self._footer.use(registry)

    def use_details(self, source: DetailSource) -> None:
        """Use what supplies logs and previews of sessions."""
        self._detail.use(source)

    # ------------------------------------------------------------------ attributes down

    def show(self, state: DashboardState, now: Now) -> None:
        """Draw what changed; everything once the parts are composed."""
        self._state, self._now = state, now
        if self._composed:
            self._draw()

    def _draw(self) -> None:
        snapshot, now = self._state.snapshot, self._now
        if snapshot is not None:
            self._fill_empty(snapshot)
            self._count_fitting(snapshot)
            # Nobody chose the row that happened to be the first of an earlier dashboard's list.
            keep = snapshot.saved or not self._showed_saved
            self._showed_saved = snapshot.saved
            self.nodes.set_rows(snapshot.nodes, now, keep_cursor=keep)
            self.sessions.set_rows(snapshot.sessions, now, keep_cursor=keep)
            self.images.set_rows(image_rows(snapshot.images), now, keep_cursor=keep)
            self._header.show(snapshot, self.history, read_only=self.read_only)
        self._set_titles(snapshot)
        self._tick_header()
        self._show_row()

    def _count_fitting(self, snapshot: Snapshot) -> None:
        fitting = None
        if not snapshot.saved:  # what fitted an hour ago is no promise, and counting takes time
            counted = (self.usual, self.memory_request, replace(snapshot, sessions=()))
            age_s = snapshot.taken_at - (self._counted[2].taken_at if self._counted else 0.0)
            if counted == self._counted and age_s < _COUNTED_S:
                return
            self._counted = counted
            fitting = count_fitting_sessions(self.usual, snapshot, self.memory_request)
        if fitting != self._fitting:
            self._fitting = fitting
            self.nodes.refresh()

    def tick(self, now: Now) -> None:
        """Update what depends on the time. A screen that covers the dashboard stops this."""
        top = self.app.screen
        if not self._composed or not (top is self or top.is_modal):
            return
        self._now = now
        for table in self.tables:
            table.tick(now)
        self._tick_header()
        session = self.context().session
        if session is not None and changes_with_time(session):
            self._show_detail()

    def context(self) -> Context:
        """The selection of the focused pane."""
        pane = self.pane
        image = self.images.row if pane is self.images else None
        return Context(
            snapshot=self._state.snapshot,
            session=self.sessions.row if pane is self.sessions else None,
            node=self.nodes.row if pane is self.nodes else None,
            marked=self.sessions.marked if pane is self.sessions else (),
            pane=_TARGETS[pane.id or "sessions"],
            urgent=self._state.urgent(self._now),
            read_only=self.read_only,
            admin=self.admin,
            app=image.app if image else "",
            image_rights=self.image_rights,
            node_admin=self.node_admin,
        )

    def _tick_header(self) -> None:
        has_data = self._state.snapshot is not None
        context = self.context()
        self._header.here = timed(context) == context.urgent
        failure = self._state.failure
        self._header.tick(self._now, has_data=has_data, failure=failure, urgent=context.urgent)

    def _fill_empty(self, snapshot: Snapshot) -> None:
        nothing_in = panes.empty_pane_lines(snapshot, read_only=self.read_only)
        for table, nothing in zip(self.tables, nothing_in, strict=True):
            hidden = table.all_rows and not table.rows
            none = line("No row matches. ", Span("esc", "accent", bold=True), " clears the filter.")
            table.set_empty(*((none,) if hidden else nothing))

    def _set_titles(self, snapshot: Snapshot | None) -> None:
        """Set number, name and counts in the borders of the panes."""
        unusable = Counter(
            node_state(n).text.split(" ", 1)[1] for n in self.nodes.rows if not n.usable
        )
        states = Counter(str(s.state) for s in self.sessions.rows if s.live)
        for table, key, name, counts in (
            (self.nodes, "1", "Nodes", unusable),
            (self.sessions, "2", "Sessions", states),
            (self.images, "3", "Images", Counter[str]()),
        ):
            filtered = self._filters.get(table.id or "", "")
            mine = table is self.sessions and self._mine
            fitting = self._fitting if table is self.nodes else None
            facts = panes.PaneFacts(snapshot, counts, filtered=filtered, mine=mine, fitting=fitting)
            title = panes.pane_title(table, key, name, facts)
            # Setting a title redraws the whole pane.
            if table.border_title != title.markup:
                table.border_title = title

    # ------------------------------------------------------------------ the row under the cursor

    @on(Table.Moved)
    def _moved(self) -> None:
        self._set_titles(self._state.snapshot)
        self._tick_header()
        self._show_row()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Follow the focused pane with keys and details; its filter stays."""
        self._bar.set_class(self.focused is self._bar, "-shown")
        for pane, name in _AT.items():
            self.set_class(self.pane.id == pane, name)
        self._show_row()

    def _show_row(self) -> None:
        self._footer.show(self.context())
        self._show_detail()

    def _show_detail(self) -> None:
        """All details of the row under the cursor, or one line where the space is short."""
        box, snapshot, pane = self._detail, self._state.snapshot, self.pane
        if snapshot is None:
            return
        wide = self.has_class("-wide")
        space: DetailLayout = "beside" if wide else "lines" if self.has_class("-tall") else "line"
        title, described = self._described(snapshot, pane, short=space == "line")
        title_text = content((Span(title, bold=True),))
        if box.border_title != title_text.markup:
            box.border_title = title_text
        if isinstance(described, Session):
            box.show_session(described, snapshot, self._now, space)
        else:
            box.show(described, layout=not wide)

    def _described(
        self, snapshot: Snapshot, pane: Table[Any], *, short: bool
    ) -> tuple[str, Session | list[Line]]:
        """The title, and the lines or the session, of the selected row."""
        now, fitting = self._now, self._fitting
        if pane is self.nodes and (node := self.nodes.row):
            full = node_details(node, snapshot, now, fitting)
            return node.name, [node_summary(node, snapshot, now, fitting)] if short else full
        if pane is self.images and (image := self.images.row):
            full = image_details(image, snapshot)
            return f"{image.app} {image.version}", [image_summary(image)] if short else full
        if session := self.sessions.row:
            return f"{session.app} {session.id}", session
        return "Details", [line(Span("nothing is selected", "muted"))]

    def pause_preview(self) -> None:
        """Stop the preview while another screen shows the session."""
        self._detail.pause()

    def resume_preview(self, requested: tuple[str, Context] | None = None) -> None:
        """Resume the preview, and perform the action that the other screen was closed with: on its
        session, not on the row under the cursor, which may have changed.
        """
        self._detail.resume()
        self._show_row()
        if requested:
            self.post_message(self.ActionRequested(*requested))

    def on_resize(self, event: events.Resize) -> None:
        """Show one line on a terminal that is too small, else as much detail as fits."""
        wide, high = event.size
        self.set_class(wide < LEAST[0] or high < LEAST[1], "-too-small")
        need = f"{LEAST[0]}×{LEAST[1]}"
        for text in self.query("#too-small").results(Static):  # gone while vizdash exits
            text.update(f"vizdash needs a terminal of {need}, this one has {wide}×{high}")
        self.call_after_refresh(self._resized)

    @property
    def too_small(self) -> bool:
        """Whether the terminal is too small to show rows."""
        return self.has_class("-too-small")

    def _resized(self) -> None:
        if self.focused is None and not self.too_small:  # Textual removes it from hidden widgets
            self.pane.focus()
        self._show_row()

    # ------------------------------------------------------------------ messages up

    def on_key(self, event: events.Key) -> None:
        """Perform the action of a key that no list handles."""
        action = self.registry.by_key(event.key)
        if action is not None and not isinstance(self.focused, FilterBar):
            event.stop()
            self.perform(action.id)

    def perform(self, action_id: str) -> None:
        """Perform the action, or show why it is disabled."""
        action, context = self.registry.by_id(action_id), self.context()
        if self.too_small and action_id != "quit":  # the user can't see its target
            return
        if warn_if_disabled(self, action, action.reason(context)):
            return
        if handler := self.handlers.get(action_id):
            handler()
        else:
            self.post_message(self.ActionRequested(action_id, context))

    @property
    def handlers(self) -> Mapping[str, Callable[[], object]]:
        """Handlers of the actions that change only this screen; others go up as ActionRequested."""
        return {
            "focus_nodes": self.nodes.focus,
            "focus_sessions": self.sessions.focus,
            "focus_images": self.images.focus,
            "filter": self._open_filter,
            "sort": self.pane.sort_next,
            "sort_reverse": self.pane.reverse_sort,
            "mark": self.sessions.mark,
            "mine": self._toggle_mine,
            "clear": self._clear,
        }

    def _open_filter(self) -> None:
        pane = self.pane.id or ""
        self._bar.open_on(pane, self._filters.get(pane, ""))

    def _toggle_mine(self) -> None:
        self._mine = not self._mine
        self._refilter(self.sessions)

    @on(FilterBar.Typed)
    def _typed(self, event: FilterBar.Typed) -> None:
        self._filters[event.pane] = event.text.strip()
        self._refilter(self.query_one(f"#{event.pane}", Table))

    @on(FilterBar.Left)
    def _left_bar(self) -> None:
        self.pane.focus()

    def _refilter(self, pane: Table[Any]) -> None:
        name = pane.id or ""
        wanted = parse_filter(self._filters.get(name, ""), _FIELDS[name])
        self._bar.set_class(bool(wanted.error), "-wrong")
        self._bar.border_subtitle = escape_control(wanted.error)
        if pane is self.sessions:
            only = self._mine
            pane.keep(lambda s: (s.mine or not only) and wanted(s))
        else:
            pane.keep(wanted)
        if self._state.snapshot is not None:
            self._fill_empty(self._state.snapshot)
        self._set_titles(self._state.snapshot)

    def _clear(self) -> None:
        """Clear filter and marks of the focused pane."""
        self._filters.pop(self.pane.id or "", None)
        self._mine = self._mine and self.pane is not self.sessions
        self.pane.unmark()
        self._refilter(self.pane)

    @on(Table.DoubleClicked)
    def _chosen(self, event: Table.DoubleClicked) -> None:
        if event.table is self.sessions:
            self.perform("open")

    @on(Footer.Pressed)
    async def _pressed(self, event: Footer.Pressed) -> None:
        if event.action_id == "command_palette":
            self.app.action_command_palette()
        elif event.action_id == "urgent" and (session := self.context().urgent):
            self.point_at(session)
            self.post_message(
                self.ActionRequested("time_limit", replace(self.context(), session=session))
            )
        else:
            self.perform(event.action_id)

    def point_at(self, session: Session) -> None:
        """Select this session's row."""
        self.sessions.focus()
        self.sessions.select(session.job_id)
