"""How to open a desktop: in a native viewer, or in the browser with a quality of the picture."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from vizdash.model import Session
from vizdash.sessions.picture_quality import QUALITIES
from vizdash.ui.dialog_screen import DialogScreen
from vizdash.ui.widgets.clickable_keys import Dialog
from vizdash.util.text import escape_control

#: The choice of a native viewer.
VIEWER = "viewer"
_MEANING = {
    "auto": "measures the link each time",
    "low": "for slow links",
    "medium": "noVNC's default",
    "high": "for links within a building",
}


class OpenWithScreen(DialogScreen[str]):
    """Returns VIEWER or one of QUALITIES; empty for none. ``quality`` is the current one (empty:
    none was chosen).
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,O", "dismiss('')", "Back", show=False),
    ]

    def __init__(self, session: Session, quality: str) -> None:
        super().__init__()
        self._session = session
        self._quality = quality

    def compose(self) -> ComposeResult:
        """The viewer first, then the qualities, of which the current one is marked."""
        with Dialog() as dialog:
            dialog.border_title = escape_control(f"Open {self._session.app}")
            dialog.border_subtitle = "enter opens · esc closes"
            native = Option("  native viewer (TigerVNC, TurboVNC, Remmina)", id=VIEWER)
            yield OptionList(native, *map(self._option, QUALITIES), markup=False)

    def _option(self, quality: str) -> Option:
        mark = "●" if quality == self._quality else " "
        return Option(f"{mark} browser, {quality} quality: {_MEANING[quality]}", id=quality)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Return the selected way."""
        self.dismiss(event.option.id or "")
