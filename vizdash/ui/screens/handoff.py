"""How to open a desktop in a browser elsewhere, where this machine has none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.style import Style
from textual.widgets import Static

from vizdash.model import Session
from vizdash.sessions.handoff import Handoff
from vizdash.sessions.routes import Route
from vizdash.ui.dialog_screen import DialogScreen
from vizdash.ui.present.lines import Line, Span, line, lines
from vizdash.ui.widgets.clickable_keys import Dialog
from vizdash.util.text import escape_control

_SECRET = line(Span("It contains the password: do not share it.", "warn"))
_NO_PASSWORD = line(
    Span("It has no password: on your computer, all users can use this port.", "warn")
)


class HandoffScreen(DialogScreen[None]):
    """The address as a link (OSC 8), and for a handoff the command that makes it work; both can be
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
        """The steps in their order."""
        with Dialog() as dialog:
            program = "ParaView" if self._route.is_pvserver else "a browser"
            dialog.border_title = f"Open in {program} on your computer"
            keys = "l copies it" if self._handoff is None else "c copies the line · l the link"
            more = "" if self._handoff is None else " · p other port"
            dialog.border_subtitle = f"{keys}{more} · esc closes"
            yield Static(id="before")
            yield Static(id="address")
            yield Static(id="after")

    def on_mount(self) -> None:
        """Fill in the steps."""
        self._show()

    def _show(self) -> None:
        before, after = self._paragraphs()
        self.query_one("#before", Static).update(lines(before))
        url = self._route.url
        link = Content.styled(escape_control(url), Style(link=url, underline=True))
        self.query_one("#address", Static).update(link)
        self.query_one("#after", Static).update(lines(after))

    def _paragraphs(self) -> tuple[list[Line], list[Line]]:
        program, warning = "browser", _SECRET
        if self._route.is_pvserver:
            program, warning = f"ParaView {self._route.server_version}".strip(), _NO_PASSWORD
        name = f"{self._session.app} on {self._session.node} is ready, but there is no {program}"
        if self._handoff is None:
            return [line(f"{name} here. Open this address:")], [warning]
        return [
            line(f"{name} on {self._handoff.host}."),
            (),
            line(
                Span("1", "accent", bold=True),
                "  On your computer, run this and leave it running (it prints nothing):",
            ),
            line(Span(self._handoff.command, "accent")),
            (),
            line(Span("2", "accent", bold=True), "  Then open this address there:"),
        ], [
            warning,
            (),
            line(Span("Keep vizdash open: it holds the tunnel to the node.", "muted")),
        ]

    def action_copy_line(self) -> None:
        """Copy the command to the terminal's clipboard."""
        if self._handoff is None:
            self.action_copy_link()
        else:
            self._copy(self._handoff.command, "line")

    def action_copy_link(self) -> None:
        """Copy the address to the terminal's clipboard."""
        self._copy(self._route.url, "link")

    def _copy(self, text: str, what: str) -> None:
        self.app.copy_to_clipboard(text)
        # No toast: it would cover the command itself.
        self.query_one(Dialog).border_title = f"Copied the {what}, if your terminal allows it"

    def action_scroll(self, rows: int) -> None:
        """Scroll where not everything fits."""
        self.query_one(Dialog).scroll_relative(y=rows, animate=False)

    async def action_port(self) -> None:
        """Use another port: this one is taken on the user's computer."""
        if self._other_port is None or self._handoff is None:
            return
        self._attempt += 1
        self._handoff = await self._other_port(self._attempt)
        self._show()
