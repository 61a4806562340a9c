"""Waiting for a session to become ready, telling what it waits for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection

from vizdash.errors import NotFound, Refused, TimedOut, Unreachable, VizdashError
from vizdash.model import Session, SessionState
from vizdash.reach import SUSPENDED
from vizdash.service import Service

#: Seconds between looks: at first, and for a session that waits long.
_FIRST_S = 0.25
_LATER_S = 5.0
#: Failed looks in a row before giving up.
_FAILURES = 5


async def wait_ready(
    service: Service,
    session: Session,
    tell: Callable[[str], None],
    *,
    timeout_s: int | None = None,
    seen: Callable[[Session], None] = lambda session: None,
) -> Session:
    """The session once it is ready; ``seen`` is given what each look finds.

    Raises VizdashError with the step and the last error line when it ends instead, Refused when
    its job is suspended, TimedOut after ``timeout_s`` (the session is left as it is).
    """
    began = time.monotonic()
    told, failures = "", 0
    while True:
        asked = time.monotonic()
        try:
            session = await _look(service, session)
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
            raise Refused(f"session {session.id}", *SUSPENDED)
        if (words := _words(session)) != told:
            tell(f"{session.id}: {words}")
            told = words
        took, waited = time.monotonic() - asked, time.monotonic() - began
        if timeout_s is not None and waited > timeout_s:
            raise TimedOut(
                f"session {session.id}", f"{words} after {timeout_s} s", "it is left as it is"
            )
        await asyncio.sleep(_pause(took, waited))


def _pause(took: float, waited: float = 0.0) -> float:
    """Seconds until the next look: soon for a person who has just pressed the key, and later for
    a session that waits long. A slurmctld that was slow to answer, or that told its clients to
    back off (slurm.conf(5), SlurmctldParameters=rl_enable), gets as long a rest.
    """
    return min(_LATER_S, max(_FIRST_S, waited / 20, took))


async def wait_ended(
    service: Service, sessions: Collection[Session], *, timeout_s: float = 30
) -> tuple[Session, ...]:
    """Those of ``sessions`` that are not over, with nothing of them left, after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    wanted = {session.job_id for session in sessions}
    left = tuple(sessions)
    while left and time.monotonic() < deadline:
        asked = time.monotonic()
        with contextlib.suppress(TimedOut, Unreachable):
            found = await service.sessions(all_users=not all(s.mine for s in sessions))
            left = tuple(
                s for s in found if s.job_id in wanted and s.state is not SessionState.ENDED
            )
        if left:
            await asyncio.sleep(_pause(time.monotonic() - asked))
    return left


async def _look(service: Service, session: Session) -> Session:
    for one in await service.sessions():
        if one.job_id == session.job_id:
            return one
    raise NotFound(f"session {session.id}", "the cluster knows no such job any more")


def _words(session: Session) -> str:
    if session.state is SessionState.PENDING:
        return f"pending: {session.reason}" if session.reason else "pending"
    where = f" on {session.node}" if session.node else ""
    step = f", step {session.step}" if session.step else ""
    return f"{session.state}{where}{step}"


def _ended(session: Session) -> VizdashError:
    if session.result == "failed":
        where = f" at step {session.step}" if session.step else ""
        mend = f"see vizdash logs {session.id}"
        return VizdashError(f"session {session.id} failed{where}", session.error, mend)
    return VizdashError(f"session {session.id} has ended", session.result)
