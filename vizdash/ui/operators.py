"""What operators and administrators do from the dashboard: asked for first, told afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from textual.screen import Screen

from vizdash.errors import VizdashError
from vizdash.model import Node, Session
from vizdash.service import Service
from vizdash.ui.screens.ask import AskScreen
from vizdash.ui.screens.confirm import Question
from vizdash.ui.theme import Span, line


class Face(Protocol):
    """What of the app is needed here."""

    def ask(self, screen: Screen[str | None], answered: Callable[[str], Awaitable[None]]) -> None:
        """Show a screen and go on with its text, unless it was cancelled."""
        ...

    def confirm(self, question: Question, answered: Callable[[], Awaitable[None]]) -> None:
        """Ask, and go on with a yes."""
        ...

    def news(self, text: str) -> None:
        """Tell something."""
        ...

    def trouble(self, text: str) -> None:
        """Tell an error."""
        ...

    def look_again(self) -> None:
        """Ask the cluster at once."""
        ...


class Operators:
    """Drain and resume a node, tell a session something."""

    def __init__(self, service: Service, face: Face) -> None:
        self._service = service
        self._face = face

    def drain(self, node: Node) -> None:
        """Ask for the reason, then drain."""
        text = (
            line(Span(node.name, "strong", bold=True), " takes no new job; those there go on."),
        )
        screen = AskScreen("Drain this node?", text, hint="the reason", does="drains")

        async def with_reason(reason: str) -> None:
            await self._do(
                self._service.operations.drain(node.name, reason), f"{node.name} is drained"
            )

        self._face.ask(screen, with_reason)

    def resume(self, node: Node) -> None:
        """Ask, then resume."""
        reason = node.reason or "no reason is given"
        question = Question(
            "Resume this node?",
            (
                line(Span(node.name, "strong", bold=True), f"   {node.state_words}: {reason}"),
                (),
                line(Span("Jobs may start on it again.", "warn")),
            ),
            "Resume it",
            "Leave it",
        )

        async def yes() -> None:
            await self._do(
                self._service.operations.resume(node.name), f"{node.name} takes jobs again"
            )

        self._face.confirm(question, yes)

    def message(self, session: Session) -> None:
        """Ask for the text, then show it on the session's desktop."""
        whose = "your" if session.mine else f"{session.user}'s"
        text = (
            line(f"It is shown on {whose} ", Span(session.app, "strong"), f" on {session.node}."),
        )
        screen = AskScreen("Message to a desktop", text, hint="the message", does="shows it")

        async def with_text(said: str) -> None:
            told = f"the message is shown on {session.app} of {session.user}"
            await self._do(self._service.operations.message(session, said), told)

        self._face.ask(screen, with_text)

    async def extend(self, session: Session, more_s: int) -> None:
        """Give it more time."""
        work = self._service.operations.extend(session, more_s)
        await self._do(work, f"{session.app} on {session.node} has more time")

    async def _do(self, work: Awaitable[object], told: str) -> None:
        try:
            await work
        except VizdashError as e:
            self._face.trouble(e.line)
        else:
            self._face.news(told)
            self._face.look_again()
