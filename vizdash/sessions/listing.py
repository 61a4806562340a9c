"""Jobs -> sessions: what a job and its comment say, in a user's terms."""

from __future__ import annotations

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

#: Causes of an end that the job itself could not write down.
_CAUSES = {
    JobState.OUT_OF_MEMORY: "ran out of the memory it was given",
    JobState.NODE_FAIL: "its node failed",
    JobState.BOOT_FAIL: "its node did not boot",
    JobState.PREEMPTED: "preempted by another job",
    JobState.DEADLINE: "its deadline passed",
}


#: States in which the job's own folder says more.
_TELLING = {SessionState.ENDED, SessionState.ENDING, SessionState.STARTING}


def sessions_of(
    jobs: Iterable[Job],
    user: str,
    *,
    status_of: Callable[[str], Status] = lambda session_id: Status(),
) -> tuple[Session, ...]:
    """The sessions among ``jobs``, live ones first, newest first.

    ``status_of`` tells what the jobs named by ``need_status`` wrote into their folders. A comment
    is a claim, so a second job with the id of a first one of the same user does not hide it: rows
    are told apart by their job.
    """
    found = []
    for job in jobs:
        claim = decode(job.comment)
        if claim is not None:
            found.append(_session(job, claim, mine=job.user == user, status_of=status_of))
    found.sort(key=lambda s: (s.live, s.mine, s.submitted_at or 0, _order(s.job_id)), reverse=True)
    return tuple(found)


def with_newer(sessions: Iterable[Session], wanted: Mapping[str, str]) -> tuple[Session, ...]:
    """Each live session that runs an older image than ``wanted`` (versions by app) is told so."""

    def newer(session: Session) -> str:
        there, has = wanted.get(session.app, ""), session.image_version
        if not (session.live and has and there) or version_key(there) <= version_key(has):
            return ""
        return there

    return tuple(replace(s, newer_version=newer(s)) for s in sessions)


def need_status(jobs: Iterable[Job], user: str) -> tuple[str, ...]:
    """The session ids whose folders say more than the jobs do: ``user``'s own only, since nobody
    else's folder can be read, and only those on their way up or down.
    """
    claims = ((job, decode(job.comment)) for job in jobs if job.user == user)
    return tuple(c.id for job, c in claims if c and _state(job.state, c.state) in _TELLING)


def _order(job_id: str) -> tuple[int, str]:
    head = job_id.partition("_")[0]
    return (int(head), job_id) if head.isdecimal() else (0, job_id)


def _session(job: Job, claim: Claim, *, mine: bool, status_of: Callable[[str], Status]) -> Session:
    state = _state(job.state, claim.state)
    status = Status()
    if mine and state in _TELLING:
        status = status_of(claim.id)
    ready = state is SessionState.READY
    result, step, error = _end(job, claim, status) if state is SessionState.ENDED else ("", "", "")
    return Session(
        id=claim.id,
        job_id=job.id,
        app=claim.app,
        user=job.user,
        state=state,
        mine=mine,
        node=job.node,
        partition=job.partition,
        account=job.account,
        qos=job.qos,
        reason=reason_words(job.reason) if state is SessionState.PENDING else "",
        result=result,
        step=step or (status.step if state is SessionState.STARTING else ""),
        error=error,
        resources=Resources(
            cores=job.cores,
            memory_mib=job.memory_mib,
            gpus=gpu_count(job.gres),
            time_s=job.time_limit_s or 0,
        ),
        image_version=claim.image,
        image_digest=claim.digest,
        submitted_at=job.submit_at,
        expected_start_at=job.start_at if state is SessionState.PENDING else None,
        started_at=None if state is SessionState.PENDING else job.start_at,
        time_left_s=job.time_left_s,
        viewers=claim.viewers if ready else None,
        idle_since=claim.since if ready and claim.viewers == 0 else None,
        note=claim.note,
        ended_at=job.end_at,
        legacy=claim.step.startswith("legacy"),
    )


def _state(job: JobState, claimed: str) -> SessionState:
    """The job's state rules; the claim only refines a running one."""
    if job.ended:
        return SessionState.ENDED
    if job is JobState.PENDING:
        return SessionState.PENDING
    if job is JobState.COMPLETING:
        return SessionState.ENDING
    if job is JobState.UNKNOWN:
        return SessionState.UNKNOWN
    if job in {JobState.RUNNING, JobState.SUSPENDED}:
        if claimed == "ready":
            return SessionState.READY
        if claimed in {"ending", "ended", "failed"}:
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
    return result, status.step or claim.step, status.error or "the job ended without saying why"
