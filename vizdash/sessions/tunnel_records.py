"""Records of open tunnels, by which another vizdash finds them again (0600 files).

They let one vizdash list and close the tunnels of another. A record is valid only while the process
that it names lives: its PID and its start time are compared, so that a reused PID does not match.
A reader removes the records of dead processes. To close a tunnel of another process, a vizdash puts
a file ``ID.close`` beside its record and sends SIGUSR1 to the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import platformdirs

from vizdash.engines.local.machine import HostIdentity, booted_at, start_ticks, this_host
from vizdash.errors import Refused, TimedOut
from vizdash.model import Session
from vizdash.sessions.routes import Route
from vizdash.util import checked_json
from vizdash.util.files import (
    FileAccess,
    check_private,
    make_private,
    read_own,
    run_briefly,
    write_whole,
)

#: Seconds within which another process must close a tunnel; over a slow link this takes a while.
_CLOSE_S = 30.0
_POLL_S = 0.05
_LINUX = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """Something of a session that a process holds. ``started`` is when process ``pid`` began, as
    the system gives it; ``opened_at`` is in seconds since the epoch; the last four are those of
    machine.HostIdentity.
    """

    id: str
    session: str
    job_id: str
    app: str
    cluster: str
    pid: int
    started: str
    opened_at: int
    machine: str
    host: str
    pid_space: str
    boot: str

    @property
    def host_identity(self) -> HostIdentity:
        """Where its process runs."""
        return HostIdentity(self.machine, self.host, self.pid_space, self.boot)

    def is_called(self, word: str) -> bool:
        """Whether ``word`` is its session's id or job id."""
        return word in {self.session, self.job_id}


@dataclass(frozen=True, slots=True)
class TunnelRecord(HeldRecord):
    """One open tunnel. ``address`` is where it listens (no secret), ``port`` its TCP port (0 for a
    Unix socket), ``holder`` what holds it ("dashboard", "open" or "background").
    """

    node: str
    address: str
    port: int
    holder: str


Record = TypeVar("Record", bound=HeldRecord)


def tunnels_folder() -> Path:
    """Where the records are (~/.local/state/vizdash/tunnels on Linux)."""
    return Path(platformdirs.user_state_dir("vizdash")) / "tunnels"


def read_tunnels(folder: Path) -> tuple[TunnelRecord, ...]:
    """The tunnels of this user on this machine, oldest first; see ``read_records``."""
    found = read_records(folder, TunnelRecord)
    return tuple(sorted(found, key=lambda r: (r.opened_at, r.cluster, r.job_id, r.id)))


def read_records(folder: Path, kind: type[Record]) -> list[Record]:
    """The records in ``folder`` of this user's processes on this machine. Records whose process has
    ended are removed; those of other machines that share the folder are left alone.
    """
    try:
        check_private(folder)
        files = sorted(folder.glob("*.json"))
    except OSError:
        return []
    where, booted = here(), _booted_at()
    records: list[Record] = []
    for file in files:
        record = checked_json.parse(read_own(file), kind)
        if record is None or record.id != file.stem:
            continue
        if not where.holds(record.host_identity, record.opened_at, booted):
            continue
        if record.started and process_start(record.pid) == record.started:
            records.append(record)
        else:
            remove_record(folder, record.id)
    return records


async def close_tunnel(record: TunnelRecord, folder: Path) -> None:
    """Request the end of a tunnel of another process, and wait for it; see ``request_end``."""
    await request_end(record, folder, f"tunnel to session {record.session}")


async def request_end(record: HeldRecord, folder: Path, what: str) -> None:
    """Request the end of what another process holds, and wait for it. ``what`` names it in errors.

    Raises Refused where the process can't be signalled, TimedOut where it does not react.
    """
    fix = f"end its process: kill {record.pid}"
    if not await asyncio.to_thread(_alive, record):
        await asyncio.to_thread(remove_record, folder, record.id)
        return
    try:
        await asyncio.to_thread(write_whole, folder / f"{record.id}.close", "")
        os.kill(record.pid, signal.SIGUSR1)
    except OSError as e:
        raise Refused(what, f"{e.filename or f'process {record.pid}'}: {e.strerror}", fix) from e
    try:
        async with asyncio.timeout(_CLOSE_S):
            while await asyncio.to_thread((folder / f"{record.id}.json").exists):
                if not await asyncio.to_thread(_alive, record):
                    await asyncio.to_thread(remove_record, folder, record.id)
                await asyncio.sleep(_POLL_S)
    except TimeoutError as e:
        with contextlib.suppress(OSError):
            (folder / f"{record.id}.close").unlink()
        why = f"process {record.pid} has not closed it within {_CLOSE_S:g} s"
        raise TimedOut(what, why, fix) from e


class HeldTunnels:
    """The tunnels that this process holds for one cluster, and their records.

    A record that can't be written (a full home) does not prevent the tunnel; then other processes
    do not list it.
    """

    def __init__(self, cluster: str, folder: Path | None = None) -> None:
        self._cluster = cluster
        self._folder = folder or tunnels_folder()
        self._held: dict[str, tuple[TunnelRecord, Route]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._files = FileAccess(f"the records of tunnels in {self._folder}")
        #: What holds them; see TunnelRecord.
        self.holder = "open"

    async def add(self, session: Session, route: Route) -> None:
        """Record a route of this process until it is closed. Direct routes are not recorded."""
        if route.kind == "direct":
            return
        record = self._record(session, route)
        self._held[record.id] = (record, route)
        route.on_close = partial(self._drop, record.id)
        await run_briefly(partial(self._write, record))

    def take_over(self, holder: str) -> None:
        """Take over all tunnels after a fork."""
        self.holder = holder
        pid, started = os.getpid(), process_start(os.getpid())
        for id, (record, route) in self._held.items():
            new = replace(record, pid=pid, started=started, holder=holder)
            self._held[id] = (new, route)
            self._write(new)

    async def read_others(self) -> tuple[TunnelRecord, ...]:
        """This user's other tunnels on this machine: of other processes or to other clusters."""
        records = await self._files.run(read_tunnels, self._folder)
        return tuple(record for record in records if record.id not in self._held)

    async def close_other(self, id: str) -> None:
        """Close one of ``read_others`` by its record's id. Raises as ``close_tunnel`` does."""
        for record in await self.read_others():
            if record.id == id:
                await close_tunnel(record, self._folder)

    def close_requested(self) -> None:
        """Close the tunnels whose end another process has requested (SIGUSR1)."""
        task = asyncio.get_running_loop().create_task(self._close_requested())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_requested(self) -> None:
        held = {id: route for id, (_record, route) in self._held.items()}
        wanted = await asyncio.to_thread(
            lambda: [id for id in held if (self._folder / f"{id}.close").exists()]
        )
        await asyncio.gather(*(held[id].close_on_request() for id in wanted))

    def _record(self, session: Session, route: Route) -> TunnelRecord:
        return TunnelRecord(
            id=secrets.token_hex(8),
            session=session.id,
            job_id=session.job_id,
            app=session.app,
            node=session.node,
            cluster=self._cluster,
            address=route.near_end,
            port=0 if route.socket else route.port,
            holder=self.holder,
            pid=os.getpid(),
            started=process_start(os.getpid()),
            opened_at=int(time.time()),
            **asdict(here()),
        )

    def _write(self, record: TunnelRecord) -> None:
        with contextlib.suppress(OSError):
            make_private(self._folder)
            check_private(self._folder)
            write_whole(self._folder / f"{record.id}.json", json.dumps(asdict(record)))

    async def _drop(self, id: str) -> None:
        if self._held.pop(id, None) is not None:
            await run_briefly(partial(remove_record, self._folder, id))


def process_start(pid: int) -> str:
    """When a process began: clock ticks since boot on Linux, else what ps(1) prints (lstart);
    empty when there is no such process.
    """
    if _LINUX:
        ticks = start_ticks(pid)
        return "" if ticks is None else str(ticks)
    argv = ["ps", "-o", "lstart=", "-p", str(pid)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return " ".join(done.stdout.split())


def select_tunnels(
    words: Collection[str], records: Collection[TunnelRecord]
) -> tuple[TunnelRecord, ...]:
    """The tunnels to the sessions in ``words`` (session or job ids); all for an empty one."""
    return tuple(r for r in records if not words or any(map(r.is_called, words)))


def _alive(record: HeldRecord) -> bool:
    return process_start(record.pid) == record.started


def here() -> HostIdentity:
    """Where this process runs."""
    return this_host() if _LINUX else HostIdentity("", platform.node(), "", "")


def _booted_at() -> float:
    return booted_at() if _LINUX else 0.0


def remove_record(folder: Path, id: str) -> None:
    """Remove a record, and the request for its end."""
    for name in (f"{id}.json", f"{id}.close"):
        with contextlib.suppress(OSError):
            (folder / name).unlink()
