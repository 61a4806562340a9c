"""Quitting while desktops are open: close their tunnels, keep them, or stay."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Static

from vizdash.ui.dialog_screen import DialogScreen
from vizdash.ui.present.lines import Span, line, lines
from vizdash.ui.screens.confirm import Answer
from vizdash.ui.widgets.clickable_keys import Dialog
from vizdash.util.text import plural

QuitAnswer = Literal["close", "hold", "stay"]


class QuitScreen(DialogScreen[QuitAnswer]):
    """Stay has the focus. ``may_hold`` is whether tunnels can be kept without vizdash."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer('close')", "Quit", show=False),
        Binding("k", "answer('hold')", "Keep them", show=False),
        Binding("n,escape,q", "answer('stay')", "Stay", show=False),
        Binding("left,up,h", "app.focus_previous", "Before", show=False),
        Binding("right,down,l", "app.focus_next", "Next", show=False),
    ]
    AUTO_FOCUS = "#stay"

    def __init__(self, held: int, *, may_hold: bool) -> None:
        super().__init__()
        self._held = held
        self._may_hold = may_hold

    def compose(self) -> ComposeResult:
        """The open desktops, and the answers."""
        are, its, runs = ("is", "its tunnel", "session keeps") if self._held == 1 else _MANY
        with Dialog() as dialog:
            dialog.border_title = "Quit vizdash?"
            yield Static(
                lines(
                    [
                        line(f"{plural(self._held, 'desktop')} {are} open through vizdash."),
                        line(Span(f"Quitting closes {its} (the {runs} running).", "warn")),
                    ]
                )
            )
            if self._may_hold:
                end = "session ends" if self._held == 1 else "sessions end"
                kept = f"Or keep {its} in the background until the {end}."
                yield Static(lines([line(Span(kept, "muted"))]))
            with Horizontal(classes="answers"):
                yield Answer("y  Quit", id="close")
                if self._may_hold:
                    yield Answer("k  Keep and quit", id="hold")
                yield Answer("n  Stay", id="stay")

    def action_answer(self, answer: QuitAnswer) -> None:
        """Give an answer."""
        if answer != "hold" or self._may_hold:
            self.dismiss(answer)

    @on(Answer.Given)
    def _given(self, event: Answer.Given) -> None:
        answers: dict[str | None, QuitAnswer] = {"close": "close", "hold": "hold"}
        self.dismiss(answers.get(event.answer.id, "stay"))


_MANY = ("are", "their tunnels", "sessions keep")
