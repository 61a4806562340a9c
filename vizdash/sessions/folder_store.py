"""Access to session folders: on this machine, or on the login host over SSH."""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from typing_extensions import override

from vizdash.errors import NotFound, Refused, last_line
from vizdash.sessions import folder
from vizdash.sessions.comment import is_id
from vizdash.sessions.folder import Connection, Status
from vizdash.transport.base import Command, CommandRunner
from vizdash.util.files import FileAccess

#: The most bytes that are read of a session's file; a log is read from its end.
_LIMIT = 64 * 1024


class SessionStore(Protocol):
    """The folders of the user's own sessions. Every call may raise Unreachable or TimedOut."""

    async def make(self, session_id: str, record: str) -> str:
        """Make a session's folder, 0700, with ``record`` (folder.job_record) in it, and return
        its path as a job sees it.

        Raises Refused where it or the file can't be made.
        """
        ...

    async def write_record(self, session_id: str, record: str) -> None:
        """Replace the folder's record. Raises Refused when it can't be written."""
        ...

    async def write_lease(self, session_id: str, end_at: int) -> None:
        """Move the end of a session's lease. Raises Refused when it can't be written."""
        ...

    async def remove(self, session_id: str) -> None:
        """Remove a folder that no job will use."""
        ...

    async def connection(self, session_id: str) -> Connection:
        """The session's connection file. Raises NotFound where it does not exist, or can't be
        read.
        """
        ...

    async def statuses(
        self, session_ids: Iterable[str], *, running: Collection[str] = ()
    ) -> Mapping[str, Status]:
        """The statuses by session id, read at once; folders without one are left out, but not those
        that can't be read (Status.problem). A final status is read once, except of the sessions in
        ``running``, whose jobs may have been requeued.
        """
        ...

    async def job_ids(self) -> Mapping[str, str]:
        """Ids of jobs by session id, from the files of all folders. Several sessions may have had
        jobs with the same id, on other clusters or before the cluster was set up again.
        """
        ...

    async def tail(self, session_id: str, lines: int) -> str:
        """The last lines of its log. Raises NotFound while there is none."""
        ...


class _Final:
    """A cache of statuses that are final."""

    def __init__(self) -> None:
        self._kept: dict[str, Status] = {}

    def unknown(self, session_ids: Iterable[str], running: Collection[str]) -> list[str]:
        """The ids whose status must be read."""
        ids = [id for id in session_ids if is_id(id)]
        for id in running:
            self._kept.pop(id, None)
        return [id for id in ids if id not in self._kept]

    def merge(self, ids: Iterable[str], read: Mapping[str, Status]) -> dict[str, Status]:
        """The statuses of ``ids``: those in ``read``, and cached ones."""
        self._kept |= {id: status for id, status in read.items() if status.state == "ended"}
        return {**{id: self._kept[id] for id in ids if id in self._kept}, **read}


class LocalSessionStore(SessionStore):
    """Session folders on this machine: in the home, which nodes share, or below a site's
    ``state_dir``.
    """

    def __init__(self, state_dir: str = "") -> None:
        self._state_dir = state_dir
        self._root = folder.sessions_root(state_dir)
        self._final = _Final()
        self._files = FileAccess(str(self._root))

    @override
    async def make(self, session_id: str, record: str) -> str:
        return str(await asyncio.to_thread(folder.make_folder, session_id, record, self._state_dir))

    @override
    async def write_record(self, session_id: str, record: str) -> None:
        await asyncio.to_thread(folder.write_record, session_id, record, self._root)

    @override
    async def write_lease(self, session_id: str, end_at: int) -> None:
        text = folder.lease_record(end_at)
        await asyncio.to_thread(
            folder.write_record, session_id, text, self._root, folder.LEASE_FILE
        )

    @override
    async def remove(self, session_id: str) -> None:
        await asyncio.to_thread(_remove, folder.folder_of(session_id, self._root))

    @override
    async def connection(self, session_id: str) -> Connection:
        if not is_id(session_id):  # a session of which only the job is known
            return folder.connection_of(session_id, None)
        return await self._files.run(folder.read_connection, session_id, self._root)

    @override
    async def statuses(
        self, session_ids: Iterable[str], *, running: Collection[str] = ()
    ) -> Mapping[str, Status]:
        wanted = tuple(session_ids)
        unknown = self._final.unknown(wanted, running)
        if not unknown:
            return self._final.merge(wanted, {})
        read = await self._files.run(
            lambda: {id: folder.read_status(id, self._root) for id in unknown}
        )
        return self._final.merge(wanted, read)

    @override
    async def job_ids(self) -> Mapping[str, str]:
        return await self._files.run(folder.job_ids, self._root)

    @override
    async def tail(self, session_id: str, lines: int) -> str:
        try:
            path = folder.folder_of(session_id, self._root) / "job.log"
            return await self._files.run(folder.tail, path, lines)
        except (OSError, ValueError) as e:
            raise NotFound(f"log of {session_id}", str(e)) from e


#: Prints the user's own files, those of a session after a line with its name, and after its name
#: the folder and the error where it can't be read. A link or another user's file counts as missing
#: (test -O is in POSIX since 2024, and in every shell of a cluster before). A file that another
#: host replaces meanwhile is read again.
_SHOW = """
LC_ALL=C
export LC_ALL
mark=$1 names=$2
shift 2
problem() {
  printf '%s %s %s: %s\\n' "$mark" "$id" "$folder" "${1##*: }"
}
for id; do
  folder=$root/$id shown=
  for name in $names; do
    f=$folder/$name
    [ -f "$f" ] && [ ! -h "$f" ] && [ -O "$f" ] || continue
    [ "$shown" ] || printf '%s %s\\n' "$mark" "$id"
    shown=1
    if why=$(tail -c LIMIT "$f" 2>&1 >&3) || why=$(tail -c LIMIT "$f" 2>&1 >&3); then
      printf '\\n'
    elif [ -e "$f" ]; then
      printf '\\n'
      problem "$why"
      shown=
    fi
  done
  [ "$shown" ] || [ -d "$folder/." ] || why=$(ls -d -- "$folder/." 2>&1) || problem "$why"
done 3>&1
"""
_JOB_IDS = """
cd "$root" 2>/dev/null && grep -s '^JOB_ID=.' -- */job */status /dev/null
"""
#: Folders from $own on, where it is set, must be the user's, or root's: see folder.make_root.
_MAKE = """
umask 077
only_root_writes() {
  [ "$(find "$1/." -prune -type d -user 0 ! -perm -020 ! -perm -002 2>/dev/null)" ]
}
find_owner() {
  owner=other place=$1
  for link in 1 2 3 4 5 6 7 8 9 10; do
    if [ ! -h "$place" ] && [ -d "$place" ] && [ -O "$place" ]; then
      owner=user
      return
    fi
    only_root_writes "${place%/*}" && [ "$(find "$place" -prune -user 0)" ] || return
    if [ ! -h "$place" ]; then
      if only_root_writes "$place"; then owner=root; fi
      return
    fi
    target=$(readlink "$place")
    target=${target%/}
    case $target in /*) place=$target ;; *) place=${place%/*}/$target ;; esac
  done
}
check() {
  at=$root below=user
  while [ "$own" ]; do
    if [ -h "$at" ] || [ -e "$at" ]; then
      find_owner "$at"
      case $below-$owner in
        user-user | root-root) ;;
        user-root) below=root ;;
        *)
          printf '%s is a link, or not yours\\n' "$at" >&2
          exit 1
          ;;
      esac
    fi
    [ "$at" != "$own" ] || break
    at=${at%/*}
  done
}
check
mkdir -p "$root" || exit 1
check
chmod go= "$root"
[ "$own" ] || chmod go= "${root%/*}"
mkdir "$root/$1" || exit 1
cat >"$root/$1/job" || { rm -f "$root/$1/job"; rmdir "$root/$1"; exit 1; }
printf '%s\\n' "$root/$1"
"""
#: cat(1) checks its writes, a shell's printf need not. A failure leaves the old file.
_WRITE = """
umask 077
new=$root/$1/.NAME.$$
{ cat >"$new" && mv -f "$new" "$root/$1/NAME"; } || { rm -f "$new"; exit 1; }
"""
_REMOVE = """
cd "$root/$1" && rm -f -- job job.log script && cd .. && rmdir "$1"
"""


def _root_assignments(state_dir: str) -> str:
    """Assignments in sh of ``root``, the folder of session folders, and ``own``, the first folder
    that must be the user's (empty: the home is).
    """
    if not state_dir:
        return "root=$HOME/.local/state/vizdash/sessions own=\n"

    def quoted(path: str) -> str:
        return '"$user"'.join(shlex.quote(part) if part else "" for part in path.split("%u"))

    before, _, after = state_dir.partition("%u")
    own = f"{before}%u{after.partition('/')[0]}"
    return f"user=$(id -un) || exit 1\nroot={quoted(state_dir)}/sessions own={quoted(own)}\n"


class RemoteSessionStore(SessionStore):
    """Session folders on the host that ``runner`` reaches, in the home there or below a site's
    ``state_dir``, accessed by POSIX sh.
    """

    def __init__(self, runner: CommandRunner, state_dir: str = "") -> None:
        self._runner = runner
        self._root = _root_assignments(state_dir)
        self._final = _Final()

    @override
    async def make(self, session_id: str, record: str) -> str:
        return (await self._write(_MAKE, session_id, record)).rstrip("\n")

    @override
    async def write_record(self, session_id: str, record: str) -> None:
        await self._write(_WRITE.replace("NAME", "job"), session_id, record)

    @override
    async def write_lease(self, session_id: str, end_at: int) -> None:
        script = _WRITE.replace("NAME", folder.LEASE_FILE)
        await self._write(script, session_id, folder.lease_record(end_at))

    async def _write(self, script: str, session_id: str, record: str) -> str:
        result = await self._runner.run(replace(self._sh(script, session_id), input=record))
        if result.code != 0:
            why = last_line(result.stderr) or "it can't be made"
            raise Refused("the session's folder", why, "check your home on the cluster")
        return result.stdout

    @override
    async def remove(self, session_id: str) -> None:
        await self._runner.run(self._sh(_REMOVE, session_id))

    @override
    async def connection(self, session_id: str) -> Connection:
        texts, problems = await self._show("connection", [session_id])
        if session_id in problems:
            raise NotFound(f"session {session_id}", problems[session_id])
        return folder.connection_of(session_id, folder.pairs_of(texts.get(session_id)))

    @override
    async def statuses(
        self, session_ids: Iterable[str], *, running: Collection[str] = ()
    ) -> Mapping[str, Status]:
        wanted = tuple(session_ids)
        unknown = self._final.unknown(wanted, running)
        if not unknown:
            return self._final.merge(wanted, {})
        texts, problems = await self._show(" ".join(folder.STATUS_FILES), unknown)
        read = {
            id: folder.with_problem(
                folder.status_of(folder.pairs_of(texts.get(id))), problems.get(id, "")
            )
            for id in {*texts, *problems}
        }
        return self._final.merge(wanted, read)

    @override
    async def job_ids(self) -> Mapping[str, str]:
        result = await self._runner.run(self._sh(_JOB_IDS))
        lines = (line.partition(":JOB_ID=") for line in result.stdout.splitlines())
        pairs = ((name.partition("/")[0], job_id) for name, _, job_id in lines)
        return {id: job_id for id, job_id in pairs if job_id and is_id(id)}

    @override
    async def tail(self, session_id: str, lines: int) -> str:
        limit = max(_LIMIT, lines * 640)
        texts, problems = await self._show("job.log", [session_id], limit=limit)
        if session_id not in texts:
            why = problems.get(session_id, "the job has not begun")
            raise NotFound(f"log of {session_id}", why)
        return "\n".join(texts[session_id].splitlines()[-lines:])

    def _sh(self, script: str, *arguments: str) -> Command:
        return Command(("sh", "-c", self._root + script, "sh", *arguments))

    async def _show(
        self, names: str, session_ids: list[str], *, limit: int = _LIMIT
    ) -> tuple[dict[str, str], dict[str, str]]:
        """The texts of the files by session id, and why folders can't be read."""
        mark = secrets.token_hex(12)
        ids = [id for id in session_ids if is_id(id)]
        script = _SHOW.replace("LIMIT", str(limit))
        result = (await self._runner.run(self._sh(script, mark, names, *ids))).check("sh")
        texts: dict[str, str] = {}
        problems: dict[str, str] = {}
        for part in result.stdout.split(f"{mark} ")[1:]:
            header, _, text = part.partition("\n")
            session_id, _, problem = header.partition(" ")
            if problem:
                path, _, cause = problem.rpartition(": ")
                problems[session_id] = folder.problem_text(path, cause, "on the login host")
            else:
                texts[session_id] = texts.get(session_id, "") + text.removesuffix("\n")
        return texts, problems


def _remove(place: Path) -> None:
    for left in place.iterdir():
        left.unlink(missing_ok=True)
    place.rmdir()
