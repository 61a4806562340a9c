"""Where session folders are: on this machine's disk, or on the login host's."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from vizdash.errors import NotFound, Refused, last_line
from vizdash.sessions import folder
from vizdash.sessions.comment import is_id
from vizdash.sessions.folder import Connection, Status
from vizdash.transport.base import Command, CommandRunner

#: Nothing of a session's that we read is larger, in bytes; a log is read from its end.
_LIMIT = 64 * 1024


class SessionStore(Protocol):
    """The folders of one's own sessions. Every call may raise Unreachable or TimedOut."""

    async def make(self, session_id: str) -> str:
        """Make a session's folder, 0700, and return its path as a job sees it.

        Raises Refused when it can't be made.
        """
        ...

    async def remove(self, session_id: str) -> None:
        """Take back a folder that no job will use."""
        ...

    async def connection(self, session_id: str) -> Connection:
        """How to reach it. Raises NotFound when there's no connection file of ours."""
        ...

    async def statuses(self, session_ids: Iterable[str]) -> Mapping[str, Status]:
        """What the jobs last said of themselves; those that said nothing are left out."""
        ...

    async def by_job(self) -> Mapping[str, str]:
        """Ids of sessions by their jobs' ids, from what the jobs wrote."""
        ...

    async def tail(self, session_id: str, lines: int) -> str:
        """The end of its log. Raises NotFound while there's none."""
        ...


class LocalStore:
    """Folders on a disk of this machine (a home that nodes share, where there are nodes)."""

    async def make(self, session_id: str) -> str:
        """See SessionStore.make."""
        return str(await asyncio.to_thread(folder.make_folder, session_id))

    async def remove(self, session_id: str) -> None:
        """See SessionStore.remove."""
        await asyncio.to_thread(_remove, folder.folder_of(session_id))

    async def connection(self, session_id: str) -> Connection:
        """See SessionStore.connection."""
        return await asyncio.to_thread(folder.read_connection, session_id)

    async def statuses(self, session_ids: Iterable[str]) -> Mapping[str, Status]:
        """See SessionStore.statuses."""
        wanted = tuple(session_ids)
        return await asyncio.to_thread(lambda: {id: folder.read_status(id) for id in wanted})

    async def by_job(self) -> Mapping[str, str]:
        """See SessionStore.by_job."""
        return await asyncio.to_thread(folder.by_job)

    async def tail(self, session_id: str, lines: int) -> str:
        """See SessionStore.tail."""
        try:
            path = folder.folder_of(session_id) / "job.log"
            return await asyncio.to_thread(folder.tail, path, lines)
        except (OSError, ValueError) as e:
            raise NotFound(f"log of {session_id}", str(e)) from e


#: Shows files of ours, each after a line of its name. One that is a link or someone else's is
#: taken as not there (test -O is in POSIX since 2024, and in every shell of a cluster before).
_SHOW = """
cd "$HOME/.local/state/vizdash/sessions" 2>/dev/null || exit 0
mark=$1 name=$2
shift 2
for id; do
  f=$id/$name
  [ -f "$f" ] && [ ! -h "$f" ] && [ -O "$f" ] || continue
  printf '%s %s\\n' "$mark" "$id"
  tail -c LIMIT "$f"
  printf '\\n'
done
"""
_BY_JOB = """
cd "$HOME/.local/state/vizdash/sessions" 2>/dev/null && grep -s '^JOB_ID=' -- */status /dev/null
"""
_MAKE = """
umask 077
root=$HOME/.local/state/vizdash/sessions
mkdir -p "$root" && mkdir "$root/$1" && printf '%s\\n' "$root/$1"
"""
_REMOVE = """
cd "$HOME/.local/state/vizdash/sessions/$1" && rm -f -- job.log script && cd .. && rmdir "$1"
"""


class RemoteStore:
    """Folders in the home on the host that ``runner`` reaches, by POSIX sh."""

    def __init__(self, runner: CommandRunner) -> None:
        self._runner = runner
        self._final: dict[str, Status] = {}

    async def make(self, session_id: str) -> str:
        """See SessionStore.make."""
        result = await self._runner.run(_sh(_MAKE, session_id))
        if result.code != 0:
            why = last_line(result.stderr) or "it can't be made"
            raise Refused("the session's folder", why, "check your home on the cluster")
        return result.stdout.rstrip("\n")

    async def remove(self, session_id: str) -> None:
        """See SessionStore.remove."""
        await self._runner.run(_sh(_REMOVE, session_id))

    async def connection(self, session_id: str) -> Connection:
        """See SessionStore.connection."""
        found = await self._show("connection", [session_id])
        return folder.connection_of(session_id, folder.pairs_of(found.get(session_id)))

    async def statuses(self, session_ids: Iterable[str]) -> Mapping[str, Status]:
        """See SessionStore.statuses. One command for all; what has ended is asked for once."""
        wanted = tuple(session_ids)
        asked = [id for id in wanted if id not in self._final]
        shown = await self._show("status", asked) if asked else {}
        found = {id: folder.status_of(folder.pairs_of(text)) for id, text in shown.items()}
        self._final |= {id: status for id, status in found.items() if status.state == "ended"}
        return found | {id: self._final[id] for id in wanted if id in self._final}

    async def by_job(self) -> Mapping[str, str]:
        """See SessionStore.by_job."""
        result = await self._runner.run(_sh(_BY_JOB))
        pairs = (line.partition("/status:JOB_ID=") for line in result.stdout.splitlines())
        return {job_id: id for id, mark, job_id in pairs if mark and is_id(id)}

    async def tail(self, session_id: str, lines: int) -> str:
        """See SessionStore.tail."""
        found = await self._show("job.log", [session_id], limit=max(_LIMIT, lines * 640))
        if session_id not in found:
            raise NotFound(f"log of {session_id}", "the job has not begun")
        return "\n".join(found[session_id].splitlines()[-lines:])

    async def _show(
        self, name: str, session_ids: list[str], *, limit: int = _LIMIT
    ) -> dict[str, str]:
        mark = secrets.token_hex(12)
        ids = [id for id in session_ids if is_id(id)]
        script = _SHOW.replace("LIMIT", str(limit))
        result = (await self._runner.run(_sh(script, mark, name, *ids))).check("sh")
        found = {}
        for part in result.stdout.split(f"{mark} ")[1:]:
            session_id, _, text = part.partition("\n")
            found[session_id] = text.removesuffix("\n")
        return found


def _sh(script: str, *arguments: str) -> Command:
    return Command(("sh", "-c", script, "sh", *arguments))


def _remove(place: Path) -> None:
    for left in place.iterdir():
        left.unlink(missing_ok=True)
    place.rmdir()
