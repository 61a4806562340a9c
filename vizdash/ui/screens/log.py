"""A session's log, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Log, Static

from vizdash.errors import VizdashError
from vizdash.model import Session
from vizdash.service import Service
from vizdash.ui import words
from vizdash.ui.format import escape_control
from vizdash.ui.theme import Span, content
from vizdash.ui.widgets.table import Now

#: Lines asked for, and seconds between looks while the session lives.
_LINES = 500
_EVERY_S = 2.0


def overlap(shown: list[str], text: list[str]) -> int:
    """How many of ``text``'s first lines are the last of ``shown``."""
    for size in range(min(len(shown), len(text)), 0, -1):
        if shown[-size:] == text[:size]:
            return size
    return 0


class LogScreen(Screen[None]):
    """New lines are added below; moving up stops following, End goes on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,l", "dismiss", "Back", show=False),
        Binding("r,R", "reload", "Reload", show=False),
        Binding("f", "follow", "Follow", show=False),
        Binding("end,G", "bottom", "End", show=False, priority=True),
        Binding("home,g", "top", "Start", show=False, priority=True),
        Binding("j", "line(1)", "Down", show=False),
        Binding("k", "line(-1)", "Up", show=False),
    ]
    AUTO_FOCUS = "Log"

    def __init__(
        self, service: Service, session: Session, *, find: Callable[[str], Session | None]
    ) -> None:
        super().__init__()
        self._service = service
        self._session = session
        self._find = find
        self._shown: list[str] = []
        self._said = ""

    def compose(self) -> ComposeResult:
        """Title, lines, keys."""
        yield Static(id="log-title", markup=False)
        yield Log(max_lines=20 * _LINES)
        yield Static(id="log-keys", markup=False)

    def on_mount(self) -> None:
        """Look now, and again while it lives."""
        self._entitle()
        self.action_reload()
        self.set_interval(_EVERY_S, self._again)

    def _again(self) -> None:
        self._session = self._find(self._session.job_id) or self._session
        self._entitle()
        if self._session.live:
            self.action_reload()

    def action_reload(self) -> None:
        """Ask for its end."""
        self.run_worker(self._load(), exclusive=True, group="log")

    async def _load(self) -> None:
        try:
            text = await self._service.logs(self._session, lines=_LINES)
        except VizdashError as e:
            self._said = e.line
            self._entitle()
            return
        self._said = "" if text else "the log is empty so far"
        lines = text.splitlines()
        known = overlap(self._shown, lines)
        log = self.query_one(Log)
        if self._shown and not known:
            log.clear()
        log.write_lines(escape_control(one.expandtabs()) for one in lines[known:])
        self._shown = lines
        self._entitle()

    def _entitle(self) -> None:
        session = self._session
        state = words.session_state(session, Now())
        where = f" on {session.node}" if session.node else ""
        spans = [
            Span("Log  ", "accent", bold=True),
            Span(session.app, "strong", bold=True),
            Span(f"{where} · session {session.id} · job {session.job_id}   ", "muted"),
            state,
        ]
        self.query_one("#log-title", Static).update(content(spans))
        following = self.query_one(Log).auto_scroll
        keys = [
            ("esc", "Back"),
            ("r", "Reload"),
            ("f", "Stop following" if following else "Follow"),
        ]
        found = [
            span
            for key, what in (*keys, ("g G", "Start, end"))
            for span in (Span(key, "accent", bold=True), Span(f" {what}   ", "muted"))
        ]
        found.append(Span(self._said, "warn"))
        self.query_one("#log-keys", Static).update(content(found))

    def action_follow(self) -> None:
        """Go to the end with every new line, or stay."""
        log = self.query_one(Log)
        log.auto_scroll = not log.auto_scroll
        if log.auto_scroll:
            log.scroll_end(animate=False)
        self._entitle()

    def action_bottom(self) -> None:
        """The last line."""
        self.query_one(Log).scroll_end(animate=False)

    def action_top(self) -> None:
        """The first line."""
        self.query_one(Log).scroll_home(animate=False)

    def action_line(self, by: int) -> None:
        """Like the arrows."""
        self.query_one(Log).scroll_relative(y=by, animate=False)
