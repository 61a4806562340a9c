"""The dashboard: three panes seen together, what is under the cursor, and the keys for it."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from vizdash.actions import NOT_LOOKED, REGISTRY, Context
from vizdash.model import Node, Session, Snapshot
from vizdash.ui import details, words
from vizdash.ui.board import Board
from vizdash.ui.columns import IMAGES, NODES, SESSIONS
from vizdash.ui.format import escape_control
from vizdash.ui.theme import Line, Span, content, line, lines
from vizdash.ui.widgets.footer import Footer
from vizdash.ui.widgets.header import Header
from vizdash.ui.widgets.table import Now, Table

#: The smallest terminal that everything fits into.
LEAST = (80, 24)


class Dashboard(Screen[None]):
    """``show`` takes the board, ``tick`` the moment; what a person wants goes up as Wanted."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(",".join(a.keys), f"want('{a.id}')", a.title, show=False) for a in REGISTRY),
        Binding("colon", "app.command_palette", "Palette", show=False),
    ]
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-small"),
        (LEAST[0], "-narrow"),
        (120, "-wide"),
    ]
    VERTICAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-low"),
        (LEAST[1], "-short"),
        (36, "-tall"),
    ]
    AUTO_FOCUS = "#sessions"

    class Wanted(Message):
        """A person wants this action done on this."""

        def __init__(self, action_id: str, context: Context) -> None:
            self.action_id = action_id
            self.context = context
            super().__init__()

    def __init__(self, *, read_only: bool = False) -> None:
        super().__init__()
        self.read_only = read_only
        self.admin = False
        self.image_rights = NOT_LOOKED
        self._board = Board()
        self._now = Now()
        self.nodes: Table[Node] = Table(NODES, lambda node: node.name, id="nodes")
        self.sessions: Table[Session] = Table(
            SESSIONS, lambda s: s.job_id, moving=words.moving, id="sessions"
        )
        self.images: Table[words.ImageRow] = Table(IMAGES, lambda row: row.key, id="images")

    def compose(self) -> ComposeResult:
        """Everything is there from the start; classes of the size choose the layout."""
        yield Header()
        with Container(id="panes"):
            yield self.nodes
            yield self.sessions
            yield self.images
            yield Static(id="detail", markup=False)
        yield Footer(REGISTRY)
        yield Static(id="too-small", markup=False)

    def on_mount(self) -> None:
        """Say what each pane is, and what to do while it's empty."""
        asking: Line = line(Span("asking the cluster …", "muted"))
        for table in (self.nodes, self.sessions, self.images):
            table.set_empty(asking)
        self._entitle(None)

    # ------------------------------------------------------------------ attributes down

    def show(self, board: Board, now: Now) -> None:
        """Draw what changed."""
        self._board, self._now = board, now
        snapshot = board.snapshot
        if snapshot is not None:
            self._fill_empty(snapshot)
            self.nodes.set_rows(snapshot.nodes, now)
            self.sessions.set_rows(snapshot.sessions, now)
            self.images.set_rows(words.image_rows(snapshot.images), now)
            header = self.query_one(Header)
            header.show(snapshot, board.history, read_only=self.read_only)
        self._entitle(snapshot)
        self._tick_header()
        self._show_row()

    def tick(self, now: Now) -> None:
        """A second went by."""
        self._now = now
        for table in (self.nodes, self.sessions, self.images):
            table.tick(now)
        self._tick_header()
        session = self.context().session
        if session is not None and words.moving(session):
            self._show_detail()

    def context(self) -> Context:
        """What is under the cursor of the pane that has the focus."""
        image = self.images.row if self.focused is self.images else None
        return Context(
            snapshot=self._board.snapshot,
            session=self.sessions.row if self.focused is self.sessions else None,
            node=self.nodes.row if self.focused is self.nodes else None,
            read_only=self.read_only,
            admin=self.admin,
            app=image.app if image else "",
            image_rights=self.image_rights,
        )

    def _tick_header(self) -> None:
        asked = self._board.snapshot is not None
        self.query_one(Header).tick(self._now, asked=asked, failure=self._board.failure)

    def _fill_empty(self, snapshot: Snapshot) -> None:
        start = line(
            "No sessions yet — press ", Span("n", "accent", bold=True), " to start a desktop"
        )
        if self.read_only:
            start = line("No sessions (this vizdash is read-only)")
        self.sessions.set_empty(start)
        where = f"partition {snapshot.partition}" if snapshot.partition else "the cluster"
        self.nodes.set_empty(line(f"No nodes in {where} — see sinfo, or vizdash doctor"))
        self.images.set_empty(line("No images found — apps run on the host where they may"))

    def _entitle(self, snapshot: Snapshot | None) -> None:
        """Number, name and sums in the panes' borders."""
        nodes = snapshot.nodes if snapshot else ()
        sessions = snapshot.sessions if snapshot else ()
        away = Counter(words.node_state(n).text.split(" ", 1)[1] for n in nodes if not n.usable)
        states = Counter(str(s.state) for s in sessions if s.live)
        for table, key, name, counts in (
            (self.nodes, "1", "Nodes", away),
            (self.sessions, "2", "Sessions", states),
            (self.images, "3", "Images", Counter[str]()),
        ):
            told = " · ".join(f"{n} {escape_control(word)}" for word, n in counts.items())
            count = f" {len(table.rows)}" if snapshot else ""
            spans = [Span(f"{key} ", "accent"), Span(name, bold=True), Span(count, "muted")]
            spans.append(Span(f"  {told}" if told else "", "muted"))
            table.border_title = content(spans)

    # ------------------------------------------------------------------ the row under the cursor

    @on(Table.Moved)
    def _moved(self) -> None:
        self._show_row()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Another pane: other keys, other details."""
        self._show_row()

    def _show_row(self) -> None:
        self.query_one(Footer).show(self.context())
        self._show_detail()

    def _show_detail(self) -> None:
        box, snapshot = self.query_one("#detail", Static), self._board.snapshot
        if snapshot is None:
            return
        title, short, full = self._described(snapshot)
        box.border_title = content((Span(title, bold=True),))
        roomy = self.has_class("-wide") or self.has_class("-tall")
        box.update(lines(full) if roomy else content(short), layout=False)

    def _described(self, snapshot: Snapshot) -> tuple[str, Line, list[Line]]:
        """Title, one line, and all lines of the row under the cursor."""
        now = self._now
        if self.focused is self.nodes and (node := self.nodes.row):
            full = details.node_lines(node, snapshot, now)
            return node.name, details.node_line(node), full
        if self.focused is self.images and (image := self.images.row):
            full = details.image_lines(image, snapshot)
            return f"{image.app} {image.version}", details.image_line(image), full
        if session := self.sessions.row:
            full = details.session_lines(session, now)
            return f"{session.app} {session.id}", details.session_line(session, now), full
        hint = line(Span("nothing is chosen", "muted"))
        return "Details", hint, [hint]

    def on_resize(self, event: events.Resize) -> None:
        """Too small a terminal gets one clear line; others the right amount of detail."""
        wide, high = event.size
        self.set_class(wide < LEAST[0] or high < LEAST[1], "-too-small")
        need = f"{LEAST[0]}×{LEAST[1]}"
        self.query_one("#too-small", Static).update(
            f"vizdash needs {need}, this terminal has {wide}×{high}"
        )
        self.call_after_refresh(self._show_row)

    # ------------------------------------------------------------------ messages up

    def action_want(self, action_id: str) -> None:
        """Do it, or say why it can't be done."""
        if action_id.startswith("focus_"):
            self.query_one(f"#{action_id.removeprefix('focus_')}").focus()
            return
        context = self.context()
        reason = REGISTRY.by_id(action_id).reason(context)
        if reason:
            title = REGISTRY.by_id(action_id).title
            self.notify(f"{title}: {escape_control(reason)}", severity="warning", markup=False)
            return
        self.post_message(self.Wanted(action_id, context))

    @on(Table.Chosen)
    def _chosen(self, event: Table.Chosen) -> None:
        if event.table is self.sessions:
            self.action_want("open")

    @on(Footer.Pressed)
    async def _pressed(self, event: Footer.Pressed) -> None:
        if event.action_id == "command_palette":
            self.app.action_command_palette()
        else:
            self.action_want(event.action_id)

    def point_at(self, session: Session) -> None:
        """Go to this session's row."""
        self.sessions.focus()
        self.sessions.select(session.job_id)
