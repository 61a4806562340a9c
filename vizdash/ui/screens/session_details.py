"""All details of one session, the end of its log, and a live preview."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from textual import events, on
from textual.app import ComposeResult

from vizdash.actions import Context, session_screen_actions
from vizdash.model import Session
from vizdash.ui.action_screen import ActionScreen, ScreenState
from vizdash.ui.present.lines import Span, content
from vizdash.ui.present.sessions import SESSION_LEGEND, session_state
from vizdash.ui.screens.help import HelpScreen, screen_help_lines
from vizdash.ui.widgets.columns import Now
from vizdash.ui.widgets.diff_text import DiffText
from vizdash.ui.widgets.footer import warn_if_disabled
from vizdash.ui.widgets.row_details import Detail, DetailLayout, DetailSource

#: Seconds between reads of the log while the session lives.
_EVERY_S = 5.0


class SessionDetailsScreen(ActionScreen[tuple[str, Context]]):
    """``get_state`` gives the session (None: it is gone) and what else is known now. Its result is
    the id of an action and its context, to be performed after it closes.
    """

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]  # noqa: RUF012

    def __init__(
        self, session: Session, looks: DetailSource, get_state: Callable[[], ScreenState]
    ) -> None:
        super().__init__(get_state().registry, session_screen_actions)
        self._session = session
        self._get_state = get_state
        self._title = DiffText(id="log-title", markup=False)
        self._detail = Detail(looks, id="session-details")

    def compose(self) -> ComposeResult:
        """Title, details, keys."""
        yield self._title
        yield self._detail
        yield self._footer

    def on_mount(self) -> None:
        """Update every second."""
        self.set_interval(1, self.tick)
        self.set_interval(_EVERY_S, self._again)

    def on_resize(self, event: events.Resize) -> None:
        """Put the preview beside the text or below it."""
        self.call_after_refresh(self.tick)

    def tick(self) -> None:
        """Show the current state."""
        state = self._get_state()
        self._session = session = state.context.session or self._session
        # With the time, the symbol of a starting session would turn each second.
        sign = session_state(session, Now())
        title = (Span("Session  ", "accent", bold=True), sign, Span("  "))
        name = Span(session.app, "strong", bold=True)
        where = f" on {session.node}" if session.node else ""
        subtitle = Span(f"{where} · session {session.id}", "muted")
        self._title.put(content((*title, name, subtitle)), layout=False)
        layout: DetailLayout = "beside" if self.has_class("-wide") else "below"
        self._detail.show_session(session, state.context.snapshot, state.now, layout)
        self._show_keys(state)

    def resume_preview(self) -> None:
        """Fetch log and preview again."""
        self._detail.resume()
        self.tick()

    @on(Detail.PreviewChanged)
    def _pictured(self) -> None:
        self._show_keys(self._get_state())

    def _show_keys(self, state: ScreenState) -> None:
        self.use(state.registry)
        self._footer.show(self._about(state))

    def _about(self, state: ScreenState) -> Context:
        """The context of this session, whatever the dashboard has selected or marked."""
        return replace(
            state.context,
            node=None,
            marked=(),
            pane="session",
            urgent=None,
            app="",
            pictured=self._detail.has_preview,
        )

    def _again(self) -> None:
        if self._session.live:
            self._detail.reload(self._session)

    # ------------------------------------------------------------------ keys

    def perform(self, action_id: str) -> None:
        """Perform the action, or show why it is disabled; actions on the session run after this
        screen has closed.
        """
        action, context = self._actions.by_id(action_id), self._about(self._get_state())
        reason = action.reason(context)
        if reason and context.session is None:
            reason = "the session is no longer in the list"
        if warn_if_disabled(self, action, reason):
            return
        handlers: Mapping[str, Callable[[], object]] = {
            "back": self.dismiss,
            "details": lambda: self._detail.toggle_class("-alone"),
            "reload": self.resume_preview,
            "help": lambda: self._show_help(context),
        }
        handlers.get(action_id, lambda: self.dismiss((action_id, context)))()

    def _show_help(self, context: Context) -> None:
        shown = screen_help_lines("This session", self._actions, context, SESSION_LEGEND)
        self.app.push_screen(HelpScreen(shown))
