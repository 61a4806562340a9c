"""What changes nodes and running sessions, beyond starting and stopping one's own."""

from __future__ import annotations

import asyncio
import time
import unicodedata

from vizdash.engines import Engine
from vizdash.errors import NotFound, Refused, TimedOut, Unknown, UsageError
from vizdash.model import Session, SessionState
from vizdash.sessions import comment
from vizdash.units import duration_words

#: Characters of a node's reason: what fits into the columns of Slurm's own tools.
REASON_LIMIT = 200
#: Seconds that a running session has to take a message.
_TAKEN_S = 15.0


class Operations:
    """For the owner of a session, and for operators and administrators. Methods raise
    VizdashError; who may do what is in ``EngineInfo``, and Slurm has the last word.
    """

    def __init__(self, engine: Engine, *, read_only: bool = False) -> None:
        self._engine = engine
        self._read_only = read_only

    async def drain(self, node: str, reason: str) -> None:
        """Let no new job onto ``node``; those that run go on. ``resume`` undoes it.

        Raises UsageError without a reason, Unknown for a node that is not there, Refused when
        this user may not.
        """
        reason = checked_text(reason, "reason", REASON_LIMIT)
        await self._may_change(node)
        await self._engine.drain(node, reason)

    async def resume(self, node: str) -> None:
        """Let jobs onto ``node`` again. Raises as ``drain`` does."""
        await self._may_change(node)
        await self._engine.resume(node)

    async def extend(self, session: Session, more_s: int) -> int:
        """Give a session ``more_s`` seconds more; its new time limit in seconds.

        Raises Refused when this user may not (under Slurm: operators may), when it has no limit,
        or has ended.
        """
        self._writable()
        what = f"session {session.id} was not extended"
        if not session.live:
            raise Refused(what, "it has ended")
        if not session.resources.time_s:
            raise Refused(what, "it has no time limit")
        if not (await self._engine.info()).admin and self._engine.name != "local":
            raise Refused(what, "only Slurm's operators may", "send one of them this request")
        # Slurm counts in minutes.
        limit = -(-(session.resources.time_s + more_s) // 60) * 60
        await self._engine.set_time_limit(session.job_id, limit)
        return limit

    async def message(self, session: Session, text: str) -> None:
        """Show ``text`` on a ready session's desktop; returns once the session has taken it.

        Raises UsageError for no text or too much, Refused for a session that shows none, TimedOut
        when it did not take it.
        """
        what = f"session {session.id} was not told"
        if session.legacy:
            raise Refused(what, "a job script of the older kind shows no messages")
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
        """Leave word in a session that is about to be stopped; its row shows it afterwards. There
        is no place for it in a comment that a site uses for itself.
        """
        await self._note(session, text, f"no note was left for session {session.id}", show=False)

    async def _note(self, session: Session, text: str, what: str, *, show: bool) -> None:
        text = checked_text(text, "text", comment.NOTE_LIMIT)
        if len(comment.encode_note(text)) > comment.NOTE_LIMIT:
            raise UsageError("the text is too long", f"{len(text)} characters", "say it shorter")
        self._writable()
        if not session.mine and not (await self._engine.info()).admin:
            raise Refused(what, f"it belongs to {session.user}", "Slurm's operators may")
        claim = await self._claim(session)
        if claim is None and show:
            raise Refused(what, "messages go through the job's comment, which is the site's own")
        if claim is None:
            return
        text_in = comment.encode(comment.with_note(claim, text))
        if show:
            await self._engine.tell(session.job_id, text, text_in)
        else:
            await self._engine.annotate(session.job_id, text_in)

    async def _claim(self, session: Session) -> comment.Claim | None:
        """The session's comment as it is now; None where it is not vizdash's. Raises NotFound when
        its job is gone.
        """
        for job in await self._engine.jobs(user=session.user):
            if job.id == session.job_id:
                return comment.decode(job.comment)
        raise NotFound(f"session {session.id}", "the cluster knows no such job any more")

    async def _may_change(self, node: str) -> None:
        self._writable()
        info = await self._engine.info()
        if not info.node_admin and self._engine.name != "local":
            who = "an operator may not" if info.admin else "you may not"
            raise Refused(f"node {node} was not changed", f"{who}: Slurm's administrators may")
        known = [n.name for n in await self._engine.nodes()]
        if node not in known:
            raise Unknown(f"node {node}", "there is no such node", "see vizdash nodes")

    def _writable(self) -> None:
        if self._read_only:
            raise Refused("read-only", "this vizdash changes nothing", "start it without it")


def extension_request(session: Session, more_s: int) -> str:
    """What someone who may not extend a session can send to an operator."""
    limit = -(-(session.resources.time_s + more_s) // 60)
    return (
        f"Please give Slurm job {session.job_id} of {session.user} {duration_words(more_s)} more "
        f"(vizdash session {session.id}, {session.app}"
        + (f" on {session.node}" if session.node else "")
        + f"): scontrol update JobId={session.job_id} TimeLimit={limit}"
    )


def checked_text(text: str, what: str, limit: int) -> str:
    """``text`` as one line. Raises UsageError when there's none, or it is too long."""
    line = " ".join("".join(" " if _control(c) else c for c in text).split())
    if not line:
        raise UsageError(f"a {what} is wanted", "", "say in a few words why")
    if len(line) > limit:
        raise UsageError(f"the {what} is too long", f"{len(line)} of {limit} characters")
    return line


def _control(char: str) -> bool:
    """Whether it is a control, direction or surrogate character."""
    return unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
