"""A session's time limit is near: start the same again, ask for more time, or let it be."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from vizdash.model import Session
from vizdash.ui.format import countdown
from vizdash.ui.theme import Span, content, line
from vizdash.ui.widgets.clicked import Dialog
from vizdash.ui.widgets.rows import Rows
from vizdash.ui.widgets.table import Now
from vizdash.units import duration_words

Choice = Literal["again", "request", "extend", "dismiss"]

#: What is asked for where the session's own limit is not known, in seconds.
_USUAL_S = 7200


def more_s(session: Session) -> int:
    """How much more time is asked for: as much as the session began with."""
    return session.resources.time_s or _USUAL_S


class DeadlineScreen(ModalScreen[Choice | None]):
    """Gives back what was chosen; None for leaving it. ``find`` gives the session of a job as last
    seen (None: it is gone), ``moment`` now.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,w", "dismiss", "Let it be", show=False),
        Binding("d", "choose('dismiss')", "Let it be", show=False),
        Binding("a", "choose('again')", "Same again", show=False),
        Binding("r", "choose('request')", "Request", show=False),
        Binding("e", "choose('extend')", "Extend", show=False),
    ]

    def __init__(
        self,
        session: Session,
        find: Callable[[str], Session | None],
        moment: Callable[[], Now],
        *,
        may_extend: bool = False,
    ) -> None:
        super().__init__()
        self._session = session
        self._find = find
        self._moment = moment
        # Held, not looked up: a tick may come while the screen is being taken apart.
        self._question = Rows(self._told(), id="question", markup=False)
        more = duration_words(more_s(session))
        offers: list[tuple[Choice, str, str]] = [
            ("again", "a", "Start the same again now, and move over"),
            ("request", "r", f"Copy a request for {more} more, to send to your operators"),
            ("dismiss", "d", "Let it be: it ends at its limit"),
        ]
        if may_extend:
            offers.insert(0, ("extend", "e", f"Extend it by {more}"))
        self._offers = offers

    def compose(self) -> ComposeResult:
        """The session and its time, then the choices."""
        with Dialog() as dialog:
            dialog.border_title = "Time limit"
            dialog.border_subtitle = "enter chooses · esc lets it be"
            yield self._question
            yield OptionList(*(Option(_drawn(key, text)) for _, key, text in self._offers))

    def on_mount(self) -> None:
        """The time goes on."""
        self.set_interval(1, self.tick)

    def tick(self) -> None:
        """Tell what is left now."""
        self._question.put(self._told(), layout=False)

    def _told(self) -> Content:
        session = self._session
        what = line(Span(session.app, "strong", bold=True), f" on {session.node}   ")
        found = self._find(session.job_id)
        if found is None or not found.live:
            return content((*what, Span("it has ended", "muted")))
        left = countdown((found.time_left_s or 0) - self._moment().age_s)
        rest = line(Span(f"{left} left", "warn"), Span("; then it ends, saved or not", "muted"))
        return content((*what, *rest))

    def action_choose(self, choice: Choice) -> None:
        """By its key."""
        if choice in {one for one, _, _ in self._offers}:
            self.dismiss(choice)

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._offers[event.option_index][0])


def _drawn(key: str, text: str) -> Content:
    return content((Span(f"{key}  ", "accent", bold=True), Span(text)))
