"""Jobs to sessions: which jobs are sessions, and what a job, its comment and its node report."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from vizdash.engines.slurm import commands, parse
from vizdash.engines.slurm.reasons import NO_LOG, NON_ZERO_EXIT
from vizdash.errors import VizdashError
from vizdash.model import SERVICE_KINDS, Job, JobState, Resources, Session, SessionState
from vizdash.model.node import gpu_count
from vizdash.model.version import version_key
from vizdash.sessions import comment
from vizdash.sessions.comment import Claim, decode, encode
from vizdash.sessions.folder import Status, job_record
from vizdash.sessions.folder_store import SessionStore
from vizdash.sessions.legacy_info_file import NodeFileReader
from vizdash.transport.base import CommandRunner
from vizdash.transport.node_ssh import NodeHosts


class SessionIdentifier:
    """Finds the sessions of jobs whose comments do not name them, by the session folders. Remembers
    the results: folders are read again only when an unknown job appears.
    """

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        #: By the id and the name of the job: the number alone may become another job's.
        self._comments: dict[_JobKey, str] = {}
        self._strangers: set[_JobKey] = set()

    async def identify(self, jobs: Iterable[Job], user: str, cluster: str) -> tuple[Job, ...]:
        """``jobs`` of ``cluster``; those of ``user`` that a session folder names get their
        session's claim.

        Raises Unreachable or TimedOut.
        """
        all_jobs = tuple(jobs)
        unclaimed = {
            (job.id, job.name): job
            for job in all_jobs
            if job.user == user and decode(job.comment) is None
        }
        self._strangers &= unclaimed.keys()
        unknown = unclaimed.keys() - self._comments.keys() - self._strangers
        if unknown:
            open_ids = await self._read_comments([unclaimed[key] for key in unknown], cluster)
            # A job with vizdash's name may be one whose folder does not name it yet.
            later = {
                (job.id, job.name)
                for job in unclaimed.values()
                if not job.state.ended and (app_from_job_name(job) or job.id in open_ids)
            }
            self._strangers |= unknown - self._comments.keys() - later
        return tuple(
            replace(job, comment=text)
            if unclaimed.get(key := (job.id, job.name)) is job and (text := self._comments.get(key))
            else job
            for job in all_jobs
        )

    async def _read_comments(self, jobs: Collection[Job], cluster: str) -> set[str]:
        """Find the claims of ``jobs``. Returns the job ids in folders that are not final."""
        wanted = {job.id for job in jobs}
        named = {id: job for id, job in (await self._store.job_ids()).items() if job in wanted}
        if not named:
            return set()
        statuses = await self._store.statuses(named)
        folders = [(id, replace(statuses[id], job_id=named[id])) for id in named if id in statuses]
        for job in jobs:
            fitting = [one for one in folders if _folder_fits(one[1], job, cluster)]
            if fitting:
                session_id, status = max(fitting, key=lambda one: _written_at(one[1]))
                step = "legacy" if status.legacy else ""
                # No app's name in folders of an earlier vizdash: the job's name has it.
                app = status.app or app_from_job_name(job)
                claim = Claim(session_id, app, status.image_version, "pending", step)
                self._comments[job.id, job.name] = encode(claim)
        return {status.job_id for _, status in folders if status.state != "ended"}


#: A job's id and its name.
_JobKey = tuple[str, str]


def _folder_fits(status: Status, job: Job, cluster: str) -> bool:
    """Whether the folder with ``status`` is that of ``job`` of ``cluster``: job ids are used again
    on another cluster with the same home, and after a cluster has been set up again.

    Where the site has given the job another name, it must have been submitted, or have begun, when
    the folder says. Folders of an earlier vizdash do not name the cluster, or not even the app.
    """
    if status.job_id != job.id or (status.cluster and cluster and status.cluster != cluster):
        return False
    began_at = None if job.state.waiting else job.start_at
    before_it = began_at is None or began_at > status.updated_at + _SAME_RUN_CLOCKS_S
    if status.state == "ended" and not job.state.ended and before_it:
        return False  # a requeued job fits again once it runs, since it then writes another status
    if status.job_name:
        named = job.name == status.job_name
    elif status.app:
        named = job.name == f"{JOB_NAME_PREFIX}{status.app}"
    else:
        named = bool(app_from_job_name(job))
    submitted_then = (
        job.submit_at is not None and abs(job.submit_at - status.submitted_at) <= _SAME_RUN_CLOCKS_S
    )
    return named or submitted_then or (began_at is not None and began_at == status.begun_at)


def _written_at(status: Status) -> int:
    """When the folder was last written, as far as its files say."""
    return max(status.submitted_at, status.begun_at, status.updated_at)


_RESULTS = {
    JobState.COMPLETED: "finished",
    JobState.CANCELLED: "cancelled",
    JobState.TIMEOUT: "timed out",
    JobState.OUT_OF_MEMORY: "failed",
    JobState.NODE_FAIL: "failed",
    JobState.PREEMPTED: "cancelled",
}

#: Ends caused by the engine itself, whose word counts.
_ENDED_BY_ENGINE = {JobState.CANCELLED, JobState.TIMEOUT}

#: States that the job alone decides.
_FIXED = {
    JobState.PENDING: SessionState.PENDING,
    JobState.COMPLETING: SessionState.ENDING,
    JobState.SUSPENDED: SessionState.SUSPENDED,
    JobState.STOPPED: SessionState.SUSPENDED,  # SIGSTOP; it holds its node as well
    JobState.UNKNOWN: SessionState.UNKNOWN,
}
#: States in which the folder adds nothing to the comment.
_WITHOUT_STATUS = {JobState.PENDING, JobState.UNKNOWN}
_RUNNING = {SessionState.STARTING, SessionState.READY, SessionState.SUSPENDED}

_ONLY_JOB = "only its job is known, not whether its desktop is ready"
_ONE_KILLED = "one of its programs ran out of memory"
_NO_CAUSE = "the job ended without giving a cause"
#: Causes of an end that the job itself could not write down.
_CAUSES = {
    JobState.OUT_OF_MEMORY: "ran out of the memory it was given",
    JobState.NODE_FAIL: "its node failed",
    JobState.BOOT_FAIL: "its node did not boot",
    JobState.PREEMPTED: "preempted by another job",
    JobState.DEADLINE: "its deadline passed",
}


#: The name that vizdash gives a session's job is this and the app's name (submit.py).
JOB_NAME_PREFIX = "vizdash-"
#: Words of which the job of a session of vizdash's has one, in its comment or its name.
SESSION_WORDS = frozenset({comment.MARK, JOB_NAME_PREFIX})
_NAMED = re.compile(rf"{JOB_NAME_PREFIX}(?!build-)([A-Za-z0-9][A-Za-z0-9._-]{{0,63}})")

#: Seconds by which a run of a job may seem to begin before its start: by the scheduler's clock, and
#: by the node's. A requeued job waits longer.
_SAME_RUN_S = 30
_SAME_RUN_CLOCKS_S = 300


def sessions_from_jobs(
    jobs: Iterable[Job],
    user: str,
    *,
    status_of: Callable[[str], Status] = lambda session_id: Status(),
) -> tuple[Session, ...]:
    """The sessions among ``jobs``, live ones first, newest first.

    ``status_of`` returns the statuses in the folders that ``folders_to_read`` names; for the user's
    own sessions they take precedence. A comment is only a claim: a second job with the same id does
    not hide the first one, since rows are distinguished by their jobs.

    Of a job with vizdash's job name but without a claim, only the job is known: the session gets
    its id.
    """
    sessions = []
    for job in jobs:
        claim, mine = decode(job.comment), job.user == user
        if claim is not None:
            status = Status()
            if mine and job.state not in _WITHOUT_STATUS:
                status = _own_status(job, status_of(claim.id))
            sessions.append(session_from_job(job, claim, status, mine=mine))
        elif app := app_from_job_name(job):
            sessions.append(
                session_from_job(job, Claim(job.id, app, state=""), Status(), mine=mine)
            )
    return sort_sessions(sessions)


def sort_sessions(sessions: Iterable[Session]) -> tuple[Session, ...]:
    """Live ones first, newest first."""
    return tuple(
        sorted(
            sessions,
            key=lambda s: (s.live, s.mine, s.submitted_at or 0, _order(s.job_id)),
            reverse=True,
        )
    )


def match_sessions(word: str, sessions: Iterable[Session]) -> list[Session]:
    """The sessions that ``word`` names: by id, job id, id of the job array, or start of the id."""
    known = tuple(sessions)
    exact = [s for s in known if word in {s.id, s.job_id}]
    exact = exact or [s for s in known if s.job_id.startswith(f"{word}_")]
    return exact or [s for s in known if len(word) >= 3 and s.id.startswith(word)]


def app_from_job_name(job: Job) -> str:
    """The app in the name of a session's job; empty for other jobs."""
    match = _NAMED.fullmatch(job.name)
    return match[1] if match else ""


def mark_newer_images(
    sessions: Iterable[Session], wanted: Mapping[str, str]
) -> tuple[Session, ...]:
    """Mark live sessions that run an older image than ``wanted`` (current versions by app)."""

    def newer(session: Session) -> str:
        there, has = wanted.get(session.app, ""), session.image_version
        if not (session.live and has and there) or version_key(there) <= version_key(has):
            return ""
        return there

    return tuple(replace(s, newer_version=newer(s)) for s in sessions)


def folders_to_read(jobs: Iterable[Job], user: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The ids of sessions whose folders must be read: of running jobs, and of ended jobs. Only
    ``user``'s own, since other users' folders can't be read.
    """
    own = [(job, claim) for job in jobs if job.user == user and (claim := decode(job.comment))]
    live = (c.id for job, c in own if job.state not in _WITHOUT_STATUS and not job.state.ended)
    running = tuple(live)
    return running, tuple(c.id for job, c in own if job.state.ended and c.id not in running)


def _own_status(job: Job, status: Status) -> Status:
    """``status`` where this run of the job wrote it: a requeued job keeps its id and folder, and a
    comment may name another session's folder.
    """
    if status.job_id not in {"", job.id}:
        return Status()
    began, slack = status.begun_at, _SAME_RUN_S
    if not began:
        began, slack = status.updated_at, _SAME_RUN_CLOCKS_S
    if not job.state.ended and began and job.start_at and began < job.start_at - slack:
        return replace(status, state="", step="", error="", result="", viewers=None)
    return status


def _order(job_id: str) -> tuple[int, str]:
    head = job_id.partition("_")[0]
    return (int(head), job_id) if head.isdecimal() else (0, job_id)


def session_from_job(job: Job, claim: Claim, status: Status, *, mine: bool) -> Session:
    """The session of a job, from its comment's claim and, for its owner, the folder's status."""
    state, reason = _state_and_reason(job, claim, status, mine=mine)
    ready = state is SessionState.READY
    result, step, error = _end(job, claim, status) if state is SessionState.ENDED else ("", "", "")
    seen = status if mine and status.state else claim
    return Session(
        id=claim.id,
        job_id=job.id,
        app=claim.app if claim.app != "-" else app_from_job_name(job) or "-",
        user=job.user,
        state=state,
        mine=mine,
        node=job.node,
        partition=job.partition,
        account=job.account,
        qos=job.qos,
        reason=reason,
        result=result,
        step=step or (status.step if state is SessionState.STARTING else ""),
        error=status.problem if state is SessionState.UNKNOWN else error,
        resources=_resources(job),
        image_version=claim.image or status.image_version,
        image_digest=status.image_digest or claim.digest,
        submitted_at=job.submit_at,
        expected_start_at=job.start_at if state is SessionState.PENDING else None,
        started_at=None if state is SessionState.PENDING else job.start_at,
        time_left_s=job.time_left_s,
        limit_at=_limit_at(job),
        lease_s=claim.lease or 0,
        lease_left_s=_left_until(status.lease_end_at, job) if mine and state in _RUNNING else None,
        idle_left_s=_left_until(status.idle_end_at, job) if mine and ready else None,
        warning=status.warning if mine and state in _RUNNING else "",
        renderer=status.renderer if mine and state in _RUNNING else "",
        viewers=seen.viewers if ready else None,
        idle_since=seen.since if ready and seen.viewers == 0 else None,
        note=claim.note,
        ended_at=job.end_at,
        legacy=claim.step.startswith("legacy"),
        service=status.service or (claim.kind if claim.kind in SERVICE_KINDS else ""),
        scale=status.scale if mine else 1,
    )


def _state_and_reason(
    job: Job, claim: Claim, status: Status, *, mine: bool
) -> tuple[SessionState, str]:
    """The session's state, and why it waits or is unknown."""
    if mine and status.problem and job.state is JobState.RUNNING:
        return SessionState.UNKNOWN, status.problem  # it may have been ready for long
    state = _state(job.state, status.state if mine else claim.state, known=claim.state != "")
    if state is SessionState.UNKNOWN and not claim.state:
        return state, _ONLY_JOB
    return state, job.reason if state is SessionState.PENDING else ""


def _resources(job: Job) -> Resources:
    gpus = gpu_count(job.gres)
    return Resources(job.cores, job.memory_mib, gpus, job.time_limit_s or 0)


def _left_until(at: int | None, job: Job) -> int | None:
    """Seconds from now until ``at``, by the scheduler's clock; None where one of them is unknown.
    A job's time left and the end of its limit say what time it is there. Of a suspended job, its
    time stands still.
    """
    limit_at = _limit_at(job)
    if at is None or limit_at is None or job.time_left_s is None:
        return None
    return max(0, job.time_left_s - (limit_at - at))


def _limit_at(job: Job) -> int | None:
    """When the time limit of a running job ends it: later than its start and its limit say, where
    it was suspended (and earlier where it is preempted, which does not count here).
    """
    if job.start_at is None or job.time_limit_s is None or job.state.waiting:
        return None
    return max(job.limit_at or 0, job.start_at + job.time_limit_s)


def _state(job: JobState, claimed: str, *, known: bool) -> SessionState:
    """The session's state. The job's state decides; what the session reports (``claimed``) refines
    that of a running job. ``known`` is whether a claim exists at all.
    """
    if job.ended:
        return SessionState.ENDED
    if job in _FIXED:
        return _FIXED[job]
    if not known:
        return SessionState.UNKNOWN
    if job is JobState.RUNNING:
        if claimed == "ready":
            return SessionState.READY
        if claimed in {"ending", "ended", "failed"}:
            return SessionState.ENDING
    return SessionState.STARTING


def _end(job: Job, claim: Claim, status: Status) -> tuple[str, str, str]:
    """Result, step and error line of an ended session."""
    result = _RESULTS.get(job.state, "failed")
    ended_well = status.state == "ended" and status.result not in {"", "failed"}
    if job.state is JobState.OUT_OF_MEMORY and ended_well:
        # Slurm says so of a job that lost one process, whatever else it did afterwards.
        return status.result, "", status.error or _ONE_KILLED
    if job.state in _CAUSES:
        return result, claim.step, _CAUSES[job.state]
    if job.state in _ENDED_BY_ENGINE:
        same = status.state == "ended" and status.result == result
        return result, "", status.error if same else ""
    if status.state == "ended" and status.result:
        result = status.result
    elif job.state is JobState.COMPLETED and claim.state == "failed":
        result = "failed"
    if result != "failed":
        return result, "", status.error if result == status.result else ""
    if status.state == "ended":
        return result, status.step or claim.step, status.error or _NO_CAUSE
    # Its folder could not be written, or nothing of the job ran.
    step = claim.step if claim.state == "failed" else status.step or claim.step
    return result, step, claim.error or status.error or _cause(job) or _NO_CAUSE


def _cause(job: Job) -> str:
    """The engine's reason, where it says more than that the job failed."""
    return "" if job.reason == NON_ZERO_EXIT else job.reason


#: Seconds that a list of sessions waits for a node, and how many nodes are asked at once.
_WAIT_S = 8.0
_AT_ONCE = 4


class LogFailures:
    """Why jobs could not open their logs, as their nodes report it. Each node is asked once, as the
    user, and the answer is written into the session's folder.
    """

    def __init__(self, runner: CommandRunner, hosts: NodeHosts, store: SessionStore) -> None:
        self._runner = runner
        self._reader = NodeFileReader(runner, hosts, "ssh")  # no step of a job that has ended
        self._store = store
        self._known: dict[str, str] = {}

    async def explain(
        self, sessions: Iterable[Session], jobs: Collection[Job]
    ) -> tuple[Session, ...]:
        """``sessions``; the user's own that failed this way get the cause from their node."""
        all_sessions = tuple(sessions)
        failed = {s.job_id: s for s in all_sessions if s.mine and s.error == NO_LOG}
        if not failed:
            return all_sessions
        asked = [j for j in jobs if j.id in failed.keys() - self._known.keys() and j.nodes]
        await asyncio.gather(*(self._ask(j, failed[j.id]) for j in asked[:_AT_ONCE]))
        return tuple(
            replace(s, error=self._known.get(s.job_id) or s.error) if s.job_id in failed else s
            for s in all_sessions
        )

    async def _ask(self, job: Job, session: Session) -> None:
        self._known[job.id] = ""
        try:
            async with asyncio.timeout(_WAIT_S):
                result = await self._runner.run(commands.show_job(job.id))
                path = parse.job_log(result.stdout)
                why = await self._reader.unwritable(job, path) if path else ""
            self._known[job.id] = why
            kind = "legacy" if session.legacy else session.service or "vizdash"
            version, scale = session.image_version, session.scale
            if not why:
                return
            statuses = await self._store.statuses([session.id])
            known = statuses.get(session.id, Status())
            record = job_record(
                session.app,
                version,
                kind,
                job.id,
                scale=scale,
                submitted_at=known.submitted_at,
                cluster=known.cluster,
                job_name=known.job_name,
            )
            await self._store.write_record(session.id, f"{record}ERROR={why}\n")
        except (VizdashError, TimeoutError):
            return  # Slurm's reason remains
