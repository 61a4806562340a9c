"""What has ended: the engine's own short memory, and the accounting's long one under it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable

from vizdash.engines import Engine
from vizdash.errors import CommandFailed, Refused, TimedOut, Unreachable
from vizdash.model import Job, Session
from vizdash.units import duration_words

#: Seconds between looks into the accounting, and how far back they go.
_EVERY_S = 300.0
_DAY_S = 86400


#: Makes sessions of jobs, for the user of this name.
Listed = Callable[[Collection[Job], str], Awaitable[tuple[Session, ...]]]


class Past:
    """What ended, as one user may see it. ``note`` says in words what is not known of it
    (empty: all is).
    """

    def __init__(self, engine: Engine, listed: Listed) -> None:
        self.note = ""
        self._engine = engine
        self._listed = listed
        self._jobs: tuple[Job, ...] = ()
        self._at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def under(self, jobs: Iterable[Job], user: str) -> tuple[Job, ...]:
        """``jobs``, and those of ``user`` that ended in the last day and that the engine forgot.

        As of the last look into the accounting: the next is taken now and then and never waited
        for, as slurmdbd may be slow.
        """
        if time.monotonic() - self._at > _EVERY_S and self._task is None:
            self._at = time.monotonic()
            self._task = asyncio.get_running_loop().create_task(self._look(user))
        return merged(jobs, self._jobs)

    async def _look(self, user: str) -> None:
        try:
            self._jobs, self.note = await look(self._engine, since_s=_DAY_S, user=user)
        finally:
            self._task = None

    async def ended(
        self, *, since_s: int, all_users: bool = False
    ) -> tuple[tuple[Session, ...], str]:
        """Sessions that ended in the last ``since_s`` seconds, the latest first; and the note."""
        info = await self._engine.info()
        user = None if all_users else info.user
        jobs, (gone, note) = await asyncio.gather(
            self._engine.jobs(user=user), look(self._engine, since_s=since_s, user=user)
        )
        begin = time.time() - since_s
        found = await self._listed(merged(jobs, gone), info.user)
        over = [s for s in found if not s.live and (s.ended_at or begin) >= begin]
        return tuple(sorted(over, key=lambda s: s.ended_at or 0, reverse=True)), note

    async def close(self) -> None:
        """End a look that still runs."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


async def look(engine: Engine, *, since_s: int, user: str | None) -> tuple[tuple[Job, ...], str]:
    """Jobs that ended in the last ``since_s`` seconds, and in words what is not known of them.

    Where there's no accounting, or it does not answer, nothing fails: the words say so.
    """
    info = await engine.info()
    if not info.accounting and engine.name != "local":
        known = f" for {duration_words(info.memory_s)}" if info.memory_s else " for a while only"
        return (), f"what ended is known{known}: cluster {info.cluster} keeps no accounting"
    try:
        return await engine.history(since_s=since_s, user=user), ""
    except (CommandFailed, Refused, TimedOut, Unreachable) as e:
        return (), f"the accounting does not answer: {e.why or e.what}"


def merged(jobs: Iterable[Job], past: Iterable[Job]) -> tuple[Job, ...]:
    """``jobs`` and those of ``past`` that the engine has forgotten."""
    now = tuple(jobs)
    known = {job.id for job in now}
    return (*now, *(job for job in past if job.id not in known))
