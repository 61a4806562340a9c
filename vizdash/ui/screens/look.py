"""One session, whole: its path, its place, the end of its log, and its desktop as it is now."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Static

from vizdash.model import Session, Snapshot
from vizdash.ui import words
from vizdash.ui.theme import Span, content
from vizdash.ui.widgets.detail import Detail, Looks, Room
from vizdash.ui.widgets.table import Now

#: Seconds between looks at the log while the session lives.
_EVERY_S = 5.0

#: The session as last seen (None: it is gone), the cluster, and the moment.
Seen = Callable[[], tuple[Session | None, Snapshot | None, Now]]


class LookScreen(Screen[str]):
    """``v`` again gives the picture the whole screen. Left with the id of an action to do."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Back", show=False),
        Binding("o,enter", "leave('open')", "Open", show=False),
        Binding("l", "leave('logs')", "Log", show=False),
        Binding("c", "leave('copy')", "Copy", show=False),
        Binding("x", "leave('stop')", "Stop", show=False),
        Binding("v", "alone", "Picture alone", show=False),
        Binding("r,R", "reload", "Reload", show=False),
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]  # noqa: RUF012

    def __init__(self, session: Session, looks: Looks, seen: Seen) -> None:
        super().__init__()
        self._session = session
        self._seen = seen
        self._detail = Detail(looks, id="look")

    def compose(self) -> ComposeResult:
        """Title, everything, keys."""
        yield Static(id="log-title", markup=False)
        yield self._detail
        yield Static(id="log-keys", markup=False)

    def on_mount(self) -> None:
        """Now, and whenever a second went by."""
        self.set_interval(1, self.tick)
        self.set_interval(_EVERY_S, self._again)

    def on_resize(self, event: events.Resize) -> None:
        """The picture beside the text or below it."""
        self.call_after_refresh(self.tick)

    def tick(self) -> None:
        """Tell what is known now."""
        found, snapshot, now = self._seen()
        self._session = session = found or self._session
        state = words.session_state(session, now)
        title = (Span("Session  ", "accent", bold=True), state, Span("  "))
        name = Span(session.app, "strong", bold=True)
        where = f" on {session.node}" if session.node else ""
        self.query_one("#log-title", Static).update(
            content((*title, name, Span(f"{where} · session {session.id}", "muted")))
        )
        keys = (
            ("esc", "Back"),
            ("v", "Picture alone, or all"),
            ("o", "Open"),
            ("l", "Log"),
            ("c", "Copy"),
            ("x", "Stop"),
            ("r", "Reload"),
        )
        spans = [
            span
            for key, what in keys
            for span in (Span(key, "accent", bold=True), Span(f" {what}   ", "muted"))
        ]
        self.query_one("#log-keys", Static).update(content(spans))
        room: Room = "beside" if self.has_class("-wide") else "below"
        self._detail.tell(session, snapshot, now, room)

    def _again(self) -> None:
        if self._session.live:
            self._detail.reload(self._session)

    def action_reload(self) -> None:
        """Ask for everything again: a picture that could not be had may be there now."""
        self._detail.resume()
        self.tick()

    def action_leave(self, action_id: str) -> None:
        """Go back, and do this."""
        self.dismiss(action_id)

    def action_alone(self) -> None:
        """The picture on the whole screen, or everything again."""
        if self._detail.has_class("-pictured"):
            self._detail.toggle_class("-alone")
