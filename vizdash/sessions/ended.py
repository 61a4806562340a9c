"""Ended sessions: from the engine's short memory and from the accounting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable

from vizdash.engines import Engine
from vizdash.errors import CommandFailed, Refused, TimedOut, Unreachable
from vizdash.model import Job, Session
from vizdash.util.units import format_duration

#: Seconds between queries of the accounting, and how far back they go.
_EVERY_S = 300.0
_DAY_S = 86400


#: Turns jobs into sessions, as the user of this name sees them.
ListSessions = Callable[[Collection[Job], str], Awaitable[tuple[Session, ...]]]


class EndedSessions:
    """The sessions that have ended, as one user sees them. ``note`` says in words which are not
    known (empty: all are).
    """

    def __init__(self, engine: Engine, list_sessions: ListSessions) -> None:
        self.note = ""
        self._engine = engine
        self._listed = list_sessions
        self._jobs: tuple[Job, ...] = ()
        self._at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def with_ended(self, jobs: Iterable[Job], user: str) -> tuple[Job, ...]:
        """``jobs``, and those of ``user`` that ended in the last day and that the engine has
        forgotten, as of the last query of the accounting.

        The next query runs in the background, since slurmdbd may be slow.
        """
        if time.monotonic() - self._at > _EVERY_S and self._task is None:
            self._at = time.monotonic()
            self._task = asyncio.get_running_loop().create_task(self._query(user))
        return merge_jobs(jobs, self._jobs)

    async def _query(self, user: str) -> None:
        try:
            self._jobs, self.note = await query_ended_jobs(self._engine, since_s=_DAY_S, user=user)
        finally:
            self._task = None

    async def ended(
        self, *, since_s: int, all_users: bool = False
    ) -> tuple[tuple[Session, ...], str]:
        """Sessions that ended in the last ``since_s`` seconds, latest first; and the note."""
        info = await self._engine.info()
        user = None if all_users else info.user
        jobs, (ended, note) = await asyncio.gather(
            self._engine.jobs(user=user), query_ended_jobs(self._engine, since_s=since_s, user=user)
        )
        begin = time.time() - since_s
        listed = await self._listed(merge_jobs(jobs, ended), info.user)
        over = [s for s in listed if not s.live and (s.ended_at or begin) >= begin]
        return tuple(sorted(over, key=lambda s: s.ended_at or 0, reverse=True)), note

    async def close(self) -> None:
        """Cancel a query that is still running."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


async def query_ended_jobs(
    engine: Engine, *, since_s: int, user: str | None
) -> tuple[tuple[Job, ...], str]:
    """Jobs that ended in the last ``since_s`` seconds, and a note on what is not known.

    Where there is no accounting, or it does not answer, the note says so.
    """
    info = await engine.info()
    if not info.accounting and engine.name != "local":
        known = (
            f" for {format_duration(info.job_retention_s)}"
            if info.job_retention_s
            else " for a while only"
        )
        return (), f"ended sessions are known{known}: cluster {info.cluster} keeps no accounting"
    try:
        return await engine.history(since_s=since_s, user=user), ""
    except (CommandFailed, Refused, TimedOut, Unreachable) as e:
        return (), f"the accounting does not answer: {e.why or e.what}"


def merge_jobs(jobs: Iterable[Job], past: Iterable[Job]) -> tuple[Job, ...]:
    """``jobs``, and those of ``past`` that are not among them."""
    now = tuple(jobs)
    known = {job.id for job in now}
    return (*now, *(job for job in past if job.id not in known))
