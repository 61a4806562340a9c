"""Operations on nodes and running sessions: drain, resume, extend, send a message."""

from __future__ import annotations

import asyncio
import time

from vizdash.engines import Engine
from vizdash.errors import NotFound, Refused, TimedOut, UnknownName, UsageError
from vizdash.model import Session, SessionState
from vizdash.sessions import comment
from vizdash.sessions.folder_store import SessionStore
from vizdash.util.text import is_unsafe
from vizdash.util.units import format_duration

#: Characters of a node's reason: what fits into the columns of Slurm's own tools.
REASON_LIMIT = 200
#: Seconds that a running session has to take a message.
_TAKEN_S = 15.0


class Operations:
    """Changes by the owner of a session, by operators and administrators. Methods raise
    VizdashError; ``EngineInfo`` says who may do what, and Slurm decides.
    """

    def __init__(self, engine: Engine, store: SessionStore, *, read_only: bool = False) -> None:
        self._engine = engine
        self._store = store
        self._read_only = read_only

    async def drain(self, node: str, reason: str) -> None:
        """Drain ``node``: running jobs finish, no new ones start. ``resume`` undoes it.

        Raises UsageError without a reason, UnknownName for an unknown node, Refused where this
        user may not.
        """
        reason = checked_text(reason, "reason", REASON_LIMIT)
        await self._may_change(node)
        await self._engine.drain(node, reason)

    async def resume(self, node: str) -> None:
        """Return ``node`` to service. Raises as ``drain`` does."""
        await self._may_change(node)
        await self._engine.resume(node)

    async def extend(self, session: Session, more_s: int) -> int:
        """Extend a session by ``more_s`` seconds. Returns its new time limit, or the new length of
        its lease, in seconds.

        Raises Refused where this user may not (the owner may extend a lease up to the time limit;
        the limit under Slurm, operators may), or where it has no limit or has ended.
        """
        refuse_read_only(self._read_only)
        what = f"session {session.id} was not extended"
        if not session.live:
            raise Refused(what, "it has ended")
        if not session.resources.time_s:
            raise Refused(what, "it has no time limit")
        if session.mine and session.lease_left_s is not None:
            return await self._extend_lease(session, more_s, what)
        if not await self._may_extend_limit():
            raise Refused(what, "only Slurm's operators may", "send one of them this request")
        # Slurm counts in minutes.
        limit = -(-(session.resources.time_s + more_s) // 60) * 60
        await self._engine.set_time_limit(session.job_id, limit)
        return limit

    async def _extend_lease(self, session: Session, more_s: int, what: str) -> int:
        """Move the end of the lease in the session folder, at most to the time limit; who may
        extend that, extends it too.
        """
        now = (await self._store.statuses([session.id], running=[session.id])).get(session.id)
        if now is None or now.lease_end_at is None or session.started_at is None:
            why = (now and now.problem) or "its lease can't be read"
            raise Refused(what, why, "is it ending?")
        limit_at = session.limit_at or session.started_at + session.resources.time_s
        # Moved by the time for which its job was suspended, which does not count.
        began, end_at = limit_at - session.resources.time_s, now.lease_end_at + more_s
        if end_at > limit_at and await self._may_extend_limit():
            limit = -(-(end_at - began) // 60) * 60
            await self._engine.set_time_limit(session.job_id, limit)
        elif now.lease_end_at >= limit_at:
            limit_text = format_duration(session.resources.time_s)
            why = f"its lease has reached the job's time limit of {limit_text}"
            raise Refused(what, why, "send one of Slurm's operators this request")
        else:
            end_at = min(end_at, limit_at)
        await self._store.write_lease(session.id, end_at)
        return end_at - began

    async def _may_extend_limit(self) -> bool:
        return self._engine.name == "local" or (await self._engine.info()).admin

    async def message(self, session: Session, text: str) -> None:
        """Show ``text`` on a ready session's desktop. Returns once the session has taken it.

        Raises UsageError for an empty text or one too long, Refused for a session that shows none,
        TimedOut where it does not take the message.
        """
        what = f"session {session.id} got no message"
        if session.legacy:
            raise Refused(what, "a legacy job script shows no messages")
        if session.service:
            raise Refused(what, "a service shows no messages")
        if session.state is not SessionState.READY:
            raise Refused(what, f"it is {session.state}")
        await self._note(session, text, what, show=True)
        if self._engine.name == "local":
            return
        deadline = time.monotonic() + _TAKEN_S
        while (claim := await self._claim(session)) is not None and claim.note:
            if time.monotonic() > deadline:
                raise TimedOut(what, f"it did not take the message in {_TAKEN_S:g} s")
            await asyncio.sleep(0.5)

    async def note(self, session: Session, text: str) -> None:
        """Write a note into the comment of a session that is about to be stopped; its row shows it
        afterwards. Where the site uses the comment itself, no note is written.
        """
        await self._note(session, text, f"session {session.id} got no note", show=False)

    async def _note(self, session: Session, text: str, what: str, *, show: bool) -> None:
        text = checked_text(text, "text", comment.NOTE_LIMIT)
        if len(comment.encode_note(text)) > comment.NOTE_LIMIT:
            raise UsageError("the text is too long", f"{len(text)} characters", "shorten it")
        refuse_read_only(self._read_only)
        if not session.mine and not (await self._engine.info()).admin:
            raise Refused(what, f"it belongs to {session.user}", "Slurm's operators may")
        claim = await self._claim(session)
        if claim is None and show:
            raise Refused(what, "messages need the job's comment, which this site uses itself")
        if claim is None:
            return
        text_in = comment.encode(comment.with_note(claim, text))
        if show:
            await self._engine.send_message(session.job_id, text, text_in)
        else:
            await self._engine.set_comment(session.job_id, text_in)

    async def _claim(self, session: Session) -> comment.Claim | None:
        """The session's comment now; None where it is not vizdash's. Raises NotFound where the
        cluster no longer knows its job.
        """
        for job in await self._engine.jobs(user=session.user):
            if job.id == session.job_id:
                return comment.decode(job.comment)
        raise NotFound(f"session {session.id}", "the cluster no longer knows its job")

    async def _may_change(self, node: str) -> None:
        refuse_read_only(self._read_only)
        info = await self._engine.info()
        if not info.node_admin and self._engine.name != "local":
            who = "an operator may not" if info.admin else "you may not"
            raise Refused(f"node {node} was not changed", f"{who}: Slurm's administrators may")
        known = [n.name for n in await self._engine.nodes()]
        if node not in known:
            raise UnknownName(f"node {node}", "there is no such node", "see vizdash nodes")


def refuse_read_only(read_only: bool) -> None:
    """Raise Refused where ``read_only`` is set."""
    if read_only:
        raise Refused("read-only", "this vizdash changes nothing", "start it without it")


def extension_request(session: Session, more_s: int) -> str:
    """A request that a user who may not extend a session can send to an operator."""
    limit = -(-(session.resources.time_s + more_s) // 60)
    return (
        f"Please give Slurm job {session.job_id} of {session.user} {format_duration(more_s)} more "
        f"(vizdash session {session.id}, {session.app}"
        + (f" on {session.node}" if session.node else "")
        + f"): scontrol update JobId={session.job_id} TimeLimit={limit}"
    )


def checked_text(text: str, what: str, limit: int) -> str:
    """``text`` as one line. Raises UsageError where it is empty or too long."""
    line = " ".join("".join(" " if is_unsafe(c) else c for c in text).split())
    if not line:
        raise UsageError(f"a {what} is required", "", "give it in a few words")
    if len(line) > limit:
        raise UsageError(f"the {what} is too long", f"{len(line)} of {limit} characters")
    return line
