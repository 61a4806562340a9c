"""One session, whole: its path, its place, the end of its log, and its desktop as it is now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from textual import events, on
from textual.app import ComposeResult

from vizdash.actions import ActionRegistry, Context, looking
from vizdash.model import Session
from vizdash.ui import words
from vizdash.ui.keyed import Keyed
from vizdash.ui.screens.help import HelpScreen, own_help
from vizdash.ui.theme import Span, content
from vizdash.ui.widgets.detail import Detail, Looks, Room
from vizdash.ui.widgets.footer import refused
from vizdash.ui.widgets.rows import Rows
from vizdash.ui.widgets.table import Now

#: Seconds between looks at the log while the session lives.
_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Seen:
    """The session as last seen (None: it is gone), what is known around it, the moment, and the
    actions on the person's keys: the config may have changed.
    """

    session: Session | None
    context: Context
    now: Now
    registry: ActionRegistry


class LookScreen(Keyed[tuple[str, Context]]):
    """``look`` tells what is known now. Left with the id of an action, and what to do it to."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]  # noqa: RUF012

    def __init__(self, session: Session, looks: Looks, look: Callable[[], Seen]) -> None:
        super().__init__(look().registry, looking)
        self._session = session
        self._look = look
        self._title = Rows(id="log-title", markup=False)
        self._detail = Detail(looks, id="look")

    def compose(self) -> ComposeResult:
        """Title, everything, keys."""
        yield self._title
        yield self._detail
        yield self._footer

    def on_mount(self) -> None:
        """Now, and whenever a second went by."""
        self.set_interval(1, self.tick)
        self.set_interval(_EVERY_S, self._again)

    def on_resize(self, event: events.Resize) -> None:
        """The picture beside the text or below it."""
        self.call_after_refresh(self.tick)

    def tick(self) -> None:
        """Tell what is known now."""
        seen = self._look()
        self._session = session = seen.session or self._session
        # The sign of one that starts would turn each second.
        state = words.session_state(session, Now())
        title = (Span("Session  ", "accent", bold=True), state, Span("  "))
        name = Span(session.app, "strong", bold=True)
        where = f" on {session.node}" if session.node else ""
        told = Span(f"{where} · session {session.id}", "muted")
        self._title.put(content((*title, name, told)), layout=False)
        room: Room = "beside" if self.has_class("-wide") else "below"
        self._detail.tell(session, seen.context.snapshot, seen.now, room)
        self._show_keys(seen)

    def look_back(self) -> None:
        """Look at it again, whatever was seen so far."""
        self._detail.resume()
        self.tick()

    @on(Detail.Pictured)
    def _pictured(self) -> None:
        self._show_keys(self._look())

    def _show_keys(self, seen: Seen) -> None:
        self.take(seen.registry)
        self._footer.show(self._about(seen))

    def _about(self, seen: Seen) -> Context:
        """Of this session, wherever the dashboard's cursor is and whatever is marked there."""
        return replace(
            seen.context,
            session=seen.session,
            node=None,
            marked=(),
            pane="session",
            urgent=None,
            app="",
            pictured=self._detail.pictured,
        )

    def _again(self) -> None:
        if self._session.live:
            self._detail.reload(self._session)

    # ------------------------------------------------------------------ keys

    def action_want(self, action_id: str) -> None:
        """Do it, or say why it can't be done; what is done to the session is done after leaving."""
        action, context = self._actions.by_id(action_id), self._about(self._look())
        reason = action.reason(context)
        if reason and context.session is None:
            reason = "the session is no longer in the list"
        if refused(self, action, reason):
            return
        match action_id:
            case "back":
                self.dismiss()
            case "look":
                self._detail.toggle_class("-alone")
            case "reload":
                self.look_back()
            case "help":
                self.app.push_screen(HelpScreen(own_help("This session", self._actions, context)))
            case _:
                self.dismiss((action_id, context))
