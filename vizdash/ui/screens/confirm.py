"""A question whose default answer is no, and the questions of the dashboard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.widgets import Static

from vizdash.model import Session, SessionState
from vizdash.ui.dialog_screen import DialogScreen
from vizdash.ui.present.lines import Line, Span, content, line, lines
from vizdash.ui.present.sessions import session_state
from vizdash.ui.widgets.clickable_keys import Dialog
from vizdash.ui.widgets.columns import Now
from vizdash.ui.widgets.diff_text import DiffText
from vizdash.util.text import escape_control, plural
from vizdash.util.units import format_rough_duration

#: The most sessions that a question names.
_NAMED = 8


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what each answer does; ``noted`` (empty: none) is a third answer, yes with a
    note.
    """

    title: str
    text: tuple[Line, ...]
    yes: str
    no: str
    noted: str = ""


def stop_question(session: Session, now: Now) -> Question:
    """Whether to stop a session, with what is lost."""
    where = f" on {session.node}" if session.node else ""
    whose = "" if session.mine else f" ({session.user})"
    what = line(
        Span(session.app, "strong", bold=True),
        f"{where}{whose}   ",
        session_state(session, now),
    )
    facts = [f"session {session.id}", f"job {session.job_id}"]
    if session.started_at and session.state is not SessionState.PENDING:
        facts.append(f"started {format_rough_duration(now.at - session.started_at)} ago")
    lost = line(Span("Unsaved work is lost.", "warn"))
    if session.state is SessionState.PENDING:
        lost = line(Span("It loses its place in the queue.", "warn"))
    if not session.live:
        lost = line(Span("It has already ended: there is nothing to stop.", "warn"))
    text = (what, line(Span(" · ".join(facts), "muted")), (), lost)
    noted = "" if session.mine or not _takes_note(session) else "With a note"
    return Question("Stop this session?", text, "Stop it", "Keep it", noted)


def _takes_note(session: Session) -> bool:
    """Whether the job can show a note to its owner."""
    return session.state is not SessionState.PENDING and not session.legacy


@dataclass(frozen=True, slots=True)
class PendingWork:
    """Work that ends with this dashboard: a change of images, builds (``desktop 2.1``)."""

    changing: bool = False
    builds: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.changing or bool(self.builds)

    def describe(self, doing: str) -> list[Line]:
        """Name the work, and what ``doing`` does to it."""
        text: list[Line] = []
        if self.changing:
            text.append(line("Images on the nodes are being changed."))
            text.append(
                line(Span(f"{doing} interrupts this; the same command resumes it.", "warn"))
            )
        if self.builds:
            are = "is" if len(self.builds) == 1 else "are"
            text.append(line(f"{escape_control(', '.join(self.builds))} {are} being built."))
            text.append(line(Span(f"{doing} cancels this; nothing of it is kept.", "warn")))
        return text


def quit_question(held: int, pending: PendingWork) -> Question:
    """Whether to quit, with the desktops that lose their tunnel and interrupted work."""
    text: list[Line] = []
    if held:
        one = held == 1
        its, runs = ("its tunnel", "session keeps") if one else ("their tunnels", "sessions keep")
        are = "is" if one else "are"
        text.append(line(f"{plural(held, 'desktop')} {are} open through vizdash."))
        text.append(line(Span(f"Quitting closes {its} (the {runs} running).", "warn")))
    text += pending.describe("Quitting")
    return Question("Quit vizdash?", tuple(text), "Quit", "Stay")


def switch_cluster_question(cluster: str, pending: PendingWork) -> Question:
    """Whether to switch to another cluster, with interrupted work; tunnels stay open."""
    text = tuple(pending.describe("Switching"))
    return Question(f"Switch to {escape_control(cluster)}?", text, "Switch", "Stay")


def stop_several_question(sessions: Sequence[Session], now: Now) -> Question:
    """Whether to stop several sessions; as many are named as fit."""
    text: list[Line] = []
    for session in sessions[:_NAMED]:
        where = f" on {session.node}" if session.node else ""
        whose = "" if session.mine else f" ({session.user})"
        state = session_state(session, now)
        ids = Span(f"   {session.id} · job {session.job_id}", "muted")
        text.append(line(Span(session.app, "strong"), f"{where}{whose}   ", state, ids))
    if len(sessions) > _NAMED:
        text.append(line(Span(f"and {len(sessions) - _NAMED} more", "muted")))
    text += [(), line(Span("Unsaved work is lost.", "warn"))]
    title = f"Stop these {len(sessions)} sessions?"
    others = any(not s.mine and _takes_note(s) for s in sessions)
    noted = "With a note" if others else ""
    return Question(title, tuple(text), "Stop them", "Keep them", noted)


class Answer(Static, can_focus=True):
    """One answer, given by Enter or a click."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "give", "Answer", show=False),
    ]

    class Given(Message):
        """This answer was given."""

        def __init__(self, answer: Answer) -> None:
            self.answer = answer
            super().__init__()

    def __init__(self, label: str, *, id: str) -> None:
        super().__init__(f"  {label}", id=id, markup=False)
        self._label = label

    def on_focus(self) -> None:
        """Mark the focused answer with a symbol, not by colour alone."""
        self.update(f"▸ {self._label}")

    def on_blur(self) -> None:
        """Remove the mark."""
        self.update(f"  {self._label}")

    def action_give(self) -> None:
        """Give this answer."""
        self.post_message(self.Given(self))

    def on_click(self) -> None:
        """Give this answer."""
        self.action_give()


class ConfirmScreen(DialogScreen[bool]):
    """Returns True for yes; ``noted`` is whether a note is to go with it. No has the focus; y, n, m
    and Escape answer immediately.
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
    #: Rows of the dialog without its question: border, padding, and the answers.
    _FRAME = 5

    def __init__(self, question: Question, look: Callable[[], Question] | None = None) -> None:
        """``look`` gives the question about the current state."""
        super().__init__()
        self._question = question
        self._look = look
        self.noted = False
        # Attributes, not queries: a tick may come while the screen is being removed.
        self._text = DiffText(lines(question.text), id="question", markup=False)

    def on_mount(self) -> None:
        """Follow the state while the user thinks."""
        self.set_interval(1, self.follow)

    def follow(self) -> None:
        """Show the question about the current state."""
        if self._look is not None:
            self._text.put(lines(self._look().text))

    def compose(self) -> ComposeResult:
        """The question and its answers."""
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
        """Keep the answers visible; a long question scrolls. (It is gone while vizdash exits.)"""
        for question in self.query("#question-scroll"):
            question.styles.max_height = max(1, event.size.height - self._FRAME)

    def action_page(self, way: int) -> None:
        """Scroll a long question."""
        question = self.query_one("#question-scroll", VerticalScroll)
        question.scroll_relative(y=way * question.size.height, animate=False)

    def action_answer(self, yes: bool) -> None:
        """Answer yes or no."""
        self.dismiss(yes)

    def action_noted(self) -> None:
        """Answer yes with a note."""
        if self._question.noted:
            self.noted = True
            self.dismiss(True)

    def action_other(self) -> None:
        """Focus the next answer."""
        self.focus_next(Answer)

    @on(Answer.Given)
    def _given(self, event: Answer.Given) -> None:
        if event.answer.id == "noted":
            self.action_noted()
        else:
            self.dismiss(event.answer.id == "yes")
