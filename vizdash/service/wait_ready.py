"""Waiting until a session is ready or has ended, reporting what it waits for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection

from vizdash.errors import NotFound, Refused, TimedOut, Unreachable, VizdashError
from vizdash.model import Session, SessionState
from vizdash.model.session import WHY_SUSPENDED
from vizdash.service.service import Service

#: Seconds between queries: at first, and for a session that waits long.
_FIRST_S = 0.1
_LATER_S = 5.0
#: Failed queries in a row before giving up.
_FAILURES = 5
#: Seconds that a session folder may be unreadable before giving up: its server may be restarting.
_UNREADABLE_S = 30.0


async def wait_ready(
    service: Service,
    session: Session,
    tell: Callable[[str], None],
    *,
    timeout_s: int | None = None,
    seen: Callable[[Session], None] = lambda session: None,
) -> Session:
    """Return the session once it is ready; ``seen`` gets the session after each query.

    Raises VizdashError with the step and the last error line where it ends instead, Refused where
    its job is suspended, NotFound where its folder can't be read, TimedOut after ``timeout_s`` (the
    session keeps running).
    """
    began = time.monotonic()
    reported, failures, readable_at = "", 0, began
    while True:
        asked = time.monotonic()
        try:
            session = await _query(service, session)
            seen(session)
            failures = 0
        except (TimedOut, Unreachable):
            failures += 1
            if failures == _FAILURES:
                raise
        if session.state is SessionState.READY:
            return session
        if session.state is SessionState.ENDED:
            raise _ended(session)
        if session.state is SessionState.SUSPENDED:
            raise Refused(f"session {session.id}", *WHY_SUSPENDED)
        if session.state is not SessionState.UNKNOWN or not session.error:
            readable_at = time.monotonic()
        elif time.monotonic() - readable_at > _UNREADABLE_S:
            fix = "it keeps running; open it once your files can be read"
            raise NotFound(f"session {session.id}", session.error, fix)
        if (words := _progress_text(session)) != reported:
            tell(f"{session.id}: {words}")
            reported = words
        took, waited = time.monotonic() - asked, time.monotonic() - began
        if timeout_s is not None and waited > timeout_s:
            raise TimedOut(
                f"session {session.id}", f"{words} after {timeout_s} s", "it is left as it is"
            )
        await asyncio.sleep(_pause(took, waited))


def _pause(took: float, waited: float = 0.0) -> float:
    """Seconds until the next query: few at first, more for a session that waits long. A slurmctld
    that was slow to answer, or asked its clients to back off (slurm.conf(5),
    SlurmctldParameters=rl_enable), is left alone for as long.
    """
    return min(_LATER_S, max(_FIRST_S, waited / 20, took))


async def wait_ended(
    service: Service, sessions: Collection[Session], *, timeout_s: float = 30
) -> tuple[Session, ...]:
    """Wait until ``sessions`` have ended; those that have not after ``timeout_s`` seconds."""
    deadline = time.monotonic() + timeout_s
    wanted = {session.job_id for session in sessions}
    left = tuple(sessions)
    while left and time.monotonic() < deadline:
        asked = time.monotonic()
        with contextlib.suppress(TimedOut, Unreachable):
            listed = await service.sessions.query(all_users=not all(s.mine for s in sessions))
            left = tuple(
                s for s in listed if s.job_id in wanted and s.state is not SessionState.ENDED
            )
        if left:
            await asyncio.sleep(_pause(time.monotonic() - asked))
    return left


async def _query(service: Service, session: Session) -> Session:
    for one in await service.sessions.query():
        if one.job_id == session.job_id:
            return one
    raise NotFound(f"session {session.id}", "the cluster no longer knows its job")


def _progress_text(session: Session) -> str:
    if session.state is SessionState.PENDING:
        return f"pending: {session.reason}" if session.reason else "pending"
    if session.state is SessionState.UNKNOWN and session.reason:
        return f"unknown: {session.reason}"
    where = f" on {session.node}" if session.node else ""
    step = f", step {session.step}" if session.step else ""
    return f"{session.state}{where}{step}"


def _ended(session: Session) -> VizdashError:
    if session.result == "failed":
        where = f" at step {session.step}" if session.step else ""
        fix = f"see vizdash logs {session.id}"
        return VizdashError(f"session {session.id} failed{where}", session.error, fix)
    return VizdashError(f"session {session.id} has ended", session.result)
