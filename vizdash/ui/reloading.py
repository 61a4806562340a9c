"""What a dashboard does when its config was changed: it goes on with the new one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from textual.worker import Worker

from vizdash.config import Config
from vizdash.errors import VizdashError
from vizdash.ui.keys import keyed
from vizdash.ui.stops import Stops
from vizdash.ui.theme import THEMES


class Reloading(Stops):
    """A part of the app. ``_reload`` gives the config when it was changed."""

    _reload: Callable[[], Config | None]
    _forced_read_only: bool
    _reading: Worker[None] | None = None

    def warn(self, text: str) -> None:
        """One line to act upon."""
        raise NotImplementedError

    def _look_at_config(self) -> None:
        if self._reading is None or self._reading.is_finished:  # a home may hang
            self._reading = self.run_worker(self._take_config(), group="config")

    async def _take_config(self) -> None:
        """Take a changed config over; a wrong one is told, and the old one stays."""
        try:
            config = await asyncio.to_thread(self._reload)
            if config is None:
                return
            registry = keyed(config)
        except VizdashError as e:
            self.trouble(f"the config stays as it was: {e.line}")
            return
        stay = self._service.use(config)
        self._dashboard.read_only = self._forced_read_only or config.read_only
        self._dashboard.use(registry)
        self.theme = THEMES[config.ui.theme].name
        self._rights_of = None
        self.remember()
        self._poller.refresh()
        self._show()
        self.tell_config(stay)

    def tell_config(self, stay: Sequence[str]) -> None:
        """That a changed config is in force; the keys that ``stay`` as they were are named."""
        if stay:
            keys = ", ".join(stay)
            self.warn(f"the changed config is in force, but for {keys} (start vizdash anew)")
        else:
            self.news("the changed config is in force")
