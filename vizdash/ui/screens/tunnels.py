"""What is open on this machine: each tunnel, where it listens, and to close one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from vizdash.errors import VizdashError
from vizdash.ui.format import escape_control
from vizdash.ui.widgets.clicked import Dialog


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One that is open: to which job's desktop, and its end on this machine. One that another
    vizdash holds has its record's ``id``, the process ``pid`` and its ``holder``; ``cluster`` is
    named where it is another one than the dashboard's.
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
        """One line."""
        at = f"{self.node} of {self.cluster}" if self.cluster else self.node
        held = f"   {self.holder}, pid {self.pid}" if self.id else ""
        return escape_control(f"{self.app} on {at} (job {self.job_id})   {self.end}{held}")


async def _none() -> tuple[Tunnel, ...]:
    return ()


class TunnelsScreen(ModalScreen[str]):
    """Dismissed with the job id of the one to be shown again in the browser. ``elsewhere`` gives
    those that other processes hold, which are listed after this dashboard's own.
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
        """The list, or a word that there's nothing."""
        with Dialog() as dialog:
            dialog.border_title = "Tunnels"
            dialog.border_subtitle = self._keys()
            yield OptionList(*self._options(), markup=False)

    def on_mount(self) -> None:
        """Find the others."""
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
        return ("enter shows it · x closes it · " if self._tunnels else "") + "esc goes back"

    def _options(self) -> list[Option]:
        if not self._tunnels:
            return [Option("No tunnel of yours is open on this machine.", disabled=True)]
        return [Option(tunnel.line) for tunnel in self._tunnels]

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Show it again; one of another cluster is shown there only."""
        if self._tunnels and not (tunnel := self._tunnels[event.option_index]).cluster:
            self.dismiss(tunnel.job_id)

    def action_close(self) -> None:
        """Close the one under the cursor; its session goes on."""
        at = self.query_one(OptionList).highlighted
        if at is None or not self._tunnels:
            return
        self._close(self._tunnels.pop(at))
        self._fill(at)

    def _fill(self, at: int) -> None:
        """Show the list, with the cursor at ``at`` or the last one."""
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(self._options())
        # The cursor goes with the options: it would take an arrow to close the next one.
        options.highlighted = min(at, len(self._tunnels) - 1) if self._tunnels else None
        self.query_one(".dialog").border_subtitle = self._keys()
