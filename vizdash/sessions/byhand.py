"""Sessions that were submitted by hand with the script of a legacy app: ``sbatch SCRIPT``.

Their jobs carry nothing of vizdash's. A job is one of them by its name, or by that of its script;
what it runs is known from the info file that it leaves on its node (see infofile.py). That file is
read in the background, seldom, and for the user's own jobs alone: no poll waits for a node.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from vizdash.config import App, Config
from vizdash.engines.slurm import commands, jobdetails
from vizdash.errors import NotFound, VizdashError
from vizdash.model import Job, JobState, Session, SessionState
from vizdash.resources import job_script
from vizdash.sessions import listing
from vizdash.sessions.comment import Claim, decode
from vizdash.sessions.folder import Connection, Status
from vizdash.sessions.handnames import HandNames
from vizdash.sessions.infofile import Info, NodeReader
from vizdash.transport.base import CommandRunner
from vizdash.transport.nodehosts import NodeHosts

#: Seconds that a verb waits for nodes: to list such sessions, to find one that is not listed
#: otherwise, and to tidy up after one.
LISTED_S, SOUGHT_S, _CLEAN_S = 3.0, 20.0, 5.0
#: Seconds between two looks for an info file: while there's none (growing), and once it is ready.
_SOON_S, _LATER_S = 2.0, 30.0
#: Seconds that a job runs before the absence of its info file is worth a word.
_OVERDUE_S = 60
#: Looks at once.
_AT_ONCE = 4
_LOG_BYTES = 64 * 1024
#: Jobs whose scripts are remembered.
_KEPT = 20_000


@dataclass(slots=True)
class _Look:
    """What was last seen of one job's info file; ``at`` and ``began`` are monotonic seconds."""

    info: Info | None = None
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
    """The legacy apps of a configuration, by the names that their jobs and scripts have."""

    config: Config | None = None
    jobs: dict[str, App] = field(default_factory=dict)
    scripts: dict[str, App] = field(default_factory=dict)


class ByHand:
    """The sessions of such jobs on a Slurm cluster. ``names`` remembers their SESSION_IDs (None:
    nothing does).
    """

    def __init__(
        self, runner: CommandRunner, hosts: NodeHosts, names: HandNames | None = None
    ) -> None:
        self._runner = runner
        self._names = names
        self._hosts = hosts
        self._apps = _Apps()
        self._looks: dict[str, _Look] = {}
        self._jobs: dict[str, Job] = {}
        #: The names of the scripts of the user's other jobs, by job.
        self._commands: dict[str, str] = {}
        #: The ids by which array tasks know themselves, by the ids that Slurm shows.
        self._own_ids: dict[str, str] = {}
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def sessions(
        self, config: Config, jobs: Iterable[Job], user: str, *, wait_s: float = 0
    ) -> tuple[Session, ...]:
        """Those among ``jobs``. A first look at a node is waited for ``wait_s`` seconds at most."""
        if self._apps.config is not config:
            self._apps = await asyncio.to_thread(_apps_of, config)
        if not self._apps.scripts:
            return ()
        strangers = [job for job in jobs if decode(job.comment) is None and not listing.app_of(job)]
        await self._ask_commands(strangers, user)
        found = [(job, app) for job in strangers if (app := self._app(job, user))]
        self._jobs = {job.id: job for job, _ in found if job.user == user}
        if self._names is not None and self._jobs:
            await asyncio.to_thread(self._names.load)
        reader = NodeReader(self._runner, self._hosts, config.cluster.tunnel)
        self._look(reader)
        await self._wait(wait_s)
        return _named_once([self._session(job, app, user) for job, app in found])

    def has(self, session: Session) -> bool:
        """Whether it is one of them."""
        return session.job_id in self._jobs

    @property
    def looking(self) -> bool:
        """Whether something may be known soon that is not known yet."""
        return any(look.task is not None and look.info is None for look in self._looks.values())

    def connection(self, session: Session) -> Connection:
        """How to reach its desktop. Raises NotFound where its info file was not found."""
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
        """The end of its log, which its script has on its node as a rule.

        Raises NotFound, naming the file, where it can't be read.
        """
        job, what = self._jobs[session.job_id], f"log of {session.id}"
        if not job.node:
            raise NotFound(what, "the job has not begun")
        result = await self._runner.run(commands.show_job(job.id))
        path = jobdetails.job_log(result.stdout)
        if result.code != 0 or not path:
            raise NotFound(what, "Slurm no longer knows where it is", "see the script's --output")
        reader = NodeReader(self._runner, self._hosts, config.cluster.tunnel)
        try:
            text = await reader.tail(self._itself(job), path, max(_LOG_BYTES, lines * 640))
        except VizdashError as e:
            raise NotFound(what, f"it is {path} on {job.nodes[0]}: {e.why or e.what}") from e
        return "\n".join(text.splitlines()[-lines:])

    async def clean(self, config: Config, session: Session, *, stopped: bool) -> None:
        """Remove the info file of a session that is stopped, which no script of the legacy kind
        does then. To be called before and after that: where nodes take no ssh, a step of the job is
        needed for it. Nothing is said where it fails.
        """
        look, job = self._looks.get(session.job_id), self._jobs.get(session.job_id)
        if job is None or look is None or look.info is None:
            return
        if stopped == (look.info.route == "srun"):
            return
        reader = NodeReader(self._runner, self._hosts, config.cluster.tunnel)
        with contextlib.suppress(VizdashError, TimeoutError):
            async with asyncio.timeout(_CLEAN_S):
                await reader.remove(self._itself(job), look.info)

    async def close(self) -> None:
        """End the looks that are under way."""
        tasks = [look.task for look in self._looks.values() if look.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------ which jobs

    def _app(self, job: Job, user: str) -> App | None:
        """The app that a job is a session of. Other people's scripts are not looked up: anybody
        may give a job any name, so that theirs are no more than shown.
        """
        if app := self._apps.jobs.get(job.name):
            return app
        return self._apps.scripts.get(self._commands.get(job.id, "")) if job.user == user else None

    def _itself(self, job: Job) -> Job:
        """The job under the id that it knows of itself, and that a step of it can be asked for."""
        return replace(job, id=self._own_ids.get(job.id, job.id))

    async def _ask_commands(self, jobs: Collection[Job], user: str) -> None:
        """Find out the scripts of the user's jobs that have other names, and the own ids of array
        tasks: asked once for each.
        """
        own = [j for j in jobs if j.user == user]
        unknown = {j.id for j in own if j.name not in self._apps.jobs} - self._commands.keys()
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
            for job_id, own_id, command in jobdetails.job_commands(result.stdout, nonce):
                if job_id in tasks:
                    self._own_ids[job_id] = own_id
                if job_id in unknown:
                    self._commands[job_id] = PurePosixPath(command.split(" ")[0]).name

    # ------------------------------------------------------------------ their info files

    def _look(self, reader: NodeReader) -> None:
        """Begin the looks that are due."""
        running = {id: job for id, job in self._jobs.items() if job.state is JobState.RUNNING}
        for gone in self._looks.keys() - self._jobs.keys():
            if (task := self._looks.pop(gone).task) is not None:
                task.cancel()
        for job in running.values():
            look = self._looks.setdefault(job.id, _Look())
            if job.nodes and look.due:
                look.began = time.monotonic()
                look.task = asyncio.get_running_loop().create_task(self._read(look, job, reader))

    async def _read(self, look: _Look, job: Job, reader: NodeReader) -> None:
        try:
            async with self._gate:
                look.info = await reader.info(self._itself(job), both=look.tries >= 2)
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
        look = self._looks.get(job.id, _Look()) if mine else _Look()
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
        session = listing.session_of(job, claim, Status(state=state), mine=mine)
        if session.state is SessionState.UNKNOWN and reason:
            return replace(session, reason=reason)
        return session


def _apps_of(config: Config) -> _Apps:
    """The legacy apps; a script that can't be read here gives its own name alone."""
    found = _Apps(config)
    for app in config.apps.values():
        if app.kind != "legacy":
            continue
        found.scripts.setdefault(app.script, app)
        name = ""
        with contextlib.suppress(OSError, UnicodeDecodeError, NotFound):
            path = job_script(app.script, config.cluster.job_scripts)
            name = job_name(path.read_text(encoding="utf-8"))
        # A job is called as its script unless that says otherwise (sbatch(1), --job-name).
        found.jobs.setdefault(name or app.script, app)
    return found


def _is_task(job: Job) -> bool:
    """Whether it is one task of an array, ``12_3``."""
    return "_" in job.id and "[" not in job.id


def job_name(script: str) -> str:
    """The name that a job script's #SBATCH lines give its job; empty where they give none."""
    name = ""
    for line in script.splitlines():
        if line.strip() and not line.startswith("#"):
            break  # sbatch reads no further than the first command
        if not line.startswith("#SBATCH"):
            continue
        with contextlib.suppress(ValueError):
            words = shlex.split(line[len("#SBATCH") :], comments=True)
            for word, following in zip(words, [*words[1:], ""], strict=True):
                option, equals, value = word.partition("=")
                if option in {"--job-name", "-J"}:
                    name = value if equals else following
                elif word.startswith("-J"):
                    name = word[2:]
    return name


def _named_once(sessions: Sequence[Session]) -> tuple[Session, ...]:
    """People use a SESSION_ID again and again: it is that of the one that lives, else of the one
    submitted last; ended ones before it are known by their jobs' ids.
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
