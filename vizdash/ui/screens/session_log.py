"""A session's log, followed and searched."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Input, Static
from textual.worker import Worker

from vizdash.errors import VizdashError
from vizdash.model import Session
from vizdash.service.service import Service
from vizdash.ui.present.lines import Span, content, keys_line
from vizdash.ui.present.sessions import session_state
from vizdash.ui.widgets.clickable_keys import KeyLine
from vizdash.ui.widgets.columns import Now
from vizdash.ui.widgets.diff_text import DiffText
from vizdash.ui.widgets.log_view import LogView
from vizdash.util.text import escape_control

#: Lines to read, and seconds between reads while the session lives.
_LINES = 500
_EVERY_S = 2.0


def count_overlap(shown: list[str], text: list[str]) -> int:
    """How many first lines of ``text`` are the last lines of ``shown``."""
    for size in range(min(len(shown), len(text)), 0, -1):
        if shown[-size:] == text[:size]:
            return size
    return 0


class SearchInput(Input):
    """The search word; Escape closes the search."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "screen.leave_search", "Back", show=False)
    ]


class SessionLogScreen(Screen[None]):
    """Appends new lines while following; scrolling up stops following."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back", show=False),
        Binding("q,l", "dismiss", "Back", show=False),
        Binding("r,R", "reload", "Reload", show=False),
        Binding("f", "follow", "Follow", show=False),
        Binding("slash", "search", "Search", show=False),
        Binding("n", "next(1)", "Next", show=False),
        Binding("N", "next(-1)", "Previous", show=False),
    ]
    AUTO_FOCUS = "LogView"

    def __init__(
        self, service: Service, session: Session, *, find: Callable[[str], Session | None]
    ) -> None:
        super().__init__()
        self._service = service
        self._session = session
        self._find = find
        self._shown: list[str] = []
        self._message = ""
        self._reading: Worker[None] | None = None
        #: Whether the log was read after the session had ended.
        self._complete = False
        self._view = LogView()
        self._search = SearchInput(placeholder="search", id="log-search")

    def compose(self) -> ComposeResult:
        """Title, message, lines, keys."""
        yield DiffText(id="log-title", markup=False)
        yield Static(id="log-message", markup=False)
        yield self._view
        yield self._search
        yield KeyLine(id="log-keys", markup=False)

    def on_mount(self) -> None:
        """Read now, repeatedly while the session lives, and once after it has ended."""
        self.watch(self._view, "following", self._set_title, init=False)
        self._set_title()
        self.action_reload()
        self.set_interval(_EVERY_S, self._again)

    def _again(self) -> None:
        self._session = self._find(self._session.job_id) or self._session
        self._set_title()
        wanted = self._session.live or not self._complete
        if wanted and (self._reading is None or self._reading.is_finished):
            self.action_reload()

    def action_reload(self) -> None:
        """Read the end of the log, and drop a read that is still running."""
        self._reading = self.run_worker(self._load, exclusive=True, group="log")

    async def _load(self) -> None:
        ended = not self._session.live
        await self._read()
        self._complete = ended

    async def _read(self) -> None:
        try:
            text = await self._service.sessions.log(self._session, lines=_LINES)
        except VizdashError as e:
            self._message = e.line
            self._set_title()
            return
        self._message = "" if text else "the log is empty"
        lines = text.splitlines()
        known = count_overlap(self._shown, lines)
        if self._shown and not known:
            self._view.clear()
        self._view.add(escape_control(one.expandtabs()) for one in lines[known:])
        self._shown = lines
        self._set_title()

    def _set_title(self) -> None:
        session = self._session
        state = session_state(session, Now())
        where = f" on {session.node}" if session.node else ""
        spans = [
            Span("Log  ", "accent", bold=True),
            state,
            Span("  "),
            Span(session.app, "strong", bold=True),
            Span(f"{where} · session {session.id} · job {session.job_id}   ", "muted"),
        ]
        self.query_one("#log-title", DiffText).put(content(spans), layout=False)
        self._show_keys()
        message = self.query_one("#log-message", Static)
        message.display = bool(self._message)
        message.update(content((Span(self._message, "warn"),)))

    def _show_keys(self) -> None:
        """Show the keys that do something now."""
        keys = [("esc", "Back")]
        if self._shown:
            at, hits = self._view.hits
            matches = f"Next, previous ({at} of {hits})" if hits else "not found"
            keys += [
                ("f", "Stop following" if self._view.following else "Follow"),
                ("/", "Search"),
                *([("n N", matches)] if self._search.value else []),
                ("g G", "Start, end"),
            ]
        keys.append(("r", "Reload"))
        self.query_one("#log-keys", DiffText).put(keys_line(keys), layout=False)

    def action_follow(self) -> None:
        """Start or stop scrolling to each new line."""
        self._view.following = not self._view.following
        if self._view.following:
            self._view.action_scroll_end()
        self._set_title()

    # ------------------------------------------------------------------ searching

    def action_search(self) -> None:
        """Type a word, if there are lines to search."""
        if not self._shown:
            return
        self._search.add_class("-shown")
        self._search.focus()

    def action_back(self) -> None:
        """Close the search; without one, close the screen."""
        if self._search.value:
            self.action_leave_search()
        else:
            self.dismiss()

    def action_leave_search(self) -> None:
        """Close the search and clear its word."""
        self._search.value = ""
        self._search.remove_class("-shown")
        self._view.focus()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._view.search(escape_control(event.value))
        self._set_title()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self._search.set_class(bool(self._search.value), "-shown")
        self._view.focus()

    def action_next(self, by: int) -> None:
        """Show the next match."""
        self._view.next(by)
        self._set_title()
