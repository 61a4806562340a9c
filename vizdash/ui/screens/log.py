"""A session's log: followed, and searched."""

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
from vizdash.service import Service
from vizdash.ui import words
from vizdash.ui.format import escape_control
from vizdash.ui.theme import Span, content, keys_line
from vizdash.ui.widgets.clicked import Keys
from vizdash.ui.widgets.logview import LogView
from vizdash.ui.widgets.rows import Rows
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


class Search(Input):
    """The word that is looked for; Escape leaves it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "screen.leave_search", "Back", show=False)
    ]


class LogScreen(Screen[None]):
    """New lines are added below while it follows; moving up stops that."""

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
        self._said = ""
        self._reading: Worker[None] | None = None
        #: Whether it was read after its end was seen.
        self._whole = False
        self._view = LogView()
        self._search = Search(placeholder="search", id="log-search")

    def compose(self) -> ComposeResult:
        """Title, what there is to say, lines, keys."""
        yield Rows(id="log-title", markup=False)
        yield Static(id="log-said", markup=False)
        yield self._view
        yield self._search
        yield Keys(id="log-keys", markup=False)

    def on_mount(self) -> None:
        """Look now, again while it lives, and once more when it has ended."""
        self.watch(self._view, "following", self._entitle, init=False)
        self._entitle()
        self.action_reload()
        self.set_interval(_EVERY_S, self._again)

    def _again(self) -> None:
        self._session = self._find(self._session.job_id) or self._session
        self._entitle()
        wanted = self._session.live or not self._whole
        if wanted and (self._reading is None or self._reading.is_finished):
            self.action_reload()

    def action_reload(self) -> None:
        """Ask for its end, and no longer wait for the answer to an earlier question."""
        self._reading = self.run_worker(self._load, exclusive=True, group="log")

    async def _load(self) -> None:
        ended = not self._session.live
        await self._read()
        self._whole = ended

    async def _read(self) -> None:
        try:
            text = await self._service.logs(self._session, lines=_LINES)
        except VizdashError as e:
            self._said = e.line
            self._entitle()
            return
        self._said = "" if text else "the log is empty so far"
        lines = text.splitlines()
        known = overlap(self._shown, lines)
        if self._shown and not known:
            self._view.clear()
        self._view.add(escape_control(one.expandtabs()) for one in lines[known:])
        self._shown = lines
        self._entitle()

    def _entitle(self) -> None:
        session = self._session
        state = words.session_state(session, Now())
        where = f" on {session.node}" if session.node else ""
        spans = [
            Span("Log  ", "accent", bold=True),
            state,
            Span("  "),
            Span(session.app, "strong", bold=True),
            Span(f"{where} · session {session.id} · job {session.job_id}   ", "muted"),
        ]
        self.query_one("#log-title", Rows).put(content(spans), layout=False)
        self._show_keys()
        said = self.query_one("#log-said", Static)
        said.display = bool(self._said)
        said.update(content((Span(self._said, "warn"),)))

    def _show_keys(self) -> None:
        """Those that do something: where there are no lines, there is nothing to go through."""
        keys = [("esc", "Back")]
        if self._shown:
            at, hits = self._view.hits
            found = f"Next, previous ({at} of {hits})" if hits else "not found"
            keys += [
                ("f", "Stop following" if self._view.following else "Follow"),
                ("/", "Search"),
                *([("n N", found)] if self._search.value else []),
                ("g G", "Start, end"),
            ]
        keys.append(("r", "Reload"))
        self.query_one("#log-keys", Rows).put(keys_line(keys), layout=False)

    def action_follow(self) -> None:
        """Go to the end with every new line, or stay."""
        self._view.following = not self._view.following
        if self._view.following:
            self._view.action_scroll_end()
        self._entitle()

    # ------------------------------------------------------------------ searching

    def action_search(self) -> None:
        """Type a word, where there are lines to look through."""
        if not self._shown:
            return
        self._search.add_class("-shown")
        self._search.focus()

    def action_back(self) -> None:
        """End the search; without one, leave."""
        if self._search.value:
            self.action_leave_search()
        else:
            self.dismiss()

    def action_leave_search(self) -> None:
        """Back to the lines; the word is forgotten."""
        self._search.value = ""
        self._search.remove_class("-shown")
        self._view.focus()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._view.search(escape_control(event.value))
        self._entitle()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self._search.set_class(bool(self._search.value), "-shown")
        self._view.focus()

    def action_next(self, by: int) -> None:
        """The next line with the word."""
        self._view.next(by)
        self._entitle()
