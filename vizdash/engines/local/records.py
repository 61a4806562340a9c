"""The local engine's jobs: a record in each session's folder, and the supervisor's mark."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from vizdash.engines.local.machine import Place, boot_id, booted_at, place, start_ticks
from vizdash.files import read_own, write_whole
from vizdash.model import JobRequest, Resources

_RECORD = "job.json"


@dataclass(frozen=True, slots=True)
class Record:
    """What was asked of one job, when it began (seconds since the epoch), where it runs (see
    machine.Place), and the numbers of the GPUs it was given (``0,1``).
    """

    id: str
    name: str
    app: str
    comment: str
    cores: int
    memory_mib: int
    gpus: int
    time_s: int
    started_at: int
    machine: str
    host: str
    pid_space: str
    boot: str
    gpu_ids: str

    @property
    def resources(self) -> Resources:
        """What the job holds while it runs."""
        return Resources(self.cores, self.memory_mib, self.gpus, self.time_s)

    @property
    def place(self) -> Place:
        """Where the job runs."""
        return Place(self.machine, self.host, self.pid_space, self.boot)


def write(folder: Path, request: JobRequest, gpu_ids: str = "") -> Record:
    """Put a new job's record into its folder. Raises OSError."""
    record = Record(
        id=request.session_id,
        name=request.name,
        app=request.app,
        comment=request.comment,
        cores=request.resources.cores,
        memory_mib=request.resources.memory_mib,
        gpus=request.resources.gpus,
        time_s=request.resources.time_s,
        started_at=int(time.time()),
        **asdict(place()),
        gpu_ids=gpu_ids,
    )
    write_whole(folder / _RECORD, json.dumps(asdict(record)))
    return record


def extended(folder: Path, time_s: int) -> Record | None:
    """Change a job's time limit, in seconds from its start: for its supervisor (its ``end``) and in
    its record, which is returned; None where there is none. Raises OSError.
    """
    record = _record(read_own(folder / _RECORD) or "")
    if record is None:
        return None
    record = replace(record, time_s=time_s)
    write_whole(folder / "end", f"{record.started_at + time_s}\n")
    write_whole(folder / _RECORD, json.dumps(asdict(record)))
    return record


def read_all(root: Path) -> Iterator[tuple[Path, Record]]:
    """Every session folder that holds a readable record of ours, of a job of this machine.

    Another machine that has the same home folder has jobs there too: whether those live can't
    be told from here, so they are neither shown nor buried.
    """
    if not root.is_dir():
        return
    here, booted = place(), booted_at()
    for folder in sorted(root.iterdir()):
        text = read_own(folder / _RECORD)
        if text is None:
            continue
        record = _record(text)
        if record is None or record.id != folder.name:
            continue
        if here.holds(record.place, _seen_at(folder, record), booted, time.time()):
            yield folder, record


def _seen_at(folder: Path, record: Record) -> float:
    """When the job last gave a sign of life, in seconds since the epoch."""
    try:
        return max(record.started_at, os.stat(folder / "supervisor").st_mtime)
    except OSError:
        return record.started_at


def _record(text: str) -> Record | None:
    """A record, if every value has its type: the file may be another version's, or damaged."""
    try:
        record = Record(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return None
    right = all(type(getattr(record, f.name)).__name__ == f.type for f in fields(record))
    return record if right else None


def supervisor(folder: Path) -> int | None:
    """The PID of the supervisor that runs this job now; None when it runs no more.

    The start time and the boot's id are compared too, so a reused PID is never taken for it.
    """
    words = (read_own(folder / "supervisor") or "").split()
    if len(words) != 3 or not all(re.fullmatch(r"[0-9]{1,18}", word) for word in words[:2]):
        return None
    pid, ticks, boot = int(words[0]), int(words[1]), words[2]
    if boot != boot_id() or start_ticks(pid) != ticks:
        return None
    return pid


def age_s(folder: Path) -> float:
    """Seconds since the record was written; without end when it has gone meanwhile."""
    try:
        return time.time() - os.stat(folder / _RECORD).st_mtime
    except OSError:
        return float("inf")
