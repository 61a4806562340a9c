"""Records of shares, by which another vizdash of their owner finds and ends them (0600 files).

They are those of tunnels (sessions/tunnel_records.py) in a folder of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import platformdirs

from vizdash.sessions.share import HeldShare
from vizdash.sessions.tunnel_records import (
    HeldRecord,
    here,
    process_start,
    read_records,
    remove_record,
    request_end,
)
from vizdash.util.files import check_private, make_private, run_briefly, write_whole


@dataclass(frozen=True, slots=True)
class ShareRecord(HeldRecord):
    """One share. ``watching`` counts the guest's viewers now; ``login_host`` is where its door is;
    the rest is as in ShareTerms.
    """

    guest: str
    control: bool
    expires_at: int | None
    login_host: str
    watching: int


def shares_folder() -> Path:
    """Where the records are (~/.local/state/vizdash/shares on Linux)."""
    return Path(platformdirs.user_state_dir("vizdash")) / "shares"


def read_shares(folder: Path | None = None) -> tuple[ShareRecord, ...]:
    """What this user shares from this machine, oldest first."""
    found = read_records(folder or shares_folder(), ShareRecord)
    return tuple(sorted(found, key=lambda r: (r.opened_at, r.session, r.guest, r.id)))


async def end_share(record: ShareRecord) -> None:
    """Request the end of a share of another process, and wait for it. Raises as that does."""
    what = f"the share of session {record.session} with {record.guest}"
    await request_end(record, shares_folder(), what)


class HeldShares:
    """The shares that this process holds for one cluster, and their records."""

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self._folder = shares_folder()
        self._held: dict[str, HeldShare] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing = asyncio.Lock()

    async def add(self, share: HeldShare) -> None:
        """Record a share until it is removed."""
        id = secrets.token_hex(8)
        self._held[id] = share
        await run_briefly(partial(self._write, id))

    def changed(self, share: HeldShare) -> None:
        """Write the record of a share again, in the background."""
        for id, held in self._held.items():
            if held is share:
                task = asyncio.get_running_loop().create_task(self._rewrite(id))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def remove(self, share: HeldShare) -> None:
        """Remove the record of a share that has ended."""
        for id in [id for id, held in self._held.items() if held is share]:
            del self._held[id]
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await run_briefly(partial(remove_record, self._folder, id))

    def take_over(self) -> None:
        """Write all records again after a fork."""
        for id in self._held:
            self._write(id)

    def close_requested(self) -> None:
        """End the shares whose end another process has requested (SIGUSR1)."""
        for id, share in self._held.items():
            if (self._folder / f"{id}.close").exists():
                share.request_end()

    @property
    def held(self) -> Collection[HeldShare]:
        """The shares of this process."""
        return tuple(self._held.values())

    async def _rewrite(self, id: str) -> None:
        async with self._writing:  # the last count must be written last
            await run_briefly(partial(self._write, id))

    def _write(self, id: str) -> None:
        share = self._held.get(id)
        if share is None:
            return
        record = ShareRecord(
            id=id,
            session=share.terms.session,
            job_id=share.terms.job_id,
            app=share.terms.app,
            cluster=self._cluster,
            pid=os.getpid(),
            started=process_start(os.getpid()),
            opened_at=int(time.time()),
            guest=share.terms.guest,
            control=share.terms.control,
            expires_at=share.terms.expires_at,
            login_host=share.host,
            watching=share.watching,
            **asdict(here()),
        )
        with contextlib.suppress(OSError):
            make_private(self._folder)
            check_private(self._folder)
            write_whole(self._folder / f"{id}.json", json.dumps(asdict(record)))
