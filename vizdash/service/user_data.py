"""What one user has saved for one cluster: last request, presets, history and last snapshot."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vizdash.config import Config
from vizdash.errors import TimedOut
from vizdash.model import SessionRequest, Snapshot
from vizdash.service.saved_snapshot import load_snapshot, save_snapshot, snapshot_file
from vizdash.util.files import FileAccess, run_briefly

if TYPE_CHECKING:
    from vizdash.service.load_history import LoadHistory
    from vizdash.service.presets import Presets

_T = TypeVar("_T")
#: Seconds between two writes of the last snapshot; it is written at the end too.
_SAVE_S = 60.0


class UserData:
    """Files in the user's home. Each is read when first needed, so that a verb that does not need
    it does not wait for it.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._home = FileAccess("your home")
        self._last: SessionRequest | None = None
        self._loaded = False
        #: The last snapshot of an earlier dashboard, for the first paint.
        self.saved_snapshot: Snapshot | None = None
        self._unsaved: Snapshot | None = None
        self._saved_at = float("-inf")

    @cached_property
    def history(self) -> LoadHistory:
        """The load of this cluster over time, as far as this user's dashboard saw it."""
        from vizdash.service.load_history import LoadHistory, history_file

        return LoadHistory(history_file(self.config.cluster.name))

    @cached_property
    def presets(self) -> Presets:
        """The sizes that this user saved."""
        from vizdash.service.presets import Presets, presets_file

        return Presets(presets_file(self.config.cluster.name))

    async def load_snapshot(self) -> None:
        """Read what the first screen shows. Where the home hangs, there is nothing."""
        with contextlib.suppress(TimedOut):
            self.saved_snapshot = await self._home.run(load_snapshot, self._snapshots)

    async def load(self) -> None:
        """Read the rest at once, for a dashboard, whose event loop must not wait for a file. Where
        the home hangs, nothing is known.
        """
        from vizdash.service.load_history import LoadHistory

        try:
            self._last, self.history = await self._home.run(self._read)
        except TimedOut:
            self._last, self.history = None, LoadHistory(None)
        self._loaded = True

    def _read(self) -> tuple[SessionRequest | None, LoadHistory]:
        from vizdash.service.load_history import LoadHistory, history_file
        from vizdash.sessions import last_request

        name = self.config.cluster.name
        self.presets.load()
        return last_request.load(name), LoadHistory(history_file(name))

    @property
    def _snapshots(self) -> Path:
        return snapshot_file(self.config.cluster.name)

    async def in_thread(self, call: Callable[[], _T]) -> _T:
        """Run ``call``, which reads or writes in the home, in a thread. Raises what it raises, and
        TimedOut where the home hangs.
        """
        return await self._home.run(call)

    async def save_last_request(self, request: SessionRequest) -> None:
        """Save what was requested last; a home that is full or hangs is no error."""
        from vizdash.sessions import last_request

        self._last = request
        await run_briefly(partial(last_request.save, self.config.cluster.name, request))

    def last_request(self) -> SessionRequest | None:
        """What was requested last, if its app is still in the catalogue."""
        from vizdash.sessions import last_request

        request = self._last if self._loaded else last_request.load(self.config.cluster.name)
        return request if request and request.app in self.config.apps else None

    def keep_snapshot(self, snapshot: Snapshot) -> bool:
        """Take a snapshot for the next dashboard's first paint; whether it is time to save it."""
        self._unsaved = snapshot
        return time.monotonic() - self._saved_at >= _SAVE_S

    def save_snapshot(self) -> None:
        """Write the last snapshot that was taken and is not in the file yet."""
        snapshot, self._unsaved = self._unsaved, None
        if snapshot is not None:
            self._saved_at = time.monotonic()
            save_snapshot(self._snapshots, snapshot)

    async def save_all(self) -> None:
        """Write what a dashboard leaves to the next: the last snapshot, and the load's history."""
        if self._unsaved is not None:
            await run_briefly(self.save_snapshot)
        await self.save_history()

    async def save_history(self) -> None:
        """Write the samples that are not in the file yet."""
        if "history" in self.__dict__:
            await run_briefly(self.history.write)
