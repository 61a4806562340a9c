"""What one person keeps of one cluster: how its load went, saved sizes, the commands run."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import TypeVar

from vizdash.config import Config
from vizdash.errors import NotFound, Refused, TimedOut
from vizdash.fileaccess import FileAccess, try_briefly
from vizdash.history import History, history_file
from vizdash.model import Ran, Session, SessionRequest
from vizdash.presets import Presets, presets_file
from vizdash.sessions import choice
from vizdash.sessions.byhand import ByHand
from vizdash.sessions.store import SessionStore
from vizdash.sessions.trail import Trail, trail_of
from vizdash.transport.base import CommandRunner
from vizdash.transport.record import Recorder

_T = TypeVar("_T")


class Own:
    """Read when first asked for: a verb that doesn't use it doesn't pay for it."""

    config: Config
    _runner: CommandRunner
    _store: SessionStore
    _by_hand: ByHand | None
    _last: SessionRequest | None = None
    _recalled = False

    @cached_property
    def history(self) -> History:
        """How the load of this cluster went, as far as this user saw it."""
        return History(history_file(self.config.cluster.name))

    @cached_property
    def _home(self) -> FileAccess:
        return FileAccess("your home")

    @cached_property
    def presets(self) -> Presets:
        """The sizes that this user saved."""
        return Presets(presets_file(self.config.cluster.name))

    @property
    def store(self) -> SessionStore:
        """Where the folders of one's own sessions are."""
        return self._store

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

    async def recall(self) -> None:
        """Read what the home keeps for a dashboard, which asks for it in the event loop: the last
        request, saved sizes and history. A home that hangs keeps none.
        """
        try:
            self._last, self.history = await self._home.run(self._read_kept)
        except TimedOut:
            self._last, self.history = None, History(None)
        self._recalled = True

    def _read_kept(self) -> tuple[SessionRequest | None, History]:
        name = self.config.cluster.name
        self.presets.load()
        return choice.load(name), History(history_file(name))

    async def at_home(self, call: Callable[[], _T]) -> _T:
        """``call``, which reads or writes in the home, in a thread. Raises what it raises, and
        TimedOut where the home hangs.
        """
        return await self._home.run(call)

    async def keep_choice(self, request: SessionRequest) -> None:
        """Keep what was asked for last."""
        self._last = request
        await try_briefly(partial(choice.save, self.config.cluster.name, request))

    def last_request(self) -> SessionRequest | None:
        """What was asked for last, if its app is still in the catalogue."""
        request = self._last if self._recalled else choice.load(self.config.cluster.name)
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
            await try_briefly(self.history.write)
