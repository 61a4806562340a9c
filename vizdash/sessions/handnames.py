"""The SESSION_IDs of sessions that were submitted by hand: known from a file on the node that goes
when they end, and remembered here, so that they are found by them afterwards.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import platformdirs

from vizdash.files import make_private, read_own, write_whole
from vizdash.model import Job
from vizdash.sessions.infofile import SESSION_ID

#: The most that is remembered: the last ones.
_MOST = 500


class HandNames:
    """SESSION_IDs by job. A job's id may be given again one day, so that the time of its submission
    (seconds since the epoch) counts too. What can't be read or written is not remembered.
    """

    def __init__(self, cluster: str, folder: Path | None = None) -> None:
        """Those of a cluster, kept in ``folder`` (else platformdirs' state)."""
        folder = folder or Path(platformdirs.user_state_dir("vizdash"))
        self._path = folder / f"by-hand-{cluster}.json"
        self._known: dict[str, tuple[str, int]] | None = None

    def load(self) -> None:
        """Read them, once. Blocks."""
        if self._known is None:
            self._known = self._read()

    def find(self, job: Job) -> str:
        """The SESSION_ID of a job; empty where it is not known."""
        name, submit_at = (self._known or {}).get(job.id, ("", 0))
        return name if submit_at == (job.submit_at or 0) else ""

    def learn(self, job: Job, name: str) -> None:
        """Remember one that is new. Blocks."""
        if self.find(job) == name:
            return
        # Another vizdash of this user may have written meanwhile.
        known = self._read()
        known.pop(job.id, None)
        known[job.id] = (name, job.submit_at or 0)
        self._known = dict(list(known.items())[-_MOST:])
        with contextlib.suppress(OSError):
            make_private(self._path.parent)
            write_whole(self._path, json.dumps(self._known))

    def _read(self) -> dict[str, tuple[str, int]]:
        try:
            values = json.loads(read_own(self._path) or "{}")
        except (ValueError, RecursionError):
            return {}
        items = values.items() if isinstance(values, dict) else ()
        return {job_id: (value[0], value[1]) for job_id, value in items if _is_entry(value)}


def _is_entry(value: object) -> bool:
    match value:
        case [str(name), int()]:
            return SESSION_ID.fullmatch(name) is not None
    return False
