"""What a session of one's own left in its folder: when it was ready, the end of its log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from vizdash.errors import NotFound, Refused
from vizdash.model import Session
from vizdash.sessions.store import SessionStore


@dataclass(frozen=True, slots=True)
class Trail:
    """``ready_at`` is when its desktop first answered, in seconds since the epoch (None: not yet,
    or not told); ``log`` are the last lines of its log; ``note`` says why there are none.
    """

    ready_at: int | None = None
    log: tuple[str, ...] = ()
    note: str = ""


async def trail_of(session: Session, store: SessionStore, *, lines: int) -> Trail:
    """Asked for once, for whoever looks at a session: polls do without.

    Raises Refused for someone else's session, Unreachable or TimedOut.
    """
    if not session.mine:
        raise Refused(f"the folder of {session.id}", f"only {session.user} can read it")
    if not session.node:
        return Trail(note="the job has not begun" if session.live else "the job never began")
    told, (log, note) = await asyncio.gather(
        store.statuses((session.id,)), _log(session, store, lines)
    )
    ready_at = told[session.id].ready_at if session.id in told else 0
    return Trail(ready_at or None, log, note)


async def _log(session: Session, store: SessionStore, lines: int) -> tuple[tuple[str, ...], str]:
    try:
        text = await store.tail(session.id, lines)
    except NotFound:
        return (), "it is not there"
    return tuple(text.splitlines()), "" if text else "empty so far"
