"""A summary of a session's folder: when the desktop became ready, and the end of the log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from vizdash.errors import NotFound, Refused
from vizdash.model import Session
from vizdash.sessions.folder_store import SessionStore


@dataclass(frozen=True, slots=True)
class FolderSummary:
    """``ready_at`` is when its desktop first answered, in seconds since the epoch (None: not yet,
    or unknown); ``log`` are the last lines of its log; ``note`` says why there are none.
    """

    ready_at: int | None = None
    log: tuple[str, ...] = ()
    note: str = ""


async def read_folder_summary(
    session: Session, store: SessionStore, *, lines: int
) -> FolderSummary:
    """Read the folder of one session; polls do not.

    Raises Refused for another user's session, Unreachable or TimedOut.
    """
    if not session.mine:
        raise Refused(f"the folder of {session.id}", f"only {session.user} can read it")
    if not session.node:
        return FolderSummary(
            note="the job has not begun" if session.live else "the job never began"
        )
    statuses, (log, note) = await asyncio.gather(
        store.statuses((session.id,)), _log(session, store, lines)
    )
    ready_at = statuses[session.id].ready_at if session.id in statuses else 0
    return FolderSummary(ready_at or None, log, note)


async def _log(session: Session, store: SessionStore, lines: int) -> tuple[tuple[str, ...], str]:
    try:
        text = await store.tail(session.id, lines)
    except NotFound:
        return (), "it is not there"
    return tuple(text.splitlines()), "" if text else "empty so far"
