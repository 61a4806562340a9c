"""Takes snapshots, one at a time: often while a session starts or ends, rarely on failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from vizdash.errors import VizdashError
from vizdash.model import SessionState, Snapshot
from vizdash.service.service import Service
from vizdash.util.error_log import report

#: Seconds between polls while one of the user's sessions starts or ends, and how many polls after a
#: change of these sessions are that fast.
_FAST_S = 1.5
_FAST_POLLS = 40
_MOVING = {SessionState.STARTING, SessionState.ENDING}
#: A session that has waited for long will probably wait longer: each pause is longer by this.
_WAITING_GROWTH = 1.125
#: A slow controller is queried at most a twentieth of the time; failures double the pause.
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
        self._waiting_s = _FAST_S
        self._requested = False
        self._last: Snapshot | None = None
        self._writing: asyncio.Task[None] | None = None

    def refresh(self) -> None:
        """Take a snapshot now; several requests at once are one."""
        self._expect_changes()
        self._requested = True
        self._wake.set()

    def _expect_changes(self) -> None:
        self._fast_left, self._waiting_s = _FAST_POLLS, _FAST_S

    async def run(self) -> None:
        """Poll forever, one query at a time."""
        while True:
            self._wake.clear()
            await self._once()
            try:
                await asyncio.wait_for(self._wake.wait(), self.pause_s())
            except TimeoutError:
                continue

    async def _once(self) -> None:
        try:
            if self._last is None:
                # Others' jobs take a large cluster's controller longest: they come second.
                self._on_snapshot(await self._service.snapshot(all_users=False, images=False))
            # A cluster with many nodes takes long to list them: not for a look at the own jobs.
            max_age_s = 0.0 if self._requested else self._refresh_s - _FAST_S
            self._requested = False
            snapshot = await self._service.snapshot(nodes_max_age_s=max_age_s)
        except VizdashError as e:
            self._failures += 1
            self._on_failure(e.line)
            return
        except Exception as e:  # noqa: BLE001 (the next poll may do better)
            self._failures += 1
            self._on_failure(report(e, "the cluster's state"))
            return
        self._failures = 0
        if self._last is None or _states(snapshot) != _states(self._last):
            self._expect_changes()
        self._last = snapshot
        self._save(snapshot)
        self._on_snapshot(snapshot)

    def _save(self, snapshot: Snapshot) -> None:
        """Write history and snapshot in a thread, now and then; one writer at a time."""
        user_data = self._service.user_data
        writes = []
        if user_data.history.take(snapshot) and user_data.history.due:
            writes.append(user_data.history.write)
        if user_data.keep_snapshot(snapshot):
            writes.append(user_data.save_snapshot)
        if writes and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(asyncio.to_thread(_run_all, writes))

    @property
    def _refresh_s(self) -> float:
        return float(self._service.config.cluster.refresh_s)

    def pause_s(self) -> float:
        """Seconds until the next poll. Nodes that are slow to list their images do not slow down
        the queries of the controller.
        """
        usual = self._refresh_s
        if self._failures:
            return min(_LONGEST_S, usual * float(2 ** min(self._failures - 1, 4)))
        states = {state for _, state, _ in _states(self._last)} if self._last else set()
        if states & _MOVING and self._fast_left > 0:
            self._fast_left -= 1
            usual = min(usual, _FAST_S)
        elif SessionState.PENDING in states and self._waiting_s < usual:
            usual = self._waiting_s
            self._waiting_s *= _WAITING_GROWTH
        return max(usual, self._last.asked_s * _SHARE if self._last else 0.0)


def _states(snapshot: Snapshot) -> list[tuple[str, SessionState, str]]:
    """How far the user's own sessions are."""
    return [(s.id, s.state, s.step) for s in snapshot.sessions if s.mine]


def _run_all(calls: Sequence[Callable[[], None]]) -> None:
    for call in calls:
        call()
