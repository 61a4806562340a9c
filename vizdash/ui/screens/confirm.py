"""A question whose usual answer is no."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static

from vizdash.model import Session, SessionState
from vizdash.ui import words
from vizdash.ui.format import about, escape_control, plural
from vizdash.ui.theme import Line, Span, content, line, lines
from vizdash.ui.widgets.clicked import Dialog
from vizdash.ui.widgets.rows import Rows
from vizdash.ui.widgets.table import Now

#: Sessions that a question names.
_NAMED = 8


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and what each answer does; ``noted`` (empty: no) is a yes with a note."""

    title: str
    text: tuple[Line, ...]
    yes: str
    no: str
    noted: str = ""


def stopping(session: Session, now: Now) -> Question:
    """Name the session and what is lost with it."""
    where = f" on {session.node}" if session.node else ""
    whose = "" if session.mine else f" of {session.user}"
    what = line(
        Span(session.app, "strong", bold=True),
        f"{where}{whose}   ",
        words.session_state(session, now),
    )
    facts = [f"session {session.id}", f"job {session.job_id}"]
    if session.started_at and session.state is not SessionState.PENDING:
        facts.append(f"began {about(now.at - session.started_at)} ago")
    lost = line(Span("What isn't saved in it is lost.", "warn"))
    if session.state is SessionState.PENDING:
        lost = line(Span("It loses its place in the queue.", "warn"))
    if not session.live:
        lost = line(Span("It has ended meanwhile: there is nothing to stop.", "warn"))
    text = (what, line(Span(" · ".join(facts), "muted")), (), lost)
    noted = "" if session.mine or not _bears_note(session) else "With a note"
    return Question("Stop this session?", text, "Stop it", "Keep it", noted)


def _bears_note(session: Session) -> bool:
    """Whether its job has a place for a note."""
    return session.state is not SessionState.PENDING and not session.legacy


@dataclass(frozen=True, slots=True)
class AtStake:
    """What ends with this dashboard: a change of images, builds (``desktop 2.1``)."""

    changing: bool = False
    builds: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.changing or bool(self.builds)

    def told(self, doing: str) -> list[Line]:
        """Name it, and what ``doing`` does to it."""
        text: list[Line] = []
        if self.changing:
            text.append(line("Images are being changed on the nodes."))
            text.append(line(Span(f"{doing} breaks that off; it goes on the next time.", "warn")))
        if self.builds:
            are = "is" if len(self.builds) == 1 else "are"
            text.append(line(f"{escape_control(', '.join(self.builds))} {are} being built."))
            text.append(line(Span(f"{doing} breaks that off; nothing of it is kept.", "warn")))
        return text


def quitting(held: int, at_stake: AtStake) -> Question:
    """Name what goes dark, and what is broken off."""
    text: list[Line] = []
    if held:
        one = held == 1
        its, runs = ("its tunnel", "session keeps") if one else ("their tunnels", "sessions keep")
        are = "is" if one else "are"
        text.append(line(f"{plural(held, 'desktop')} {are} open through this vizdash."))
        text.append(line(Span(f"Quitting closes {its} (the {runs} running).", "warn")))
    text += at_stake.told("Quitting")
    return Question("Quit vizdash?", tuple(text), "Quit", "Stay")


def going_to(cluster: str, at_stake: AtStake) -> Question:
    """Name what is broken off; tunnels stay."""
    text = tuple(at_stake.told("Going there"))
    return Question(f"Go to {escape_control(cluster)}?", text, "Go there", "Stay")


def stopping_many(sessions: Sequence[Session], now: Now) -> Question:
    """Name each of them, as many as there's room for."""
    text: list[Line] = []
    for session in sessions[:_NAMED]:
        where = f" on {session.node}" if session.node else ""
        whose = "" if session.mine else f" of {session.user}"
        state = words.session_state(session, now)
        ids = Span(f"   {session.id} · job {session.job_id}", "muted")
        text.append(line(Span(session.app, "strong"), f"{where}{whose}   ", state, ids))
    if len(sessions) > _NAMED:
        text.append(line(Span(f"and {len(sessions) - _NAMED} more", "muted")))
    text += [(), line(Span("What isn't saved in them is lost.", "warn"))]
    title = f"Stop these {len(sessions)} sessions?"
    others = any(not s.mine and _bears_note(s) for s in sessions)
    noted = "With a note" if others else ""
    return Question(title, tuple(text), "Stop them", "Keep them", noted)


class Answer(Static, can_focus=True):
    """One answer: Enter or a click gives it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "give", "Answer", show=False),
    ]

    class Given(Message):
        """This one was given."""

        def __init__(self, answer: Answer) -> None:
            self.answer = answer
            super().__init__()

    def __init__(self, label: str, *, id: str) -> None:
        super().__init__(f"  {label}", id=id, markup=False)
        self._label = label

    def on_focus(self) -> None:
        """A sign, not the colour alone, tells which one Enter gives."""
        self.update(f"▸ {self._label}")

    def on_blur(self) -> None:
        """Another one has it."""
        self.update(f"  {self._label}")

    def action_give(self) -> None:
        """Give it."""
        self.post_message(self.Given(self))

    def on_click(self) -> None:
        """Give it."""
        self.action_give()


class Confirm(ModalScreen[bool]):
    """True for yes; ``noted`` tells that a note is to go with it. No has the focus; y, n, m and
    Escape answer at once.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", show=False),
        Binding("m", "noted", "With a note", show=False),
        Binding("n,escape,q", "answer(False)", "No", show=False),
        Binding("left,right,up,down,h,l", "other", "Other answer", show=False),
        Binding("pageup", "page(-1)", "Up", show=False),
        Binding("pagedown", "page(1)", "Down", show=False),
    ]
    AUTO_FOCUS = "#no"
    #: Rows of the dialog beside its question: border, padding, and the answers.
    _FRAME = 5

    def __init__(self, question: Question, look: Callable[[], Question] | None = None) -> None:
        """``look`` asks the same of what is there now."""
        super().__init__()
        self._question = question
        self._look = look
        self.noted = False
        # Held, not looked up: a tick may come while the screen is being taken apart.
        self._text = Rows(lines(question.text), id="question", markup=False)

    def on_mount(self) -> None:
        """What is asked about may change, or end, while it is being thought over."""
        self.set_interval(1, self.follow)

    def follow(self) -> None:
        """Show it as it is now."""
        if self._look is not None:
            self._text.put(lines(self._look().text))

    def compose(self) -> ComposeResult:
        """The question and its two answers."""
        asked = self._question
        with Dialog() as dialog:
            dialog.border_title = asked.title
            with VerticalScroll(id="question-scroll", can_focus=False):
                yield self._text
            with Horizontal(id="answers"):
                yield Answer(content((Span(f"y  {asked.yes}", "text"),)).plain, id="yes")
                if asked.noted:
                    label = content((Span(f"m  {asked.noted}", "text"),)).plain
                    yield Answer(label, id="noted")
                yield Answer(content((Span(f"n  {asked.no}", "text"),)).plain, id="no")

    def on_resize(self, event: events.Resize) -> None:
        """The answers are always seen; the question scrolls where it is too long. (While vizdash
        ends, it may have gone.)
        """
        for question in self.query("#question-scroll"):
            question.styles.max_height = max(1, event.size.height - self._FRAME)

    def action_page(self, way: int) -> None:
        """More of a question that is too long."""
        question = self.query_one("#question-scroll", VerticalScroll)
        question.scroll_relative(y=way * question.size.height, animate=False)

    def action_answer(self, yes: bool) -> None:
        """Give an answer."""
        self.dismiss(yes)

    def action_noted(self) -> None:
        """Yes, with a note."""
        if self._question.noted:
            self.noted = True
            self.dismiss(True)

    def action_other(self) -> None:
        """The next answer."""
        self.focus_next(Answer)

    @on(Answer.Given)
    def _given(self, event: Answer.Given) -> None:
        if event.answer.id == "noted":
            self.action_noted()
        else:
            self.dismiss(event.answer.id == "yes")
