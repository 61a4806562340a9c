"""What one person keeps of one cluster: how its load went, saved sizes, the commands run."""

from __future__ import annotations

import asyncio
from functools import cached_property

from vizdash.config import Config
from vizdash.errors import NotFound, Refused
from vizdash.history import History, history_file
from vizdash.model import Ran, Session, SessionRequest
from vizdash.presets import Presets, presets_file
from vizdash.sessions import choice
from vizdash.sessions.byhand import ByHand
from vizdash.sessions.store import SessionStore
from vizdash.sessions.trail import Trail, trail_of
from vizdash.transport.base import CommandRunner
from vizdash.transport.record import Recorder


class Own:
    """Read when first asked for: a verb that doesn't use it doesn't pay for it."""

    config: Config
    _runner: CommandRunner
    _store: SessionStore
    _by_hand: ByHand | None

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

    async def logs(self, session: Session, *, lines: int = 200) -> str:
        """The end of a session's log. Raises NotFound while there's none."""
        if not session.mine:
            raise Refused(f"log of {session.id}", f"only {session.user} can read it")
        if self._by_hand is not None and self._by_hand.has(session):
            return await self._by_hand.log(self.config, session, lines)
        try:
            return await self._store.tail(session.id, lines)
        except NotFound as e:
            why = "the job has not begun" if not session.node else e.why
            raise NotFound(f"log of {session.id}", why) from e

    def last_request(self) -> SessionRequest | None:
        """What was asked for last, if its app is still in the catalogue."""
        request = choice.load(self.config.cluster.name)
        return request if request and request.app in self.config.apps else None

    async def trail(self, session: Session, *, lines: int) -> Trail:
        """When it was ready, and the last ``lines`` lines of its log; see ``trail_of``."""
        if self._by_hand is not None and self._by_hand.has(session):
            try:
                text = await self._by_hand.log(self.config, session, lines)
            except NotFound as e:
                return Trail(note=e.why)
            return Trail(log=tuple(text.splitlines()), note="" if text else "empty so far")
        return await trail_of(session, self._store, lines=lines)

    async def keep_history(self) -> None:
        """Write what was seen and isn't in the file yet."""
        if "history" in self.__dict__:
            await asyncio.to_thread(self.history.write)
