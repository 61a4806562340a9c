"""Reloading the config when it changes, and switching the theme."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from textual.worker import Worker

from vizdash.config import Config
from vizdash.errors import VizdashError
from vizdash.service.service import Service
from vizdash.ui.controllers.interface import Handlers, Ui
from vizdash.ui.key_bindings import configured_actions
from vizdash.ui.theme import THEMES


class ConfigController:
    """Applies a changed config to the running dashboard.

    ``reload`` gives the config when it has changed, ``set_theme`` shows a theme of the config,
    ``on_change`` is called after a change. With ``force_read_only`` no config allows writes.
    """

    def __init__(
        self,
        ui: Ui,
        service: Service,
        *,
        reload: Callable[[], Config | None],
        set_theme: Callable[[str], None],
        on_change: Callable[[], None],
        force_read_only: bool,
    ) -> None:
        self._ui = ui
        self._service = service
        self._reload = reload
        self._set_theme = set_theme
        self._on_change = on_change
        self._force_read_only = force_read_only
        self._theme = service.config.ui.theme
        self._reading: Worker[None] | None = None

    @property
    def handlers(self) -> Handlers:
        """The actions that it handles."""
        return {"theme": lambda context: self._show_next_theme()}

    def _show_next_theme(self) -> None:
        names = list(THEMES)
        self._theme = names[(names.index(self._theme) + 1) % len(names)]
        self._set_theme(self._theme)
        keep = f"ui: {{theme: {self._theme}}}"
        self._ui.inform(f"theme {self._theme} (to keep it: {keep} in the config)")

    def check(self) -> None:
        """Reload the config if it has changed, unless a slow home still delays the last check."""
        if self._reading is None or self._reading.is_finished:
            self._reading = self._ui.run_in_background(self._apply(), name="config", group="config")

    async def _apply(self) -> None:
        """Apply a changed config; after an error in it the old one stays active."""
        try:
            config = await asyncio.to_thread(self._reload)
            if config is None:
                return
            registry = configured_actions(config)
        except VizdashError as e:
            self._ui.report_error(f"the previous config stays active: {e.line}")
            return
        unchanged = self._service.use(config)
        dashboard = self._ui.dashboard
        dashboard.read_only = self._force_read_only or config.read_only
        dashboard.use(registry)
        self._theme = config.ui.theme
        self._set_theme(self._theme)
        self._on_change()
        self._ui.refresh_snapshot()
        self._ui.redraw()
        self.report_change(unchanged)

    def report_change(self, unchanged: Sequence[str]) -> None:
        """Report a changed config, and its keys that stay ``unchanged`` until vizdash restarts."""
        if unchanged:
            keys = ", ".join(unchanged)
            self._ui.warn(f"the changed config is active, except {keys} (restart vizdash)")
        else:
            self._ui.inform("the changed config is active")
