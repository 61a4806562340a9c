"""Where there's no browser: what to do at the person's own computer to see the desktop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.style import Style
from textual.widgets import Static

from vizdash.model import Session
from vizdash.sessions.opening import Handoff
from vizdash.sessions.routes import Route
from vizdash.ui.format import escape_control
from vizdash.ui.theme import Line, Span, line, lines
from vizdash.ui.widgets.clicked import Dialog

_SECRET = line(Span("It holds the password: give it to nobody.", "warn"))


class AddressScreen(ModalScreen[None]):
    """An address as a link (OSC 8), and for a handoff the line that makes it work; both can be
    copied (OSC 52). Never logged. ``other_port`` gives the handoff with another port.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "copy_line", "Copy the line", show=False),
        Binding("l", "copy_link", "Copy the link", show=False),
        Binding("p", "port", "Another port", show=False),
        Binding("escape,enter,q,o", "dismiss", "Close", show=False),
        Binding("down,j", "scroll(1)", "Down", show=False),
        Binding("up,k", "scroll(-1)", "Up", show=False),
    ]

    def __init__(
        self,
        route: Route,
        session: Session,
        handoff: Handoff | None = None,
        other_port: Callable[[int], Awaitable[Handoff]] | None = None,
    ) -> None:
        super().__init__()
        self._route = route
        self._session = session
        self._handoff = handoff
        self._other_port = other_port
        self._attempt = 0

    def compose(self) -> ComposeResult:
        """What to do, in the order in which it is done."""
        with Dialog() as dialog:
            dialog.border_title = "Open in your own browser"
            keys = "l copies it" if self._handoff is None else "c copies the line · l the link"
            more = "" if self._handoff is None else " · p other port"
            dialog.border_subtitle = f"{keys}{more} · esc closes"
            yield Static(id="before")
            yield Static(id="address")
            yield Static(id="after")

    def on_mount(self) -> None:
        """Fill it in."""
        self._show()

    def _show(self) -> None:
        before, after = self._words()
        self.query_one("#before", Static).update(lines(before))
        url = self._route.url
        link = Content.styled(escape_control(url), Style(link=url, underline=True))
        self.query_one("#address", Static).update(link)
        self.query_one("#after", Static).update(lines(after))

    def _words(self) -> tuple[list[Line], list[Line]]:
        name = f"{self._session.app} on {self._session.node} is ready, but there is no browser"
        if self._handoff is None:
            return [line(f"{name} here. Open this address:")], [_SECRET]
        return [
            line(f"{name} on {self._handoff.host}."),
            (),
            line(
                Span("1", "accent", bold=True),
                "  On your own computer, run (it logs in, says nothing, stays):",
            ),
            line(Span(self._handoff.command, "accent")),
            (),
            line(Span("2", "accent", bold=True), "  Then open there:"),
        ], [
            _SECRET,
            (),
            line(Span("Keep vizdash open meanwhile: it holds the way to the node.", "muted")),
        ]

    def action_copy_line(self) -> None:
        """Into the clipboard of the person's own terminal."""
        if self._handoff is None:
            self.action_copy_link()
        else:
            self._copy(self._handoff.command, "line")

    def action_copy_link(self) -> None:
        """The address, into the clipboard."""
        self._copy(self._route.url, "link")

    def _copy(self, text: str, what: str) -> None:
        self.app.copy_to_clipboard(text)
        # No toast: it would lie over the line itself.
        self.query_one(Dialog).border_title = f"The {what} is copied, if your terminal allows it"

    def action_scroll(self, rows: int) -> None:
        """Where not all of it fits."""
        self.query_one(Dialog).scroll_relative(y=rows, animate=False)

    async def action_port(self) -> None:
        """The port is taken on the person's computer: another one."""
        if self._other_port is None or self._handoff is None:
            return
        self._attempt += 1
        self._handoff = await self._other_port(self._attempt)
        self._show()
