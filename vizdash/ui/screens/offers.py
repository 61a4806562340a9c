"""The desktops that other users share with this one, to join one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from vizdash.sessions.join import Offer
from vizdash.ui.dialog_screen import DialogScreen
from vizdash.ui.widgets.clickable_keys import Dialog
from vizdash.util.text import escape_control
from vizdash.util.units import format_clock


class OffersScreen(DialogScreen[Offer | None]):
    """Returns the offer to join; None for none. ``now`` is in seconds since the epoch."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Back", show=False),
    ]

    def __init__(self, offers: Sequence[Offer], now: float) -> None:
        super().__init__()
        self._offers = list(offers)
        self._now = now

    def compose(self) -> ComposeResult:
        """One line for each offer, or that there is none."""
        with Dialog() as dialog:
            dialog.border_title = "Shared with you"
            dialog.border_subtitle = "enter shows it · esc closes" if self._offers else "esc closes"
            if self._offers:
                yield OptionList(*(Option(self._line(o)) for o in self._offers), markup=False)
            else:
                none = "Nobody shares a desktop with you on this login host."
                yield OptionList(Option(none, disabled=True), markup=False)

    def _line(self, offer: Offer) -> str:
        may = "you may use it" if offer.control else "you may watch it"
        ends = ""
        if offer.expires_at is not None:
            ends = f", until {format_clock(offer.expires_at, self._now)}"
        return escape_control(f"{offer.app} {offer.session} of {offer.owner}: {may}{ends}")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Return the selected offer."""
        self.dismiss(self._offers[event.option_index])
