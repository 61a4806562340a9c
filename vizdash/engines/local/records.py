"""The local engine's jobs: a record and the supervisor's PID file in each session's folder."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from vizdash.engines.local.machine import HostIdentity, boot_id, booted_at, start_ticks, this_host
from vizdash.model import JobRequest, Resources
from vizdash.util import checked_json
from vizdash.util.files import read_own, write_whole

_RECORD = "job.json"


@dataclass(frozen=True, slots=True)
class JobRecord:
    """The request of one job, when it began (seconds since the epoch), where it runs (see
    machine.HostIdentity), and the numbers of the GPUs it was given (``0,1``).
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
    def host_identity(self) -> HostIdentity:
        """Where the job runs."""
        return HostIdentity(self.machine, self.host, self.pid_space, self.boot)


def write_record(folder: Path, request: JobRequest, gpu_ids: str = "") -> JobRecord:
    """Put a new job's record into its folder. Raises OSError."""
    record = JobRecord(
        id=request.session_id,
        name=request.name,
        app=request.app,
        comment=request.comment,
        cores=request.resources.cores,
        memory_mib=request.resources.memory_mib,
        gpus=request.resources.gpus,
        time_s=request.resources.time_s,
        started_at=int(time.time()),
        **asdict(this_host()),
        gpu_ids=gpu_ids,
    )
    write_whole(folder / _RECORD, json.dumps(asdict(record)))
    return record


def extend_record(folder: Path, time_s: int) -> JobRecord | None:
    """Change a job's time limit, in seconds from its start: for its supervisor (its ``end``) and in
    its record, which is returned; None where there is none. Raises OSError.
    """
    record = checked_json.parse(read_own(folder / _RECORD), JobRecord)
    if record is None:
        return None
    record = replace(record, time_s=time_s)
    write_whole(folder / "end", f"{record.started_at + time_s}\n")
    write_whole(folder / _RECORD, json.dumps(asdict(record)))
    return record


def read_all(root: Path) -> Iterator[tuple[Path, JobRecord]]:
    """Every session folder that holds a readable record of ours, of a job of this machine.

    Another machine that shares the home folder has jobs there, too. Whether those live is not
    known here, so they are neither shown nor marked as ended.
    """
    if not root.is_dir():
        return
    here, booted = this_host(), booted_at()
    for folder in sorted(root.iterdir()):
        record = checked_json.parse(read_own(folder / _RECORD), JobRecord)
        if record is None or record.id != folder.name:
            continue
        if here.holds(record.host_identity, _seen_at(folder, record), booted, time.time()):
            yield folder, record


def _seen_at(folder: Path, record: JobRecord) -> float:
    """When the job last gave a sign of life, in seconds since the epoch."""
    try:
        return max(record.started_at, os.stat(folder / "supervisor").st_mtime)
    except OSError:
        return record.started_at


def supervisor(folder: Path) -> int | None:
    """The PID of the supervisor that runs this job now; None once it has ended.

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
    """Seconds since the record was written; infinite where it has been removed."""
    try:
        return time.time() - os.stat(folder / _RECORD).st_mtime
    except OSError:
        return float("inf")
