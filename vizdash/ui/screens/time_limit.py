"""A session's time limit: start a replacement, request more time, extend, or dismiss."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from vizdash.model import Session
from vizdash.ui.dialog_screen import DialogScreen
from vizdash.ui.present.lines import Span, content, line
from vizdash.ui.widgets.clickable_keys import Dialog
from vizdash.ui.widgets.columns import Now
from vizdash.ui.widgets.diff_text import DiffText
from vizdash.util.units import format_countdown, format_duration

TimeLimitChoice = Literal["repeat", "request", "extend", "dismiss"]

#: Seconds to request where the session's time limit is unknown.
_USUAL_S = 7200


def extension_s(session: Session) -> int:
    """How much more time to request, in seconds: as much as the session was started with."""
    return session.lease_s or session.resources.time_s or _USUAL_S


class TimeLimitScreen(DialogScreen[TimeLimitChoice | None]):
    """Returns the choice; None for none. ``find`` gives the current session of a job (None: it is
    gone), ``moment`` the time.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,w", "dismiss", "Dismiss", show=False),
        Binding("d", "choose('dismiss')", "Dismiss", show=False),
        Binding("a", "choose('repeat')", "Replace", show=False),
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
        # Attributes, not queries: a tick may come while the screen is being removed.
        self._question = DiffText(self._question_text(), id="question", markup=False)
        more = format_duration(extension_s(session))
        offers: list[tuple[TimeLimitChoice, str, str]] = [
            ("repeat", "a", "Start a replacement of the same size"),
            ("request", "r", f"Copy a request for {more} more, to send to an operator"),
            ("dismiss", "d", "Dismiss: the session ends at its limit"),
        ]
        if may_extend:
            offers.insert(0, ("extend", "e", f"Extend it by {more}"))
        self._offers = offers

    def compose(self) -> ComposeResult:
        """The session and its time left, then the choices."""
        with Dialog() as dialog:
            dialog.border_title = "Time limit"
            dialog.border_subtitle = "enter selects · esc dismisses"
            yield self._question
            yield OptionList(*(Option(_drawn(key, text)) for _, key, text in self._offers))

    def on_mount(self) -> None:
        """Count down."""
        self.set_interval(1, self.tick)

    def tick(self) -> None:
        """Show the time left."""
        self._question.put(self._question_text(), layout=False)

    def _question_text(self) -> Content:
        session = self._session
        what = line(Span(session.app, "strong", bold=True), f" on {session.node}   ")
        current = self._find(session.job_id)
        if current is None or not current.live:
            return content((*what, Span("it has ended", "muted")))
        left = format_countdown((current.ends_in_s or 0) - self._moment().age_s)
        rest = line(Span(f"{left} left", "warn"), Span("; then unsaved work is lost", "muted"))
        return content((*what, *rest))

    def action_choose(self, choice: TimeLimitChoice) -> None:
        """Return the choice of a key."""
        if choice in {one for one, _, _ in self._offers}:
            self.dismiss(choice)

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._offers[event.option_index][0])


def _drawn(key: str, text: str) -> Content:
    return content((Span(f"{key}  ", "accent", bold=True), Span(text)))
