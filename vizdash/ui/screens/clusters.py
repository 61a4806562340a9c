"""Which cluster of the config to look at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from vizdash.config import Cluster
from vizdash.ui.format import escape_control, width
from vizdash.ui.widgets.clicked import Dialog


class ClustersScreen(ModalScreen[str]):
    """Dismissed with a cluster's name; empty for none."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss('')", "Back", show=False),
    ]

    def __init__(self, clusters: Iterable[Cluster], now: str) -> None:
        super().__init__()
        self._clusters = list(clusters)
        self._now = now

    def compose(self) -> ComposeResult:
        """Name and host of each; the cursor on the one that is looked at now."""
        with Dialog() as dialog:
            dialog.border_title = "Clusters"
            elsewhere = "enter goes there · " if len(self._clusters) > 1 else ""
            dialog.border_subtitle = f"{elsewhere}esc stays"
            yield OptionList(*(self._option(c) for c in self._clusters), markup=False)

    def _option(self, cluster: Cluster) -> Option:
        mark = "●" if cluster.name == self._now else " "
        where = cluster.host or "this machine"
        name = escape_control(cluster.name)
        room = max(width(escape_control(c.name)) for c in self._clusters) - width(name)
        text = f"{mark} {name}{' ' * room}   {escape_control(where)}"
        return Option(text, id=cluster.name)

    def on_mount(self) -> None:
        """Where we are."""
        names = [cluster.name for cluster in self._clusters]
        self.query_one(OptionList).highlighted = names.index(self._now)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Go there."""
        self.dismiss(event.option.id or "")
