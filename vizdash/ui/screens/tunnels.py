"""What is open through this vizdash: each tunnel, where it listens, and to close one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from vizdash.ui.format import escape_control
from vizdash.ui.widgets.clicked import Dialog


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One that is open: to which job's desktop, and its end on this machine."""

    job_id: str
    app: str
    node: str
    end: str

    @property
    def line(self) -> str:
        """One line."""
        return escape_control(f"{self.app} on {self.node} (job {self.job_id})   {self.end}")


class TunnelsScreen(ModalScreen[str]):
    """Dismissed with the job id of the one to be shown again in the browser."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss('')", "Back", show=False),
        Binding("x", "close", "Close it", show=False),
    ]

    def __init__(self, tunnels: Sequence[Tunnel], close: Callable[[str], None]) -> None:
        super().__init__()
        self._tunnels = list(tunnels)
        self._close = close

    def compose(self) -> ComposeResult:
        """The list, or a word that there's nothing."""
        with Dialog() as dialog:
            dialog.border_title = "Tunnels"
            dialog.border_subtitle = self._keys()
            yield OptionList(*self._options(), markup=False)

    def _keys(self) -> str:
        return ("enter shows it · x closes it · " if self._tunnels else "") + "esc goes back"

    def _options(self) -> list[Option]:
        if not self._tunnels:
            return [Option("No desktop is open through this vizdash.", disabled=True)]
        return [Option(tunnel.line, id=tunnel.job_id) for tunnel in self._tunnels]

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Show it again."""
        self.dismiss(event.option.id or "")

    def action_close(self) -> None:
        """Close the one under the cursor; its session goes on."""
        options = self.query_one(OptionList)
        if options.highlighted is None or not self._tunnels:
            return
        at = options.highlighted
        self._close(self._tunnels.pop(at).job_id)
        options.clear_options()
        options.add_options(self._options())
        # The cursor goes with the options: it would take an arrow to close the next one.
        options.highlighted = min(at, len(self._tunnels) - 1) if self._tunnels else None
        self.query_one(".dialog").border_subtitle = self._keys()
