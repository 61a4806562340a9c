"""Jobs -> sessions: what a job and its comment say, in a user's terms."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from vizdash.engines.slurm.reasons import reason_words
from vizdash.model import Job, JobState, Resources, Session, SessionState
from vizdash.model.drift import version_key
from vizdash.model.gres import gpu_count
from vizdash.sessions.comment import Claim, decode
from vizdash.sessions.folder import Status

_RESULTS = {
    JobState.COMPLETED: "finished",
    JobState.CANCELLED: "cancelled",
    JobState.TIMEOUT: "timed out",
    JobState.OUT_OF_MEMORY: "failed",
    JobState.NODE_FAIL: "failed",
    JobState.PREEMPTED: "cancelled",
}

#: Ends that the engine itself made, so that it knows best.
_TOLD = {JobState.CANCELLED, JobState.TIMEOUT}

#: What the job alone decides.
_FIXED = {
    JobState.PENDING: SessionState.PENDING,
    JobState.COMPLETING: SessionState.ENDING,
    JobState.SUSPENDED: SessionState.SUSPENDED,
    JobState.STOPPED: SessionState.SUSPENDED,  # SIGSTOP; it holds its node as well
    JobState.UNKNOWN: SessionState.UNKNOWN,
}
#: Where the folder has nothing to add to the comment.
_UNTOLD = {JobState.PENDING, JobState.UNKNOWN}
_RUNNING = {SessionState.STARTING, SessionState.READY, SessionState.SUSPENDED}

_NO_MORE = "only its job is known, not whether its desktop is ready"
_UNSAID = "the job ended without saying why"
#: Causes of an end that the job itself could not write down.
_CAUSES = {
    JobState.OUT_OF_MEMORY: "ran out of the memory it was given",
    JobState.NODE_FAIL: "its node failed",
    JobState.BOOT_FAIL: "its node did not boot",
    JobState.PREEMPTED: "preempted by another job",
    JobState.DEADLINE: "its deadline passed",
}


#: The name that vizdash gives a session's job is this and the app's name (submit.py).
NAME = "vizdash-"
_NAMED = re.compile(rf"{NAME}(?!build-)([A-Za-z0-9][A-Za-z0-9._-]{{0,63}})")

#: Seconds by which a run of a job may seem to begin before its start: by the scheduler's own
#: clock, and by the node's. A requeued job waits longer.
_SAME_RUN_S = 30
_SAME_RUN_CLOCKS_S = 300


def sessions_of(
    jobs: Iterable[Job],
    user: str,
    *,
    status_of: Callable[[str], Status] = lambda session_id: Status(),
) -> tuple[Session, ...]:
    """The sessions among ``jobs``, live ones first, newest first.

    ``status_of`` gives what the folders of the sessions named by ``need_status`` hold: for the
    user's own sessions that is what counts. A comment is a claim, so a second job with the id of a
    first one of the same user does not hide it: rows are told apart by their job.

    Where a job has no claim but vizdash's name, no more than the job is known: it is shown under
    its job's id.
    """
    found = []
    for job in jobs:
        claim, mine = decode(job.comment), job.user == user
        if claim is not None:
            status = Status()
            if mine and job.state not in _UNTOLD:
                status = _own_status(job, status_of(claim.id))
            found.append(session_of(job, claim, status, mine=mine))
        elif app := app_of(job):
            found.append(session_of(job, Claim(job.id, app, state=""), Status(), mine=mine))
    return in_order(found)


def in_order(sessions: Iterable[Session]) -> tuple[Session, ...]:
    """Live ones first, newest first."""
    return tuple(
        sorted(
            sessions,
            key=lambda s: (s.live, s.mine, s.submitted_at or 0, _order(s.job_id)),
            reverse=True,
        )
    )


def called(word: str, sessions: Iterable[Session]) -> list[Session]:
    """Those that ``word`` means: their id, their job's or its array's, or the start of their id."""
    known = tuple(sessions)
    exact = [s for s in known if word in {s.id, s.job_id}]
    exact = exact or [s for s in known if s.job_id.startswith(f"{word}_")]
    return exact or [s for s in known if len(word) >= 3 and s.id.startswith(word)]


def app_of(job: Job) -> str:
    """The app that the name of a session's job holds; empty for other jobs."""
    match = _NAMED.fullmatch(job.name)
    return match[1] if match else ""


def with_newer(sessions: Iterable[Session], wanted: Mapping[str, str]) -> tuple[Session, ...]:
    """Each live session that runs an older image than ``wanted`` (versions by app) is told so."""

    def newer(session: Session) -> str:
        there, has = wanted.get(session.app, ""), session.image_version
        if not (session.live and has and there) or version_key(there) <= version_key(has):
            return ""
        return there

    return tuple(replace(s, newer_version=newer(s)) for s in sessions)


def need_status(jobs: Iterable[Job], user: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The session ids whose folders are to be read, of jobs that run and of jobs that have ended:
    ``user``'s own only, since nobody else's folder can be read.
    """
    own = [(job, claim) for job in jobs if job.user == user and (claim := decode(job.comment))]
    running = tuple(c.id for job, c in own if job.state not in _UNTOLD and not job.state.ended)
    return running, tuple(c.id for job, c in own if job.state.ended and c.id not in running)


def _own_status(job: Job, status: Status) -> Status:
    """``status`` if this very run of the job wrote it: a requeued job keeps its id and folder, and
    a comment may name another session's folder.
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


def session_of(job: Job, claim: Claim, status: Status, *, mine: bool) -> Session:
    """The session of a job, from what the job's comment claims and what its owner knows of it."""
    state = _state(job.state, status.state if mine else claim.state, known=claim.state != "")
    ready = state is SessionState.READY
    result, step, error = _end(job, claim, status) if state is SessionState.ENDED else ("", "", "")
    seen = status if mine and status.state else claim
    reason = reason_words(job.reason) if state is SessionState.PENDING else ""
    reason = _NO_MORE if state is SessionState.UNKNOWN and not claim.state else reason
    return Session(
        id=claim.id,
        job_id=job.id,
        app=claim.app if claim.app != "-" else app_of(job) or "-",
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
        error=error,
        resources=Resources(
            cores=job.cores,
            memory_mib=job.memory_mib,
            gpus=gpu_count(job.gres),
            time_s=job.time_limit_s or 0,
        ),
        image_version=claim.image or status.image_version,
        image_digest=status.image_digest or claim.digest,
        submitted_at=job.submit_at,
        expected_start_at=job.start_at if state is SessionState.PENDING else None,
        started_at=None if state is SessionState.PENDING else job.start_at,
        time_left_s=job.time_left_s,
        warning=status.warning if mine and state in _RUNNING else "",
        viewers=seen.viewers if ready else None,
        idle_since=seen.since if ready and seen.viewers == 0 else None,
        note=claim.note,
        ended_at=job.end_at,
        legacy=claim.step.startswith("legacy"),
    )


def _state(job: JobState, told: str, *, known: bool) -> SessionState:
    """The job's state rules; what the session says of itself (``told``) only refines a running
    one. ``known`` is whether there is anything that could say it.
    """
    if job.ended:
        return SessionState.ENDED
    if job in _FIXED:
        return _FIXED[job]
    if not known:
        return SessionState.UNKNOWN
    if job is JobState.RUNNING:
        if told == "ready":
            return SessionState.READY
        if told in {"ending", "ended", "failed"}:
            return SessionState.ENDING
    return SessionState.STARTING


def _end(job: Job, claim: Claim, status: Status) -> tuple[str, str, str]:
    """Result, step and error line of an ended session."""
    result = _RESULTS.get(job.state, "failed")
    if job.state in _CAUSES:
        return result, claim.step, _CAUSES[job.state]
    if job.state in _TOLD:
        return result, "", ""
    if status.state == "ended" and status.result:
        result = status.result
    elif job.state is JobState.COMPLETED and claim.state == "failed":
        result = "failed"
    if result != "failed":
        return result, "", ""
    if status.state == "ended":
        return result, status.step or claim.step, status.error or _UNSAID
    # Its folder could not take it, or nothing of the job ran.
    step = claim.step if claim.state == "failed" else status.step or claim.step
    return result, step, claim.error or status.error or _cause(job) or _UNSAID


def _cause(job: Job) -> str:
    """The engine's reason, where that is more than that the job failed."""
    words = reason_words(job.reason)
    return "" if words == reason_words("NonZeroExitCode") else words
