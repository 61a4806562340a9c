"""What one person keeps of one cluster: how its load went, saved sizes, the commands run."""

from __future__ import annotations

import asyncio
from functools import cached_property

from vizdash.config import Config
from vizdash.history import History, history_file
from vizdash.model import Ran
from vizdash.presets import Presets, presets_file
from vizdash.transport.base import CommandRunner
from vizdash.transport.record import Recorder


class Own:
    """Read when first asked for: a verb that doesn't use it doesn't pay for it."""

    config: Config
    _runner: CommandRunner

    @cached_property
    def history(self) -> History:
        """How the load of this cluster went, as far as this user saw it."""
        return History(history_file(self.config.cluster.name))

    @cached_property
    def presets(self) -> Presets:
        """The sizes that this user saved."""
        return Presets(presets_file(self.config.cluster.name))

    @property
    def ran(self) -> tuple[Ran, ...]:
        """The last commands that were run, newest first."""
        return self._runner.ran if isinstance(self._runner, Recorder) else ()

    async def keep_history(self) -> None:
        """Write what was seen and isn't in the file yet."""
        if "history" in self.__dict__:
            await asyncio.to_thread(self.history.write)
