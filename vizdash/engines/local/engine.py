"""Runs sessions on this machine: at once or not at all, detached, with a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from typing_extensions import override

from vizdash.engines.base import Engine, EngineInfo
from vizdash.engines.local import machine, records
from vizdash.errors import NotFound, Refused, TimedOut, UsageError
from vizdash.model import Gres, Job, JobRequest, JobState, Node, Partition, Reservation
from vizdash.util.assets import assets
from vizdash.util.files import FileAccess, account_name, locked, read_own, write_whole
from vizdash.util.text import plural
from vizdash.util.units import format_comparison, format_memory

PARTITION = "local"
_WARN_S = 300
#: Bytes without which a session cannot write its state.
_SMALLEST_ROOM = 256 << 10
#: Ended jobs are listed this long, in seconds (Slurm's MinJobAge serves the same end).
_REMEMBER_S = 3600
#: Seconds that a new supervisor has to say who it is: the machine may be a busy one.
_HATCH_S = 20.0
#: Seconds from a cancel to the supervisor's own end: its grace and some.
_CANCEL_S = 30.0
#: Becomes bash as the subreaper of what it starts (prctl(2), PR_SET_CHILD_SUBREAPER, kept over
#: exec but not over fork): a daemon's orphans stay below the supervisor, which ends them. Signals
#: that Python ignores (library/signal, "SIGPIPE"), or a shell that runs vizdash in the background,
#: or nohup(1), would be ignored by all programs of the session.
_ADOPT = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execvp("bash", ["bash", "-p", *sys.argv[1:]])
"""
_RESULTS = {
    "finished": JobState.COMPLETED,
    "idle": JobState.COMPLETED,
    "cancelled": JobState.CANCELLED,
    "timed-out": JobState.TIMEOUT,
    "failed": JobState.FAILED,
}


class LocalEngine(Engine):
    """Runs jobs on this machine. ``root`` is the folder that holds a folder for each session."""

    name = "local"

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = FileAccess(str(root))

    @override
    async def info(self) -> EngineInfo:
        """This machine, and the user who runs vizdash."""
        return EngineInfo(
            name=self.name,
            cluster=platform.node(),
            version=platform.release(),
            user=account_name(),
            job_retention_s=_REMEMBER_S,
        )

    @override
    async def nodes(self) -> tuple[Node, ...]:
        """This machine as one node; the resources of this user's sessions count as allocated."""
        return (await self._files.run(self._node),)

    @override
    async def partitions(self) -> tuple[Partition, ...]:
        """One partition, without limits."""
        return (Partition(PARTITION, default=True, nodes=(platform.node(),)),)

    @override
    async def reservations(self) -> tuple[Reservation, ...]:
        """No reservations."""
        return ()

    @override
    async def jobs(self, *, user: str | None = None, partition: str = "") -> tuple[Job, ...]:
        """This user's jobs, running and recently ended."""
        return await self._files.run(lambda: tuple(self._jobs()))

    @override
    async def submit(self, request: JobRequest) -> str:
        """Start the job now. Raises Refused, with the numbers, when it does not fit, or when
        its files can't be written; UsageError for what only Slurm can give.
        """
        _only_slurm(request)
        folder = self._root / request.session_id
        try:
            await asyncio.to_thread(self._start, folder, request)
        except (OSError, subprocess.CalledProcessError) as e:
            why = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
            name = getattr(e, "filename", None) or folder
            raise Refused(f"{request.app} was not started: {name}", why, "check your home") from e
        deadline = time.monotonic() + _HATCH_S
        while not await self._files.run(_hatched, folder):
            if time.monotonic() > deadline:
                raise TimedOut("the session's supervisor", "it did not start", "see `vizdash logs`")
            await asyncio.sleep(0.01)
        return request.session_id

    @override
    async def expected_start(self, request: JobRequest) -> int | None:
        """None: it would start at once. Raises Refused where ``submit`` would: nothing waits."""
        _only_slurm(request)
        await self._files.run(self._check, request)
        return None

    @override
    async def cancel(self, job_id: str) -> None:
        """Cancel the job and wait until nothing of it is left."""
        folder = self._root / job_id
        if await self._files.run(read_own, folder / "job.json") is None:
            raise NotFound(f"session {job_id}", "no such job on this machine")
        while (pid := await self._files.run(records.supervisor, folder)) is None:
            if not await self._files.run(_live, folder):
                return
            await asyncio.sleep(0.05)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _CANCEL_S
        while await self._files.run(records.supervisor, folder) is not None:
            if time.monotonic() > deadline:
                raise TimedOut(f"session {job_id}", f"it did not end in {_CANCEL_S:g} s")
            await asyncio.sleep(0.05)

    @override
    async def history(self, *, since_s: int, user: str | None = None) -> tuple[Job, ...]:
        """Ended jobs, as long as their folders are kept."""
        recent = await self._files.run(lambda: tuple(self._jobs(since_s)))
        return tuple(job for job in recent if job.state.ended)

    @override
    async def drain(self, node: str, reason: str) -> None:
        """Raises Refused: this machine has no scheduler."""
        raise Refused(f"node {node} was not drained", "this machine has no Slurm")

    @override
    async def resume(self, node: str) -> None:
        """Raises Refused: this machine can't be drained."""
        raise Refused(f"node {node} was not resumed", "this machine has no Slurm")

    @override
    async def set_time_limit(self, job_id: str, time_s: int) -> None:
        """Change the limit in the job's folder; its supervisor reads the new end within 30 s."""
        what = f"the time limit of session {job_id} was not changed"
        try:
            there = await self._files.run(self._set_end, self._root / job_id, time_s)
        except OSError as e:
            name = e.filename or self._root / job_id
            raise Refused(what, f"{name}: {e.strerror or e}", "check your home") from e
        if not there:
            raise Refused(what, "it has ended")

    def _set_end(self, folder: Path, time_s: int) -> bool:
        """Whether it still runs."""
        with locked(self._root / ".lock"):
            if not _live(folder) or records.extend_record(folder, time_s) is None:
                return False
            return _live(folder)

    @override
    async def set_comment(self, job_id: str, comment: str) -> None:
        """Raises Refused: this machine has only your own sessions."""
        raise Refused(f"no note for session {job_id}", "no one else would read it on this machine")

    @override
    async def send_message(self, job_id: str, text: str, comment: str) -> None:
        """Show ``text`` through the pipe that the session reads."""
        await self._files.run(self._tell, job_id, text)

    def _tell(self, job_id: str, text: str) -> None:
        folder = self._root / job_id
        lines = (read_own(folder / "connection") or "").splitlines()
        runtime = dict(line.split("=", 1) for line in lines if "=" in line).get("RUNTIME_DIR", "")
        try:
            handle = os.open(f"{runtime}/warn", os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError as e:
            raise Refused(f"session {job_id} got no message", "it shows no messages") from e
        with os.fdopen(handle, "w", encoding="utf-8") as pipe:
            pipe.write(f"Message: {text}\n")

    def _jobs(self, remember_s: int = _REMEMBER_S) -> Iterator[Job]:
        now = int(time.time())
        for folder, record in records.read_all(self._root):
            alive = records.supervisor(folder) is not None
            status = _status(folder)  # read last: it says how it ended before it goes
            if not alive and status.get("STATE") != "ended":
                if _hatching(folder):
                    alive = True
                else:
                    status = self._bury(folder, record)
            if not alive and now - _number(status.get("UPDATED", "")) > remember_s:
                continue
            yield _job(record, status, alive=alive, now=now)

    def _bury(self, folder: Path, record: records.JobRecord) -> dict[str, str]:
        """The supervisor was killed, or the machine restarted: end what's left, and say so."""
        sweep = assets() / "jobs" / "sweep.sh"
        subprocess.run(["bash", "-p", str(sweep), record.id], check=False, capture_output=True)
        known = _status(folder)
        error = "the session's supervisor was killed, or the machine restarted"
        if _is_full(folder):  # checked before what is left is removed
            error = f"the session's supervisor ended: No space left on device for {folder}"
        status = {  # nothing is replaced by less
            "NODE": platform.node(),
            "JOB_ID": record.id,
            "READY": "",
            **known,
            "STATE": "ended",
            "STEP": known.get("STEP", ""),
            "ERROR": error,
            "RESULT": "failed",
            "UPDATED": str(int(time.time())),
        }
        # A home that is full or unavailable must not hide the rest: the next query tries again.
        try:
            for left in ("connection", ".connection.reserve", ".status.reserve"):
                (folder / left).unlink(missing_ok=True)
            write_whole(folder / "status", "".join(f"{k}={v}\n" for k, v in status.items()))
        except OSError as e:
            status["ERROR"] = f"its end could not be written to {folder}: {e.strerror}"
        return status

    def _node(self) -> Node:
        held = [r.resources for f, r in records.read_all(self._root) if _live(f)]
        about = machine.read_machine()
        # What other programs use is as little free as what sessions hold.
        used = about.memory_mib - about.memory_available_mib
        memory = min(about.memory_mib, max(used, sum(r.memory_mib for r in held)))
        gpus = (Gres("gpu", "", about.gpus, sum(r.gpus for r in held)),) if about.gpus else ()
        cores = min(about.cores, sum(r.cores for r in held))
        state = "ALLOCATED" if cores == about.cores else "MIXED" if held else "IDLE"
        return Node(
            name=platform.node(),
            state=state,
            cores=about.cores,
            cores_alloc=cores,
            memory_mib=about.memory_mib,
            memory_alloc_mib=memory,
            gres=gpus,
            partitions=(PARTITION,),
            os_load=about.load,
            address="127.0.0.1",
        )

    def _start(self, folder: Path, request: JobRequest) -> None:
        """Check and start under one lock, so that two starts can't take the same capacity."""
        with locked(self._root / ".lock"):
            self._check(request)
            gpu_ids = ",".join(self._free_gpus()[: request.resources.gpus])
            records.write_record(folder, request, gpu_ids)
            write_whole(folder / "script", request.script)
            jobs = assets() / "jobs"
            argv = ["setsid", "--fork", sys.executable, "-I", "-S", "-c", _ADOPT]
            argv += [str(jobs / "supervise.sh"), str(folder), request.session_id]
            argv += [str(request.resources.time_s), str(_WARN_S), str(jobs / "sweep.sh")]
            environment = _environment() | {"VIZDASH_SUPERVISOR_OF": request.session_id}
            if gpu_ids:  # as slurmd does
                environment["CUDA_VISIBLE_DEVICES"] = gpu_ids
            home = Path.home()
            with open(request.output, "ab") as log:
                if stat.S_ISREG(os.fstat(log.fileno()).st_mode):
                    os.fchmod(log.fileno(), 0o600)  # whatever the umask
                subprocess.run(
                    argv,
                    check=True,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # Without a home, the job makes its own beside the session folders.
                    cwd=home if home.is_dir() else "/",
                    env=environment,
                )

    def _free_gpus(self) -> list[str]:
        live = (r for f, r in records.read_all(self._root) if _live(f))
        held = {number for record in live for number in record.gpu_ids.split(",")}
        return [str(i) for i in machine.read_machine().gpu_ids if str(i) not in held]

    def _check(self, request: JobRequest) -> None:
        node, wanted = self._node(), request.resources
        short = []
        if wanted.cores > node.cores_free:
            asked = plural(wanted.cores, "core")
            short.append(f"{asked} requested, {node.cores_free} of {node.cores} free")
        if wanted.memory_mib > node.memory_free_mib:
            asked, free = format_comparison(wanted.memory_mib, node.memory_free_mib)
            short.append(f"{asked} requested, {free} of {format_memory(node.memory_mib)} free")
        if wanted.gpus > node.gpus_free:
            asked = plural(wanted.gpus, "GPU")
            short.append(f"{asked} requested, {node.gpus_free} of {node.gpus} free")
        if short:
            what = "not enough free capacity on this machine"
            raise Refused(what, "; ".join(short), "request less, or stop a session")


#: What a job of this machine keeps of vizdash's environment; under Slurm it keeps nothing.
_KEPT = ("HOME", "PATH", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "MODULEPATH")


def _environment() -> dict[str, str]:
    """The environment of a new session. One that is started from another session's desktop takes
    over nothing of that session's folder, which is removed when it ends.
    """
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {"USER": account_name(), "LOGNAME": account_name()}
    if other := os.environ.get("VIZDASH_RUNTIME_DIR"):
        if environment.get("TMPDIR", "").startswith(f"{other}/"):
            del environment["TMPDIR"]
        paths = environment.get("PATH", "").split(":")
        environment["PATH"] = ":".join(path for path in paths if not path.startswith(f"{other}/"))
    return environment


def _only_slurm(request: JobRequest) -> None:
    """What would be passed over in silence is refused instead."""
    asked = {
        "--reservation": request.reservation,
        "--constraint": request.constraint,
        "sbatch's arguments": " ".join(request.extra),
    }
    for what, value in asked.items():
        if value:
            raise UsageError(f"{what} {value}", "this machine has no Slurm", "leave it out")


def _hatched(folder: Path) -> bool:
    """Whether its supervisor has said who it is, or is over already."""
    return records.supervisor(folder) is not None or _ended(folder)


def _live(folder: Path) -> bool:
    if records.supervisor(folder) is not None:
        return True
    return not _ended(folder) and _hatching(folder)


def _hatching(folder: Path) -> bool:
    """Whether the supervisor may still be about to say who it is."""
    return not (folder / "supervisor").exists() and records.age_s(folder) < _HATCH_S


def _ended(folder: Path) -> bool:
    return _status(folder).get("STATE") == "ended"


def _is_full(folder: Path) -> bool:
    """Whether its file system has no room for the files of a session."""
    try:
        about = os.statvfs(folder)
    except OSError:
        return False
    # One that counts no blocks at all does not say how full it is.
    return about.f_blocks > 0 and about.f_bavail * about.f_frsize < _SMALLEST_ROOM


def _status(folder: Path) -> dict[str, str]:
    text = read_own(folder / "status") or ""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else 0


def _job(record: records.JobRecord, status: dict[str, str], *, alive: bool, now: int) -> Job:
    state = JobState.RUNNING if alive else _RESULTS.get(status.get("RESULT", ""), JobState.FAILED)
    claimed = status.get("STATE") or "starting"
    comment = f"{record.comment.partition(' state=')[0]} state={claimed}"
    comment += f" step={status.get('STEP') or '-'}"
    if status.get("VIEWERS"):
        comment += f" viewers={status['VIEWERS']} since={status.get('SINCE') or '-'}"
    if status.get("IMAGE_DIGEST"):
        comment += f" digest={status['IMAGE_DIGEST']}"
    return Job(
        id=record.id,
        user=account_name(),
        name=record.name,
        state=state,
        partition=PARTITION,
        node=platform.node(),
        cores=record.cores,
        memory_mib=record.memory_mib,
        gres=f"gpu:{record.gpus}" if record.gpus else "",
        time_limit_s=record.time_s,
        time_left_s=max(0, record.started_at + record.time_s - now) if alive else 0,
        start_at=record.started_at,
        submit_at=record.started_at,
        end_at=int(status.get("UPDATED") or 0) or None if state.ended else None,
        comment=comment,
    )
