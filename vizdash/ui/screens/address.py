"""Where there's no browser: the address, and how to reach it from elsewhere."""

from __future__ import annotations

import platform
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.style import Style
from textual.widgets import Static

from vizdash.model import Session
from vizdash.sessions.routes import Route
from vizdash.ui.format import escape_control
from vizdash.ui.theme import Line, Span, line, lines


class AddressScreen(ModalScreen[None]):
    """Shows a route's address as a link (OSC 8); ``c`` copies it (OSC 52). Never logged."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "copy", "Copy", show=False),
        Binding("escape,enter,q,o", "dismiss", "Close", show=False),
    ]

    def __init__(self, route: Route, session: Session, *, user: str, host: str = "") -> None:
        super().__init__()
        self._route = route
        self._session = session
        self._user = user
        self._host = host or platform.node()

    def compose(self) -> ComposeResult:
        """Address first, then what it needs."""
        url = self._route.url
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Open this address"
            dialog.border_subtitle = "c copies it · esc closes"
            name = f"{self._session.app} on {self._session.node} is ready, but there is no"
            yield Static(lines([line(f"{name} browser here.")]))
            link = Content.styled(escape_control(url), Style(link=url, underline=True))
            yield Static(link, id="address")
            yield Static(lines(self._hints()))

    def _hints(self) -> list[Line]:
        secret = line(Span("It holds the password: give it to nobody.", "warn"))
        if self._route.kind == "direct":
            return [secret]
        port = self._route.port
        forward = f"ssh -L {port}:127.0.0.1:{port} {self._user}@{self._host}"
        return [
            secret,
            line("Keep vizdash open: it holds the tunnel to the node."),
            (),
            line(Span("From your own computer, first run this there:", "muted")),
            line(Span(forward, "accent")),
        ]

    def action_copy(self) -> None:
        """Into the clipboard of the person's own terminal."""
        self.app.copy_to_clipboard(self._route.url)
        self.notify("the address is copied, if your terminal allows it", markup=False)
