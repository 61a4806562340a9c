"""Which of the user's own jobs are sessions, where their comments don't say so.

A site may write a comment of its own into every job (job_submit_plugins(7)), refuse
``scontrol update``, or keep no comments in its accounting. The session folders, which only their
owner can write, name the jobs then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from vizdash.model import Job
from vizdash.sessions.comment import Claim, decode, encode
from vizdash.sessions.listing import app_of
from vizdash.sessions.store import SessionStore


class Identifier:
    """Remembers what it found, and which jobs no folder names: all folders are read again only
    when an unknown job appears.
    """

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._comments: dict[str, str] = {}
        self._strangers: set[str] = set()

    async def identify(self, jobs: Iterable[Job], user: str) -> tuple[Job, ...]:
        """``jobs``; those of ``user`` that a session folder names carry their session's claim.

        Raises Unreachable or TimedOut.
        """
        found = tuple(jobs)
        unclaimed = [job for job in found if job.user == user and decode(job.comment) is None]
        ids = {job.id for job in unclaimed}
        self._strangers &= ids
        unknown = ids - self._comments.keys() - self._strangers
        if unknown:
            await self._look(unknown)
            # A job with vizdash's name may be one whose folder does not name it yet.
            named = {job.id for job in unclaimed if app_of(job) and not job.state.ended}
            self._strangers |= unknown - self._comments.keys() - named
        return tuple(
            replace(job, comment=self._comments[job.id])
            if job.id in ids and job.id in self._comments
            else job
            for job in found
        )

    async def _look(self, job_ids: set[str]) -> None:
        sessions = {job: id for job, id in (await self._store.by_job()).items() if job in job_ids}
        if not sessions:
            return
        statuses = await self._store.statuses(sessions.values())
        for job_id, session_id in sessions.items():
            status = statuses.get(session_id)
            if status is not None:
                step = "legacy" if status.legacy else ""
                # No app's name in folders of an earlier vizdash: the job's name has it.
                claim = Claim(session_id, status.app or "-", status.image_version, "pending", step)
                self._comments[job_id] = encode(claim)
