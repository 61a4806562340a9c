"""The open tunnels on this machine: open their desktop again, or close them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from vizdash.errors import VizdashError
from vizdash.ui.dialog_screen import DialogScreen
from vizdash.ui.widgets.clickable_keys import Dialog
from vizdash.util.text import escape_control


@dataclass(frozen=True, slots=True)
class Tunnel:
    """An open tunnel: its job, and its end on this machine. A tunnel of another vizdash has its
    record's ``id``, the process ``pid`` and its ``holder``; ``cluster`` is set where it is not the
    dashboard's.
    """

    job_id: str
    app: str
    node: str
    end: str
    id: str = ""
    pid: int = 0
    holder: str = ""
    cluster: str = ""

    @property
    def line(self) -> str:
        """The tunnel in one line."""
        at = f"{self.node} of {self.cluster}" if self.cluster else self.node
        held = f"   {self.holder}, pid {self.pid}" if self.id else ""
        return escape_control(f"{self.app} on {at} (job {self.job_id})   {self.end}{held}")


async def _none() -> tuple[Tunnel, ...]:
    return ()


class TunnelsScreen(DialogScreen[str]):
    """Returns the job id of the desktop to open again. ``elsewhere`` gives the tunnels of other
    processes, which are listed last.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss('')", "Back", show=False),
        Binding("x", "close", "Close it", show=False),
    ]

    def __init__(
        self,
        tunnels: Sequence[Tunnel],
        close: Callable[[Tunnel], None],
        elsewhere: Callable[[], Awaitable[Sequence[Tunnel]]] = _none,
    ) -> None:
        super().__init__()
        self._tunnels = list(tunnels)
        self._close = close
        self._elsewhere = elsewhere

    def compose(self) -> ComposeResult:
        """The list, or that it is empty."""
        with Dialog() as dialog:
            dialog.border_title = "Tunnels"
            dialog.border_subtitle = self._keys()
            yield OptionList(*self._options(), markup=False)

    def on_mount(self) -> None:
        """Find the tunnels of other processes."""
        self.run_worker(self._find_others(), group="reads")

    async def _find_others(self) -> None:
        try:
            others = await self._elsewhere()
        except VizdashError as e:
            self.app.notify(escape_control(e.line), severity="error", markup=False)
            return
        if others:
            highlighted = self.query_one(OptionList).highlighted
            self._tunnels += others
            self._fill(highlighted or 0)

    def _keys(self) -> str:
        return ("enter opens it · x closes it · " if self._tunnels else "") + "esc goes back"

    def _options(self) -> list[Option]:
        if not self._tunnels:
            return [Option("You have no open tunnels on this machine.", disabled=True)]
        return [Option(tunnel.line) for tunnel in self._tunnels]

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Open the desktop again, unless it belongs to another cluster."""
        if self._tunnels and not (tunnel := self._tunnels[event.option_index]).cluster:
            self.dismiss(tunnel.job_id)

    def action_close(self) -> None:
        """Close the selected tunnel; its session keeps running."""
        at = self.query_one(OptionList).highlighted
        if at is None or not self._tunnels:
            return
        self._close(self._tunnels.pop(at))
        self._fill(at)

    def _fill(self, at: int) -> None:
        """Show the list, with the cursor at ``at`` or on the last tunnel."""
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(self._options())
        # Clearing removes the cursor: closing the next one would take an arrow key first.
        options.highlighted = min(at, len(self._tunnels) - 1) if self._tunnels else None
        self.query_one(".dialog").border_subtitle = self._keys()
