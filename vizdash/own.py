"""What one person keeps of one cluster: how its load went, saved sizes, the commands run."""

from __future__ import annotations

import asyncio
from functools import cached_property

from vizdash.config import Config
from vizdash.history import History, history_file
from vizdash.model import Ran, Session
from vizdash.presets import Presets, presets_file
from vizdash.sessions.store import SessionStore
from vizdash.sessions.trail import Trail, trail_of
from vizdash.transport.base import CommandRunner
from vizdash.transport.record import Recorder


class Own:
    """Read when first asked for: a verb that doesn't use it doesn't pay for it."""

    config: Config
    _runner: CommandRunner
    _store: SessionStore

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

    async def trail(self, session: Session, *, lines: int) -> Trail:
        """When it was ready, and the last ``lines`` lines of its log; see ``trail_of``."""
        return await trail_of(session, self._store, lines=lines)

    async def keep_history(self) -> None:
        """Write what was seen and isn't in the file yet."""
        if "history" in self.__dict__:
            await asyncio.to_thread(self.history.write)
