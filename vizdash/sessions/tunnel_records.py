"""Records of the tunnels that this user holds open on this machine, one 0600 file for each.

They let one vizdash find, show and close the tunnels of another. A record counts only while the
process that it names lives: its PID and its start time are compared, so a reused PID is never taken
for it, and records of dead processes are removed by whoever reads them. To have a tunnel closed, a
file ``ID.close`` is put beside its record and the process gets SIGUSR1.
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
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path

import platformdirs

from vizdash.engines.local.machine import Place, booted_at, place, start_ticks
from vizdash.errors import Refused, TimedOut
from vizdash.fileaccess import FileAccess, try_briefly
from vizdash.files import check_private, make_private, read_own, write_whole
from vizdash.model import Session
from vizdash.sessions.routes import Route

#: Seconds that another process has for closing a tunnel; over a slow link this takes a while.
_CLOSE_S = 30.0
_POLL_S = 0.05
_LINUX = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class TunnelRecord:
    """One open tunnel. ``address`` is where it listens (no secret), ``port`` its TCP port (0 for a
    Unix socket), ``holder`` what holds it ("dashboard", "open" or "background"). ``started`` is
    when process ``pid`` began, as the system gives it; ``opened_at`` is in seconds since the epoch;
    the last four are those of machine.Place.
    """

    id: str
    session: str
    job_id: str
    app: str
    node: str
    cluster: str
    address: str
    port: int
    holder: str
    pid: int
    started: str
    opened_at: int
    machine: str
    host: str
    pid_space: str
    boot: str

    @property
    def place(self) -> Place:
        """Where its process runs."""
        return Place(self.machine, self.host, self.pid_space, self.boot)

    def is_called(self, word: str) -> bool:
        """Whether ``word`` is its session's id or job."""
        return word in {self.session, self.job_id}


def tunnels_folder() -> Path:
    """Where the records are (~/.local/state/vizdash/tunnels on Linux)."""
    return Path(platformdirs.user_state_dir("vizdash")) / "tunnels"


def read_tunnels(folder: Path) -> tuple[TunnelRecord, ...]:
    """The tunnels of this user on this machine, oldest first. Records whose process has ended are
    removed; those of other machines that share the folder are left alone.
    """
    try:
        check_private(folder)
        files = sorted(folder.glob("*.json"))
    except OSError:
        return ()
    here, booted = _here(), _booted_at()
    found = []
    for file in files:
        record = _parse(read_own(file) or "")
        if record is None or record.id != file.stem:
            continue
        if not here.holds(record.place, record.opened_at, booted):
            continue
        if record.started and process_start(record.pid) == record.started:
            found.append(record)
        else:
            _remove(folder, record.id)
    return tuple(sorted(found, key=lambda r: (r.opened_at, r.cluster, r.job_id, r.id)))


async def close_tunnel(record: TunnelRecord, folder: Path) -> None:
    """Have the process of ``record`` close it, and wait until it has.

    Raises Refused when it can't be asked, TimedOut when it doesn't answer.
    """
    what = f"tunnel to session {record.session}"
    mend = f"end its process: kill {record.pid}"
    if not await asyncio.to_thread(_alive, record):
        await asyncio.to_thread(_remove, folder, record.id)
        return
    try:
        await asyncio.to_thread(write_whole, folder / f"{record.id}.close", "")
        os.kill(record.pid, signal.SIGUSR1)
    except OSError as e:
        raise Refused(what, f"{e.filename or f'process {record.pid}'}: {e.strerror}", mend) from e
    try:
        async with asyncio.timeout(_CLOSE_S):
            while await asyncio.to_thread((folder / f"{record.id}.json").exists):
                if not await asyncio.to_thread(_alive, record):
                    await asyncio.to_thread(_remove, folder, record.id)
                await asyncio.sleep(_POLL_S)
    except TimeoutError as e:
        with contextlib.suppress(OSError):
            (folder / f"{record.id}.close").unlink()
        why = f"process {record.pid} has not closed it within {_CLOSE_S:g} s"
        raise TimedOut(what, why, mend) from e


class HeldTunnels:
    """The tunnels that this process holds for one cluster, and their records.

    A record that can't be written (a full home) is no reason to refuse a tunnel: it is not listed
    elsewhere then.
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
        """Record a route of this process until it is closed. A direct one is no tunnel."""
        if route.kind == "direct":
            return
        record = self._record(session, route)
        self._held[record.id] = (record, route)
        route.on_close = partial(self._drop, record.id)
        await try_briefly(partial(self._write, record))

    def adopt(self, holder: str) -> None:
        """After a fork: this process holds them now."""
        self.holder = holder
        pid, started = os.getpid(), process_start(os.getpid())
        for id, (record, route) in self._held.items():
            new = replace(record, pid=pid, started=started, holder=holder)
            self._held[id] = (new, route)
            self._write(new)

    async def elsewhere(self) -> tuple[TunnelRecord, ...]:
        """This user's other tunnels on this machine: of other processes, or to other clusters."""
        found = await self._files.run(read_tunnels, self._folder)
        return tuple(record for record in found if record.id not in self._held)

    async def close_elsewhere(self, id: str) -> None:
        """Close one of ``elsewhere`` by its record's id. Raises as ``close_tunnel`` does."""
        for record in await self.elsewhere():
            if record.id == id:
                await close_tunnel(record, self._folder)

    def close_requested(self) -> None:
        """Close the tunnels that another process wants closed (SIGUSR1)."""
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
        here = _here()
        return TunnelRecord(
            id=secrets.token_hex(8),
            session=session.id,
            job_id=session.job_id,
            app=session.app,
            node=session.node,
            cluster=self._cluster,
            address=route.end,
            port=0 if route.kind == "handoff" else route.port,
            holder=self.holder,
            pid=os.getpid(),
            started=process_start(os.getpid()),
            opened_at=int(time.time()),
            **asdict(here),
        )

    def _write(self, record: TunnelRecord) -> None:
        with contextlib.suppress(OSError):
            make_private(self._folder)
            check_private(self._folder)
            write_whole(self._folder / f"{record.id}.json", json.dumps(asdict(record)))

    async def _drop(self, id: str) -> None:
        if self._held.pop(id, None) is not None:
            await try_briefly(partial(_remove, self._folder, id))


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
    """Those of the sessions in ``words`` (ids or jobs), or all where it is empty."""
    return tuple(r for r in records if not words or any(map(r.is_called, words)))


def _alive(record: TunnelRecord) -> bool:
    return process_start(record.pid) == record.started


def _here() -> Place:
    return place() if _LINUX else Place("", platform.node(), "", "")


def _booted_at() -> float:
    return booted_at() if _LINUX else 0.0


def _remove(folder: Path, id: str) -> None:
    for name in (f"{id}.json", f"{id}.close"):
        with contextlib.suppress(OSError):
            (folder / name).unlink()


def _parse(text: str) -> TunnelRecord | None:
    """A record, if every value has its type: the file may be another version's, or damaged."""
    try:
        record = TunnelRecord(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return None
    right = all(type(getattr(record, f.name)).__name__ == f.type for f in fields(record))
    return record if right else None
