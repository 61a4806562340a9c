"""The configured clusters, to switch to another one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from vizdash.config import Cluster
from vizdash.ui.dialog_screen import DialogScreen
from vizdash.ui.widgets.clickable_keys import Dialog
from vizdash.util.text import cell_width, escape_control


class ClustersScreen(DialogScreen[str]):
    """Returns the name of a cluster; empty for none."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss('')", "Back", show=False),
    ]

    def __init__(self, clusters: Iterable[Cluster], now: str) -> None:
        super().__init__()
        self._clusters = list(clusters)
        self._now = now

    def compose(self) -> ComposeResult:
        """Name and host of each cluster, with the cursor on the current one."""
        with Dialog() as dialog:
            dialog.border_title = "Clusters"
            elsewhere = "enter switches · " if len(self._clusters) > 1 else ""
            dialog.border_subtitle = f"{elsewhere}esc closes"
            yield OptionList(*(self._option(c) for c in self._clusters), markup=False)

    def _option(self, cluster: Cluster) -> Option:
        mark = "●" if cluster.name == self._now else " "
        where = cluster.host or "this machine"
        name = escape_control(cluster.name)
        padding = max(cell_width(escape_control(c.name)) for c in self._clusters) - cell_width(name)
        text = f"{mark} {name}{' ' * padding}   {escape_control(where)}"
        return Option(text, id=cluster.name)

    def on_mount(self) -> None:
        """Move the cursor to the current cluster."""
        names = [cluster.name for cluster in self._clusters]
        self.query_one(OptionList).highlighted = names.index(self._now)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Return the selected cluster."""
        self.dismiss(event.option.id or "")
