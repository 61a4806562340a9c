"""What a dashboard does to end sessions: asks first, with a note for owners who are others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from vizdash.errors import VizdashError
from vizdash.model import Session, SessionRequest, SessionState
from vizdash.poller import Poller
from vizdash.service import Service
from vizdash.ui.operators import Operators
from vizdash.ui.room import usual
from vizdash.ui.screens.ask import AskScreen
from vizdash.ui.screens.confirm import Confirm, Question, stopping, stopping_many
from vizdash.ui.screens.deadline import more_s
from vizdash.ui.shelf import Shelf
from vizdash.ui.theme import Span, line


class Stops(Shelf):
    """A part of the app."""

    _service: Service
    _poller: Poller
    _operators: Operators

    def _show(self) -> None:
        raise NotImplementedError

    def news(self, text: str) -> None:
        """One line that goes away by itself."""
        raise NotImplementedError

    def warn(self, text: str) -> None:
        """One line to act upon."""
        raise NotImplementedError

    def remember(self, request: SessionRequest | None = None) -> None:
        """The size that the nodes' room is told for: the one started last."""
        self._dashboard.usual = request or usual(self._service)
        self._dashboard.memory_request = self._service.config.cluster.memory_request

    def want_stop(self, sessions: tuple[Session, ...]) -> None:
        """Ask, then end them; where all of them can be left word, a note may go with it."""

        def seen() -> tuple[Session, ...]:
            return tuple(self._board.find(s.job_id) or s for s in sessions)

        def question() -> Question:
            now, found = self.moment(), seen()
            return stopping(found[0], now) if len(found) == 1 else stopping_many(found, now)

        screen = Confirm(question(), question)

        def answered(yes: bool | None) -> None:
            live = tuple(s for s in seen() if s.live)
            if yes and not live:
                self.news("nothing was stopped: it had ended before")
            elif yes and screen.noted:
                self._ask_note(live)
            elif yes:
                self._stop_all(live, "")

        self.push_screen(screen, answered)

    def extend(self, session: Session) -> None:
        """Give it more time, unless it has ended while that was thought over."""
        now = self._board.find(session.job_id)
        if now is None or not now.live:
            self.warn(f"{session.app} was not extended: it has ended")
            return
        work: Callable[[], Awaitable[None]] = partial(self._operators.extend, now, more_s(now))
        self.run_worker(work, group="writes")

    def _ask_note(self, sessions: tuple[Session, ...]) -> None:
        owners = ", ".join(sorted({s.user for s in sessions if not s.mine}))
        text = (
            line("Why, for ", Span(owners, "strong", bold=True), " to read:"),
            line(Span("their list of sessions shows it with the ended one.", "muted")),
        )

        async def given(note: str) -> None:
            self._stop_all(sessions, note)

        self.ask(AskScreen("Stop with a note", text, hint="the note", does="stops"), given)

    def _stop_all(self, sessions: tuple[Session, ...], note: str) -> None:
        self._dashboard.sessions.unmark()
        for session in sessions:
            work: Callable[[], Awaitable[None]] = partial(self._stop, session, note)
            self.run_worker(work, name="stop", group="writes")

    async def _stop(self, session: Session, note: str) -> None:
        # A job that has not begun, or is of the older kind, has no place for a note.
        bears = session.state is not SessionState.PENDING and not session.legacy
        try:
            await self._service.stop(session, note if bears and not session.mine else "")
        except VizdashError as e:
            self.trouble(e.line)
            return
        self._board.stopped(session, self.moment().at)
        self._show()
        self._poller.refresh()
        self.news(f"{session.app} (job {session.job_id}) is being ended")
