"""Takes snapshots, one at a time, faster while something moves, slower while nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vizdash.errorlog import report
from vizdash.errors import VizdashError
from vizdash.model import SessionState, Snapshot
from vizdash.service import Service

#: Seconds between polls while a session of one's own is on its way.
_FAST_S = 1.5
_MOVING = {SessionState.PENDING, SessionState.STARTING, SessionState.ENDING}
#: A pending session moves slowly: this many fast polls after a change, then the usual pace.
_FAST_POLLS = 40
#: A slow controller is asked at most a twentieth of the time; failures double the pause.
_SHARE = 20
_LONGEST_S = 120.0


class Poller:
    """Runs until cancelled. Callbacks are called in the event loop."""

    def __init__(
        self,
        service: Service,
        *,
        on_snapshot: Callable[[Snapshot], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self._service = service
        self._on_snapshot = on_snapshot
        self._on_failure = on_failure
        self._wake = asyncio.Event()
        self._failures = 0
        self._fast_left = _FAST_POLLS
        self._last: Snapshot | None = None
        self._writing: asyncio.Task[None] | None = None

    def refresh(self) -> None:
        """Ask for a snapshot now; several wishes at once are one."""
        self._fast_left = _FAST_POLLS
        self._wake.set()

    async def run(self) -> None:
        """Poll for ever: one query in flight."""
        while True:
            self._wake.clear()
            await self._once()
            try:
                await asyncio.wait_for(self._wake.wait(), self.pause_s())
            except TimeoutError:
                continue

    async def _once(self) -> None:
        try:
            snapshot = await self._service.snapshot()
        except VizdashError as e:
            self._failures += 1
            self._on_failure(e.line)
            return
        except Exception as e:  # noqa: BLE001 (the next poll may do better)
            self._failures += 1
            self._on_failure(report(e, "the cluster's state"))
            return
        self._failures = 0
        if snapshot != self._last:
            self._fast_left = _FAST_POLLS
        self._last = snapshot
        history = self._service.history
        if (
            history.take(snapshot)
            and history.due
            and (self._writing is None or self._writing.done())
        ):
            self._writing = asyncio.create_task(asyncio.to_thread(history.write))
        self._on_snapshot(snapshot)

    def pause_s(self) -> float:
        """Seconds until the next poll. That nodes are slow to tell their images is no reason to
        ask the controller less.
        """
        usual = float(self._service.config.cluster.refresh_s)
        if self._failures:
            return min(_LONGEST_S, usual * float(2 ** min(self._failures - 1, 4)))
        sessions = self._last.sessions if self._last else ()
        moving = any(s.mine and s.state in _MOVING for s in sessions)
        if moving and self._fast_left > 0:
            self._fast_left -= 1
            usual = min(usual, _FAST_S)
        return max(usual, self._last.asked_s * _SHARE if self._last else 0.0)
