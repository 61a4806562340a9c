"""Sessions submitted by hand with a legacy app's script (``sbatch SCRIPT``)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import platformdirs

from vizdash.config import App, Config
from vizdash.engines.slurm import commands, parse
from vizdash.engines.slurm.sbatch_options import header_options
from vizdash.errors import NotFound, VizdashError
from vizdash.model import Job, JobState, Session, SessionState
from vizdash.sessions import listing
from vizdash.sessions.comment import Claim, decode
from vizdash.sessions.folder import Connection, Status
from vizdash.sessions.legacy_info_file import SESSION_ID, LegacyInfo, NodeFileReader
from vizdash.transport.base import CommandRunner
from vizdash.transport.node_ssh import NodeHosts
from vizdash.util.assets import job_script
from vizdash.util.files import make_private, read_own, write_whole

#: Seconds that a verb waits for nodes: to list such sessions, to find one of them, and to clean up
#: after one.
LIST_TIMEOUT_S, FIND_TIMEOUT_S, _CLEAN_S = 3.0, 20.0, 15.0
#: Seconds between two reads of an info file: while there is none (growing), and once it is ready.
_SOON_S, _LATER_S = 2.0, 30.0
#: Seconds that a job runs before a missing info file is reported.
_OVERDUE_S = 60
#: Reads at once.
_AT_ONCE = 4
_LOG_BYTES = 64 * 1024
#: The most jobs whose scripts are remembered.
_KEPT = 20_000


@dataclass(slots=True)
class _InfoRead:
    """The last read of one job's info file; ``at`` and ``began`` are monotonic seconds."""

    info: LegacyInfo | None = None
    error: str = ""
    at: float = float("-inf")
    began: float = float("-inf")
    tries: int = 0
    task: asyncio.Task[None] | None = None

    @property
    def due(self) -> bool:
        pause = _LATER_S
        if self.info is None or not self.info.listens:
            pause = min(_SOON_S * 1.5 ** max(0, self.tries - 1), _LATER_S)
        return self.task is None and time.monotonic() - self.at >= pause


@dataclass(frozen=True, slots=True)
class _Apps:
    """The legacy apps of a configuration, by the names that their jobs and scripts have; ``shared``
    are the job names of several.
    """

    config: Config | None = None
    jobs: dict[str, App] = field(default_factory=dict)
    scripts: dict[str, App] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)


class HandSubmittedSessions:
    """Sessions that users submitted without vizdash on a Slurm cluster. ``names`` remembers their
    SESSION_IDs (None: they are not remembered).
    """

    def __init__(
        self, runner: CommandRunner, hosts: NodeHosts, names: HandSubmittedIds | None = None
    ) -> None:
        self._runner = runner
        self._names = names
        self._hosts = hosts
        self._apps = _Apps()
        self._looks: dict[str, _InfoRead] = {}
        self._jobs: dict[str, Job] = {}
        #: The names of the scripts of the user's other jobs, by job.
        self._commands: dict[str, str] = {}
        #: The ids by which array tasks know themselves, by the ids that Slurm shows.
        self._own_ids: dict[str, str] = {}
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def sessions(
        self, config: Config, jobs: Iterable[Job], user: str, *, wait_s: float = 0
    ) -> tuple[Session, ...]:
        """The sessions of this kind among ``jobs``. Waits at most ``wait_s`` seconds for a first
        read.
        """
        await self._know_apps(config)
        if not self._apps.scripts:
            return ()
        strangers = [
            job
            for job in jobs
            if decode(job.comment) is None and not listing.app_from_job_name(job)
        ]
        await self._ask_commands(strangers, user)
        recognised = [(job, app) for job in strangers if (app := self._app(job, user))]
        self._jobs = {job.id: job for job, _ in recognised if job.user == user}
        if self._names is not None and self._jobs:
            await asyncio.to_thread(self._names.load)
        reader = NodeFileReader(self._runner, self._hosts, config.cluster.tunnel)
        self._start_reads(reader, both=wait_s > 0)
        await self._wait(wait_s)
        return _named_once([self._session(job, app, user) for job, app in recognised])

    async def job_names(self, config: Config) -> frozenset[str]:
        """The names by which other users' sessions of this kind are found."""
        await self._know_apps(config)
        return frozenset(self._apps.jobs)

    async def _know_apps(self, config: Config) -> None:
        if self._apps.config is not config:
            self._apps = await asyncio.to_thread(_apps_of, config)

    def has(self, session: Session) -> bool:
        """Whether the session is of this kind."""
        return session.job_id in self._jobs

    @property
    def is_reading(self) -> bool:
        """Whether a first read of an info file is still running."""
        return any(look.task is not None and look.info is None for look in self._looks.values())

    def connection(self, session: Session) -> Connection:
        """How to reach its desktop. Raises NotFound without an info file."""
        look, job = self._looks.get(session.job_id), self._jobs[session.job_id]
        if look is None or look.info is None:
            why = "its info file was not found" + (f": {look.error}" if look and look.error else "")
            raise NotFound(f"session {session.id}", why)
        app = self._app(job, job.user)
        return Connection(
            job_id=self._itself(job).id,
            node=job.nodes[0],
            node_ip=look.info.node_ip,
            port=look.info.port,
            web_socket="",
            password=app.vnc_password if app else "",
            started_at=look.info.started_at,
        )

    async def log(self, config: Config, session: Session, lines: int) -> str:
        """The last lines of its log, which scripts usually write on the node.

        Raises NotFound, with the file's name, where it can't be read.
        """
        job, what = self._jobs[session.job_id], f"log of {session.id}"
        if not job.node:
            raise NotFound(what, "the job has not begun")
        result = await self._runner.run(commands.show_job(job.id))
        path = parse.job_log(result.stdout)
        if result.code != 0 or not path:
            raise NotFound(what, "Slurm no longer knows where it is", "see the script's --output")
        reader = NodeFileReader(self._runner, self._hosts, config.cluster.tunnel)
        try:
            text = await reader.tail(self._itself(job), path, max(_LOG_BYTES, lines * 640))
        except VizdashError as e:
            raise NotFound(what, f"it is {path} on {job.nodes[0]}: {e.why or e.what}") from e
        return "\n".join(text.splitlines()[-lines:])

    async def clean(self, config: Config, session: Session, *, stopped: bool) -> None:
        """Remove the info file of a session that is stopped, since legacy scripts do not. Call it
        before and after stopping: where nodes accept no ssh, it needs a step of the job. A failure
        is ignored.
        """
        look, job = self._looks.get(session.job_id), self._jobs.get(session.job_id)
        if look is not None and look.info is None and look.task is not None:
            # The list, which found the session, did not wait for its node as long as this may.
            await asyncio.wait((look.task,), timeout=_CLEAN_S)
        if job is None or look is None or look.info is None:
            return
        if stopped == (look.info.route == "srun"):
            return
        reader = NodeFileReader(self._runner, self._hosts, config.cluster.tunnel)
        with contextlib.suppress(VizdashError, TimeoutError):
            async with asyncio.timeout(_CLEAN_S):
                await reader.remove(self._itself(job), look.info)

    async def close(self) -> None:
        """Cancel running reads."""
        tasks = [look.task for look in self._looks.values() if look.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------ which jobs

    def _app(self, job: Job, user: str) -> App | None:
        """The app that a job is a session of. Scripts of other users' jobs are not queried: any
        user may give a job any name, so that theirs are only shown.
        """
        script = self._commands.get(job.id, "") if job.user == user else ""
        return self._apps.scripts.get(script) or self._apps.jobs.get(job.name)

    def _itself(self, job: Job) -> Job:
        """The job with its own id (of an array task, not ``12_3``), which job steps need."""
        return replace(job, id=self._own_ids.get(job.id, job.id))

    async def _ask_commands(self, jobs: Collection[Job], user: str) -> None:
        """Query the scripts of the user's jobs whose names are no one app's, and the own ids of
        array tasks: once for each.
        """
        own = [j for j in jobs if j.user == user]
        known = self._apps.jobs.keys() - self._apps.shared
        unknown = {j.id for j in own if j.name not in known} - self._commands.keys()
        tasks = {j.id for j in own if _is_task(j) and not j.state.ended} - self._own_ids.keys()
        if not unknown and not tasks:
            return
        if len(self._commands) > _KEPT:
            self._commands.clear()
            self._own_ids.clear()
        self._commands |= dict.fromkeys(unknown, "")
        nonce = commands.new_nonce()
        with contextlib.suppress(VizdashError):
            result = await self._runner.run(commands.job_commands(nonce, user))
            for job_id, own_id, command in parse.job_commands(result.stdout, nonce):
                if job_id in tasks:
                    self._own_ids[job_id] = own_id
                if job_id in unknown:
                    self._commands[job_id] = PurePosixPath(command.split(" ")[0]).name

    # ------------------------------------------------------------------ their info files

    def _start_reads(self, reader: NodeFileReader, *, both: bool) -> None:
        """Start the reads that are due. A program that lists once and ends makes no later read, so
        that it tries ``both`` routes at once.
        """
        running = {id: job for id, job in self._jobs.items() if job.state is JobState.RUNNING}
        for gone in self._looks.keys() - self._jobs.keys():
            if (task := self._looks.pop(gone).task) is not None:
                task.cancel()
        for job in running.values():
            look = self._looks.setdefault(job.id, _InfoRead())
            if job.nodes and look.due:
                look.began = time.monotonic()
                look.task = asyncio.get_running_loop().create_task(
                    self._read(look, job, reader, both)
                )

    async def _read(self, look: _InfoRead, job: Job, reader: NodeFileReader, both: bool) -> None:
        try:
            async with self._gate:
                look.info = await reader.info(self._itself(job), both=both or look.tries >= 2)
            look.error = ""
            if look.info is not None and self._names is not None:
                await asyncio.to_thread(self._names.learn, job, look.info.session_id)
        except VizdashError as e:
            look.error = e.why or e.what
        finally:
            look.tries += 1
            look.at = time.monotonic()
            look.task = None

    async def _wait(self, wait_s: float) -> None:
        looks = [look for look in self._looks.values() if look.task is not None and not look.info]
        left = max((look.began + wait_s - time.monotonic() for look in looks), default=0.0)
        tasks = [look.task for look in looks if look.task is not None]
        if tasks and left > 0:
            await asyncio.wait(tasks, timeout=left)

    def _session(self, job: Job, app: App, user: str) -> Session:
        mine = job.user == user
        look = self._looks.get(job.id, _InfoRead()) if mine else _InfoRead()
        state, reason = "", ""
        if mine and job.state is JobState.RUNNING:
            state = "ready" if look.info and look.info.listens else "starting"
            overdue = job.start_at and time.time() - job.start_at > _OVERDUE_S
            if look.info is None and look.error:
                state, reason = "", f"its info file can't be read: {look.error}"
            elif look.info is None and overdue and look.tries > 2:
                state, reason = "", f"no info file of job {job.id} in /tmp of {job.node}"
        session_id = look.info.session_id if look.info else ""
        if mine and not session_id and self._names is not None:
            session_id = self._names.find(job)
        session_id = session_id or job.id
        claim = Claim(session_id, app.name, state=state, step="legacy")
        session = listing.session_from_job(job, claim, Status(state=state), mine=mine)
        if session.state is SessionState.UNKNOWN and reason:
            return replace(session, reason=reason)
        return session


def _apps_of(config: Config) -> _Apps:
    """The legacy apps of a configuration. Of a script that can't be read here, only the name
    counts.
    """
    apps = _Apps(config)
    for app in config.apps.values():
        if app.kind != "legacy":
            continue
        apps.scripts.setdefault(app.script, app)
        name = ""
        with contextlib.suppress(OSError, UnicodeDecodeError, NotFound):
            path = job_script(app.script, config.cluster.job_scripts)
            name = job_name(path.read_text(encoding="utf-8"))
        # A job has its script's name unless the script sets another (sbatch(1), --job-name).
        name = name or app.script
        if apps.jobs.setdefault(name, app) is not app:
            apps.shared.add(name)
    return apps


def _is_task(job: Job) -> bool:
    """Whether the job is one task of an array, ``12_3``."""
    return "_" in job.id and "[" not in job.id


def job_name(script: str) -> str:
    """The job name that a script's #SBATCH lines set; empty where they set none."""
    options = [option for _, option in header_options(script) if option.name == "job-name"]
    return (options[-1].value or "") if options else ""


def _named_once(sessions: Sequence[Session]) -> tuple[Session, ...]:
    """Users reuse SESSION_IDs. The id names the live session, else the one submitted last; earlier
    ended ones get their jobs' ids.
    """
    latest: dict[str, str] = {}
    for session in sorted(sessions, key=lambda s: (s.live, s.submitted_at or 0)):
        latest[session.id] = session.job_id
    return tuple(
        session
        if session.live or latest[session.id] == session.job_id
        else replace(session, id=session.job_id)
        for session in sessions
    )


#: The most SESSION_IDs that are remembered.
_MOST = 500


class HandSubmittedIds:
    """SESSION_IDs by job, in a file. Slurm may reuse a job id, so the time of submission (seconds
    since the epoch) counts, too. Errors in reading or writing are ignored.
    """

    def __init__(self, cluster: str, folder: Path | None = None) -> None:
        """For one cluster, in ``folder`` (else platformdirs' state)."""
        folder = folder or Path(platformdirs.user_state_dir("vizdash"))
        self._path = folder / f"by-hand-{cluster}.json"
        self._known: dict[str, tuple[str, int]] | None = None

    def load(self) -> None:
        """Read the file, once. Blocks."""
        if self._known is None:
            self._known = self._read()

    def find(self, job: Job) -> str:
        """The SESSION_ID of a job; empty where it is not known."""
        name, submit_at = (self._known or {}).get(job.id, ("", 0))
        return name if submit_at == (job.submit_at or 0) else ""

    def learn(self, job: Job, name: str) -> None:
        """Remember a new SESSION_ID. Blocks."""
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
