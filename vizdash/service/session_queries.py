"""Sessions as one user sees them: which there are, which one a word names, what each has logged."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace

from vizdash.config import Config
from vizdash.engines import Engine
from vizdash.engines.job_selection import JobSelection
from vizdash.errors import NotFound, Refused, UnknownName, UsageError
from vizdash.images.survey import ImageSurvey
from vizdash.model import Job, Session, SessionState
from vizdash.service.query_cache import QueryCache
from vizdash.sessions import listing
from vizdash.sessions.comment import is_id
from vizdash.sessions.folder import Connection, Status
from vizdash.sessions.folder_store import SessionStore
from vizdash.sessions.folder_summary import FolderSummary, read_folder_summary
from vizdash.sessions.hand_submitted import FIND_TIMEOUT_S, LIST_TIMEOUT_S, HandSubmittedSessions
from vizdash.sessions.listing import LogFailures, SessionIdentifier
from vizdash.sessions.pending_reasons import explain_pending, may_be_reserved

#: Who watches which session that is shared, by the session's id.
Watchers = Callable[[], Awaitable[Mapping[str, tuple[str, ...]]]]


class SessionQueries:
    """Queries the engine for jobs and reads what their sessions wrote. Methods raise VizdashError.

    ``watchers`` are the guests of shared ones. ``hand_submitted`` finds sessions that a user
    submitted without vizdash (None: there are none); ``images`` knows which image version is
    current.
    """

    def __init__(
        self,
        config: Config,
        engine: Engine,
        *,
        queries: QueryCache,
        store: SessionStore,
        images: ImageSurvey,
        log_causes: LogFailures,
        hand_submitted: HandSubmittedSessions | None = None,
        watchers: Watchers | None = None,
    ) -> None:
        self.config = config
        self._engine = engine
        self._queries = queries
        self._store = store
        self._images = images
        self._hand_submitted = hand_submitted
        self._identifier = SessionIdentifier(store)
        self._log_causes = log_causes
        self._watchers = watchers

    async def query(
        self, *, all_users: bool = False, wait_s: float = LIST_TIMEOUT_S
    ) -> tuple[Session, ...]:
        """The user's own sessions, or those of all users. A node is given ``wait_s`` seconds to
        report what it knows of a job that was submitted by hand.
        """
        info = await self._engine.info()
        if all_users:
            selected = await self._engine.select_jobs(
                JobSelection(info.user, await self.session_words())
            )
            jobs = (*selected.own, *selected.sessions)
        else:
            jobs = await self._engine.jobs(user=info.user)
        if any(may_be_reserved(job.reason) for job in jobs):
            jobs = explain_pending(jobs, await self._queries.nodes(), time.time())
        return await self.of_jobs(jobs, info.user, wait_s=wait_s)

    async def session_words(self) -> frozenset[str]:
        """Words of which the name or the comment of each session's job has one."""
        if self._hand_submitted is None:
            return listing.SESSION_WORDS
        return listing.SESSION_WORDS | await self._hand_submitted.job_names(self.config)

    async def of_jobs(
        self, jobs: Collection[Job], user: str, *, wait_s: float = 0
    ) -> tuple[Session, ...]:
        """The sessions among ``jobs`` as ``user`` sees them, with what they wrote into their
        folders or on their nodes, and who watches those that are shared.
        """
        sessions = await self._of_jobs(jobs, user, wait_s)
        watchers = await self._watchers() if self._watchers is not None else {}
        if not watchers:
            return sessions
        return tuple(
            replace(s, watched_by=watchers[s.id])
            if s.mine and s.state is SessionState.READY and s.id in watchers
            else s
            for s in sessions
        )

    async def _of_jobs(
        self, jobs: Collection[Job], user: str, wait_s: float
    ) -> tuple[Session, ...]:
        cluster = (await self._engine.info()).cluster
        jobs = await self._identifier.identify(jobs, user, cluster)
        running, ended = listing.folders_to_read(jobs, user)
        statuses = await self._store.statuses((*running, *ended), running=running)
        known = listing.sessions_from_jobs(
            jobs, user, status_of=lambda id: statuses.get(id, Status())
        )
        sessions = await self._log_causes.explain(known, jobs)
        if self._hand_submitted is not None:
            more = await self._hand_submitted.sessions(self.config, jobs, user, wait_s=wait_s)
            sessions = listing.sort_sessions((*sessions, *more)) if more else sessions
        if not any(s.live and s.image_version for s in sessions):
            return sessions
        current = await self._images.wanted_versions()
        fixed = {app.name for app in self.config.apps.values() if app.image}
        return listing.mark_newer_images(
            sessions, {k: v for k, v in current.items() if k not in fixed}
        )

    async def find(self, word: str) -> Session:
        """The session that ``word`` names: by its id, the start of its id, or its job's id. The
        user's own come first; an administrator's word may name anyone's.

        Raises UnknownName, or UsageError where it names several.
        """
        sessions = await self.query()
        hits = listing.match_sessions(word, sessions)
        live = any(hit.live for hit in hits)  # an earlier one may have had the same SESSION_ID
        if not live and self._hand_submitted is not None and self._hand_submitted.is_reading:
            sessions = await self.query(wait_s=FIND_TIMEOUT_S)
            hits = listing.match_sessions(word, sessions)
        if not hits and (await self._engine.info()).admin:
            hits = listing.match_sessions(word, await self.query(all_users=True))
        if not hits:
            ids = ", ".join(s.id for s in sessions if s.live) or "none"
            raise UnknownName(
                f"session {word}", "there is no such session of yours", f"live: {ids}"
            )
        if len({s.job_id for s in hits}) > 1:
            raise UsageError(f"session {word}", "could be several", "name the job id")
        return hits[0]

    async def find_logged(self, word: str) -> Session:
        """As ``find``; where the engine has forgotten a session of the user's, its folder still
        gives its ids, and nothing else of it is known.
        """
        try:
            return await self.find(word)
        except NotFound:
            user = (await self._engine.info()).user
            ids = dict(await self._store.job_ids())
            if is_id(word) and word not in ids:
                with contextlib.suppress(NotFound):
                    await self._store.tail(word, 1)
                    ids[word] = ""
            ended = (Session(id, job, "", user, SessionState.ENDED) for id, job in ids.items())
            hits = listing.match_sessions(word, tuple(ended))
            if not hits:
                raise
        if len(hits) > 1:
            raise UsageError(f"session {word}", "could be several", "name the whole id")
        return hits[0]

    async def log(self, session: Session, *, lines: int = 200) -> str:
        """The last ``lines`` lines of a session's log. Raises NotFound while there is none, Refused
        for another user's session.
        """
        if not session.mine:
            raise Refused(f"log of {session.id}", f"only {session.user} can read it")
        if self._hand_submitted is not None and self._hand_submitted.has(session):
            return await self._hand_submitted.log(self.config, session, lines)
        try:
            return await self._store.tail(session.id, lines)
        except NotFound as e:
            why = "the job has not begun" if not session.node else e.why
            raise NotFound(f"log of {session.id}", why) from e

    async def folder_summary(self, session: Session, *, lines: int) -> FolderSummary:
        """When it became ready, and the last ``lines`` lines of its log.

        Raises as ``read_folder_summary``.
        """
        if self._hand_submitted is not None and self._hand_submitted.has(session):
            try:
                text = await self._hand_submitted.log(self.config, session, lines)
            except NotFound as e:
                return FolderSummary(note=e.why)
            return FolderSummary(log=tuple(text.splitlines()), note="" if text else "empty so far")
        return await read_folder_summary(session, self._store, lines=lines)

    async def connection(self, session: Session) -> Connection:
        """How to reach its desktop. Raises NotFound where nothing says so."""
        if self._hand_submitted is not None and self._hand_submitted.has(session):
            return self._hand_submitted.connection(session)
        return await self._store.connection(session.id)
