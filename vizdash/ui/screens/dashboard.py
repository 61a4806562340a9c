"""The dashboard: three panes seen together, what is under the cursor, and the keys for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from vizdash.actions import NOT_LOOKED, REGISTRY, ActionRegistry, Context, Target, timed
from vizdash.history import Sample
from vizdash.model import Node, Session, SessionRequest, Snapshot
from vizdash.ui import details, words
from vizdash.ui.board import Board
from vizdash.ui.columns import IMAGES, sessions
from vizdash.ui.filter import IMAGE_FIELDS, NODE_FIELDS, SESSION_FIELDS, Fields, parse
from vizdash.ui.format import escape_control
from vizdash.ui.nodecolumns import nodes
from vizdash.ui.present import panes
from vizdash.ui.room import Room, room_for
from vizdash.ui.theme import Line, Span, content, line
from vizdash.ui.widgets.detail import Detail, Looks
from vizdash.ui.widgets.detail import Room as Space
from vizdash.ui.widgets.filterbar import FilterBar
from vizdash.ui.widgets.footer import Footer, refused
from vizdash.ui.widgets.header import Header
from vizdash.ui.widgets.table import Now, Table

#: The smallest terminal that everything fits into.
LEAST = (60, 16)
#: The state classes of the screen that name the pane in use.
_AT = {pane: f"-at-{pane}" for pane in ("nodes", "sessions", "images")}
_TARGETS: dict[str, Target] = {"nodes": "node", "sessions": "session", "images": "image"}
_FIELDS: dict[str, Fields[Any]] = {
    "nodes": NODE_FIELDS,
    "sessions": SESSION_FIELDS,
    "images": IMAGE_FIELDS,
}


class Dashboard(Screen[None]):
    """``show`` takes the board, ``tick`` the moment; what a person wants goes up as Wanted."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("colon", "app.command_palette", "Palette", show=False),
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-small"), (LEAST[0], "-narrow"), (150, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-low"), (20, "-short"), (36, "-tall")]  # noqa: RUF012
    AUTO_FOCUS = "#sessions"

    class Wanted(Message):
        """A person wants this action done on this."""

        def __init__(self, action_id: str, context: Context) -> None:
            self.action_id = action_id
            self.context = context
            super().__init__()

    def __init__(
        self,
        registry: ActionRegistry = REGISTRY,
        *,
        read_only: bool = False,
        looks: Looks | None = None,
    ) -> None:
        super().__init__()
        self.read_only = read_only
        self.admin = False
        self.image_rights = NOT_LOOKED
        self.node_admin = False
        self.usual: SessionRequest | None = None
        self.memory_request = "mem"
        self._room: Room | None = None
        self.registry = registry
        self._board = Board()
        self._now = Now()
        self._composed = False
        self.history: Sequence[Sample] = ()
        self._mine = False
        self._filters: dict[str, str] = {}
        self._pane: Table[Any] | None = None
        # Held, not looked up: a tick may come while the screen is being taken apart.
        self._header = Header()
        self._footer = Footer(registry)
        self._bar = FilterBar()
        self._detail = Detail(looks, id="detail")
        columns = nodes(lambda: self.nodes.found, lambda: self._room)
        self.nodes: Table[Node] = Table(columns, lambda node: node.name, id="nodes")
        told = sessions(lambda: self.sessions.shows("IDLE"))
        self.sessions: Table[Session] = Table(
            told, lambda s: s.job_id, moving=words.moving, id="sessions"
        )
        self.images: Table[words.ImageRow] = Table(IMAGES, lambda row: row.key, id="images")

    def compose(self) -> ComposeResult:
        """Everything is there from the start; classes of the size choose the layout."""
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
        """Say what each pane is, and what to do while it's empty."""
        asking: Line = line(Span("asking the cluster …", "muted"))
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
        """The list that has the focus, or had it last."""
        if isinstance(self.focused, Table):
            self._pane = self.focused
        return self._pane or self.sessions

    def use(self, registry: ActionRegistry) -> None:
        """Other keys."""
        self.registry = registry
        self._footer.use(registry)

    # ------------------------------------------------------------------ attributes down

    def show(self, board: Board, now: Now) -> None:
        """Draw what changed; all of it as soon as there's something to draw on."""
        self._board, self._now = board, now
        if self._composed:
            self._draw()

    def _draw(self) -> None:
        board, now = self._board, self._now
        snapshot = board.snapshot
        if snapshot is not None:
            self._fill_empty(snapshot)
            self._measure_room(snapshot)
            self.nodes.set_rows(snapshot.nodes, now)
            self.sessions.set_rows(snapshot.sessions, now)
            self.images.set_rows(words.image_rows(snapshot.images), now)
            self._header.show(snapshot, self.history, read_only=self.read_only)
        self._entitle(snapshot)
        self._tick_header()
        self._show_row()

    def _measure_room(self, snapshot: Snapshot) -> None:
        if (room := room_for(self.usual, snapshot, self.memory_request)) != self._room:
            self._room = room
            self.nodes.refresh()

    def tick(self, now: Now) -> None:
        """A second went by. Under a whole screen it is not seen, but would be drawn there."""
        top = self.app.screen
        if not self._composed or not (top is self or top.is_modal):
            return
        self._now = now
        for table in self.tables:
            table.tick(now)
        self._tick_header()
        session = self.context().session
        if session is not None and words.moving(session):
            self._show_detail()

    def context(self) -> Context:
        """What is under the cursor of the pane that has the focus."""
        pane = self.pane
        image = self.images.row if pane is self.images else None
        return Context(
            snapshot=self._board.snapshot,
            session=self.sessions.row if pane is self.sessions else None,
            node=self.nodes.row if pane is self.nodes else None,
            marked=self.sessions.marked if pane is self.sessions else (),
            pane=_TARGETS[pane.id or "sessions"],
            urgent=self._board.urgent(self._now),
            read_only=self.read_only,
            admin=self.admin,
            app=image.app if image else "",
            image_rights=self.image_rights,
            node_admin=self.node_admin,
        )

    def _tick_header(self) -> None:
        asked = self._board.snapshot is not None
        context = self.context()
        self._header.here = timed(context) == context.urgent
        failure = self._board.failure
        self._header.tick(self._now, asked=asked, failure=failure, urgent=context.urgent)

    def _fill_empty(self, snapshot: Snapshot) -> None:
        nothing_in = panes.nothing(snapshot, read_only=self.read_only)
        for table, nothing in zip(self.tables, nothing_in, strict=True):
            hidden = table.found and not table.rows
            none = line("None of these — ", Span("esc", "accent", bold=True), " shows all again")
            table.set_empty(*((none,) if hidden else nothing))

    def _entitle(self, snapshot: Snapshot | None) -> None:
        """Number, name and sums in the panes' borders."""
        away = Counter(
            words.node_state(n).text.split(" ", 1)[1] for n in self.nodes.rows if not n.usable
        )
        states = Counter(str(s.state) for s in self.sessions.rows if s.live)
        for table, key, name, counts in (
            (self.nodes, "1", "Nodes", away),
            (self.sessions, "2", "Sessions", states),
            (self.images, "3", "Images", Counter[str]()),
        ):
            filtered = self._filters.get(table.id or "", "")
            mine = table is self.sessions and self._mine
            room = self._room if table is self.nodes else None
            found = panes.Facts(snapshot, counts, filtered=filtered, mine=mine, room=room)
            title = panes.title(table, key, name, found)
            # To set a title draws the whole pane anew.
            if table.border_title != title.markup:
                table.border_title = title

    # ------------------------------------------------------------------ the row under the cursor

    @on(Table.Moved)
    def _moved(self) -> None:
        self._entitle(self._board.snapshot)
        self._tick_header()
        self._show_row()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Another pane: other keys, other details; its filter stays, and is not typed any more."""
        self._bar.set_class(self.focused is self._bar, "-shown")
        for pane, name in _AT.items():
            self.set_class(self.pane.id == pane, name)
        self._show_row()

    def _show_row(self) -> None:
        self._footer.show(self.context())
        self._show_detail()

    def _show_detail(self) -> None:
        """Everything of the row under the cursor, or one line of it where there's no more room."""
        box, snapshot, pane = self._detail, self._board.snapshot, self.pane
        if snapshot is None:
            return
        wide = self.has_class("-wide")
        room: Space = "beside" if wide else "lines" if self.has_class("-tall") else "line"
        title, found = self._described(snapshot, pane, short=room == "line")
        entitled = content((Span(title, bold=True),))
        if box.border_title != entitled.markup:
            box.border_title = entitled
        if isinstance(found, Session):
            box.tell(found, snapshot, self._now, room)
        else:
            box.show(found, layout=not wide)

    def _described(
        self, snapshot: Snapshot, pane: Table[Any], *, short: bool
    ) -> tuple[str, Session | list[Line]]:
        """Title, and the lines (or the session) of the row under the cursor."""
        now, room = self._now, self._room
        if pane is self.nodes and (node := self.nodes.row):
            full = details.node_lines(node, snapshot, now, room)
            return node.name, [details.node_line(node, snapshot, now, room)] if short else full
        if pane is self.images and (image := self.images.row):
            full = details.image_lines(image, snapshot)
            return f"{image.app} {image.version}", [details.image_line(image)] if short else full
        if session := self.sessions.row:
            return f"{session.app} {session.id}", session
        return "Details", [line(Span("nothing is chosen", "muted"))]

    def look_away(self) -> None:
        """Something else shows the session: its desktop is not looked at twice."""
        self._detail.pause()

    def look_back(self, wish: tuple[str, Context] | None = None) -> None:
        """Look at it again, and do what was wanted there: not to the row under the cursor, which
        may be another one by now.
        """
        self._detail.resume()
        self._show_row()
        if wish:
            self.post_message(self.Wanted(*wish))

    def on_resize(self, event: events.Resize) -> None:
        """Too small a terminal gets one clear line; others the right amount of detail."""
        wide, high = event.size
        self.set_class(wide < LEAST[0] or high < LEAST[1], "-too-small")
        need = f"{LEAST[0]}×{LEAST[1]}"
        for text in self.query("#too-small").results(Static):  # gone while vizdash ends
            text.update(f"vizdash needs {need}, this terminal has {wide}×{high}")
        self.call_after_refresh(self._resized)

    @property
    def too_small(self) -> bool:
        """Whether no row can be seen."""
        return self.has_class("-too-small")

    def _resized(self) -> None:
        if self.focused is None and not self.too_small:  # Textual takes it from what is not seen
            self.pane.focus()
        self._show_row()

    # ------------------------------------------------------------------ messages up

    def on_key(self, event: events.Key) -> None:
        """Keys that no list wants are the registry's, as it stands now."""
        action = self.registry.by_key(event.key)
        if action is not None and not isinstance(self.focused, FilterBar):
            event.stop()
            self.action_want(action.id)

    def action_want(self, action_id: str) -> None:
        """Do it, or say why it can't be done."""
        action, context = self.registry.by_id(action_id), self.context()
        if self.too_small and action_id != "quit":  # nobody sees what it would be done to
            return
        if refused(self, action, action.reason(context)):
            return
        match action_id:
            case "focus_nodes" | "focus_sessions" | "focus_images":
                self.query_one(f"#{action_id.removeprefix('focus_')}").focus()
            case "filter":
                self._bar.open_on(of := self.pane.id or "", self._filters.get(of, ""))
            case "sort":
                self.pane.sort_next()
            case "sort_other_way":
                self.pane.sort_other_way()
            case "mark":
                self.sessions.mark()
            case "mine":
                self._mine = not self._mine
                self._refilter(self.sessions)
            case "clear":
                self._clear()
            case _:
                self.post_message(self.Wanted(action_id, context))

    @on(FilterBar.Typed)
    def _typed(self, event: FilterBar.Typed) -> None:
        self._filters[event.pane] = event.text.strip()
        self._refilter(self.query_one(f"#{event.pane}", Table))

    @on(FilterBar.Left)
    def _left_bar(self) -> None:
        self.pane.focus()

    def _refilter(self, pane: Table[Any]) -> None:
        name = pane.id or ""
        wanted = parse(self._filters.get(name, ""), _FIELDS[name])
        self._bar.set_class(bool(wanted.error), "-wrong")
        self._bar.border_subtitle = escape_control(wanted.error)
        if pane is self.sessions:
            only = self._mine
            pane.keep(lambda s: (s.mine or not only) and wanted(s))
        else:
            pane.keep(wanted)
        if self._board.snapshot is not None:
            self._fill_empty(self._board.snapshot)
        self._entitle(self._board.snapshot)

    def _clear(self) -> None:
        """Filter and marks of this pane go."""
        self._filters.pop(self.pane.id or "", None)
        self._mine = self._mine and self.pane is not self.sessions
        self.pane.unmark()
        self._refilter(self.pane)

    @on(Table.Chosen)
    def _chosen(self, event: Table.Chosen) -> None:
        if event.table is self.sessions:
            self.action_want("open")

    @on(Footer.Pressed)
    async def _pressed(self, event: Footer.Pressed) -> None:
        if event.action_id == "command_palette":
            self.app.action_command_palette()
        elif event.action_id == "urgent" and (session := self.context().urgent):
            self.point_at(session)
            self.post_message(self.Wanted("deadline", replace(self.context(), session=session)))
        else:
            self.action_want(event.action_id)

    def point_at(self, session: Session) -> None:
        """Go to this session's row."""
        self.sessions.focus()
        self.sessions.select(session.job_id)
