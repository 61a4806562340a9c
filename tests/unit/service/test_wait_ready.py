"""Waiting until a session is ready, or has ended, with a fake clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.fakes import FakeEngine, MemoryStore, service_on
from vizdash.errors import NotFound, Refused, TimedOut, Unreachable, VizdashError
from vizdash.model import Job, JobState, Session, SessionState
from vizdash.service import wait_ready
from vizdash.service.service import Service
from vizdash.sessions.comment import Claim, decode, encode
from vizdash.sessions.folder import Status
from vizdash.sessions.listing import sessions_from_jobs


def job(
    state: JobState, claimed: str = "pending", step: str = "", *, error: str = "", reason: str = ""
) -> Job:
    """The session's job, as the queue shows it."""
    claim = Claim("3f9a01bc", "desktop", state=claimed, step=step, error=error)
    node = "" if state is JobState.PENDING else "n1"
    return Job(
        "7", "alice", "vizdash-desktop", state, node=node, comment=encode(claim), reason=reason
    )


def session_of(job: Job) -> Session:
    """The session of a job."""
    claim = decode(job.comment)
    assert claim is not None
    status = Status(state=claim.state, step=claim.step)
    (session,) = sessions_from_jobs((job,), "alice", status_of=lambda id: status)
    return session


PENDING = job(JobState.PENDING, reason="no room")
STARTING = job(JobState.RUNNING, "starting", "xvnc")
READY = job(JobState.RUNNING, "ready")
ENDING = job(JobState.COMPLETING, "ready")
FAILED = job(JobState.COMPLETED, "failed", "app", error="no GL")
SESSION = session_of(PENDING)
Look = Job | VizdashError | None


class Clock:
    """Moves by what is slept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        monkeypatch.setattr(wait_ready, "asyncio", SimpleNamespace(sleep=self.sleep))
        monkeypatch.setattr(wait_ready, "time", SimpleNamespace(monotonic=lambda: self.now))

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def engine_of(*looks: Look) -> FakeEngine:
    """Its answers come one after another; the last one stays. Another job of an earlier session
    with the same id is always there.
    """
    answers = [
        look if isinstance(look, VizdashError) else (replace(look, id="6"), look) if look else ()
        for look in looks
    ]
    return FakeEngine(queues=list(answers))


def service(*looks: Look) -> Service:
    return on_store(engine_of(*looks))


def on_store(engine: FakeEngine) -> Service:
    """What jobs claim, they have written into their folders."""
    store = MemoryStore()
    engine.on_answer = store.write_status
    return service_on(engine, store=store)


def telling() -> tuple[list[str], Callable[[str], None]]:
    messages: list[str] = []
    return messages, messages.append


async def test_each_step_is_reported_once_and_the_ready_session_returned(clock: Clock) -> None:
    shown, tell = telling()
    found = await wait_ready.wait_ready(
        service(PENDING, PENDING, STARTING, STARTING, READY), SESSION, tell
    )
    assert found == session_of(READY)
    assert shown == [
        "3f9a01bc: pending: no room",
        "3f9a01bc: starting on n1, step xvnc",
    ]


async def test_a_failure_is_reported_with_step_line_and_fix(clock: Clock) -> None:
    with pytest.raises(VizdashError) as error:
        await wait_ready.wait_ready(service(STARTING, FAILED), SESSION, telling()[1])
    assert error.value.line == (
        "session 3f9a01bc failed at step app: no GL (see vizdash logs 3f9a01bc)"
    )


async def test_an_end_without_failure_is_no_success(clock: Clock) -> None:
    ended = job(JobState.CANCELLED)
    with pytest.raises(VizdashError, match="has ended: cancelled"):
        await wait_ready.wait_ready(service(ended), SESSION, telling()[1])


async def test_it_gives_up_in_time_and_leaves_the_session(clock: Clock) -> None:
    with pytest.raises(TimedOut, match=r"pending: no room after 600 s \(it is left as it is\)"):
        await wait_ready.wait_ready(service(PENDING), SESSION, telling()[1], timeout_s=600)
    assert 600 <= clock.now <= 606


async def test_it_polls_often_at_first_and_rarely_later(clock: Clock) -> None:
    engine = engine_of(PENDING)
    with pytest.raises(TimedOut):
        await wait_ready.wait_ready(on_store(engine), SESSION, telling()[1], timeout_s=3600)
    assert clock.slept[0] <= 0.25
    assert max(clock.slept) == 5.0
    assert engine.calls.count("jobs") < 900


async def test_a_cluster_that_does_not_answer_for_a_while_is_no_end(clock: Clock) -> None:
    gone = Unreachable("squeue", "no answer")
    found = await wait_ready.wait_ready(
        service(STARTING, gone, gone, gone, gone, STARTING, gone, gone, gone, gone, READY),
        SESSION,
        telling()[1],
    )
    assert found == session_of(READY)
    with pytest.raises(Unreachable):
        await wait_ready.wait_ready(service(gone), SESSION, telling()[1])


async def test_a_job_that_slurm_no_longer_knows(clock: Clock) -> None:
    with pytest.raises(NotFound, match="no longer knows its job"):
        await wait_ready.wait_ready(service(None), SESSION, telling()[1])


async def test_the_end_is_waited_for(clock: Clock) -> None:
    assert await wait_ready.wait_ended(service(READY, ENDING, FAILED), [session_of(READY)]) == ()
    assert await wait_ready.wait_ended(service(READY, None), [session_of(READY)]) == ()


async def test_who_does_not_end_is_named(clock: Clock) -> None:
    left = await wait_ready.wait_ended(service(READY), [session_of(READY)], timeout_s=30)
    assert [s.job_id for s in left] == ["7"]
    assert 30 <= clock.now <= 31


async def test_an_unanswered_query_ends_nothing(clock: Clock) -> None:
    gone = TimedOut("squeue", "no answer")
    assert await wait_ready.wait_ended(service(gone, gone, FAILED), [session_of(READY)]) == ()
    left = await wait_ready.wait_ended(service(gone), [session_of(READY)], timeout_s=5)
    assert left == (session_of(READY),)


async def test_a_suspended_session_is_not_waited_for(clock: Clock) -> None:
    suspended = job(JobState.SUSPENDED, "ready")
    with pytest.raises(Refused, match="its job is suspended"):
        await wait_ready.wait_ready(service(STARTING, suspended), SESSION, telling()[1])


def slow(clock: Clock, *looks: Look) -> Service:
    """Each answer takes three seconds, as where slurmctld tells its clients to back off."""
    engine = engine_of(*looks)

    def advance(name: str) -> None:
        clock.now += 3.0 if name == "jobs" else 0.0

    engine.on_call = advance
    return on_store(engine)


async def test_a_slurmctld_that_is_slow_is_asked_less_often(clock: Clock) -> None:
    slowly = slow(clock, PENDING, STARTING, READY)
    await wait_ready.wait_ready(slowly, SESSION, lambda words: None)
    assert clock.slept == [3.0, 3.0]


async def test_nor_is_it_asked_more_often_for_an_end(clock: Clock) -> None:
    slowly = slow(clock, READY, READY, FAILED)
    assert await wait_ready.wait_ended(slowly, [session_of(READY)]) == ()
    assert clock.slept == [3.0, 3.0]


UNREADABLE = "its session folder can't be read here: Permission denied"


def with_folders(engine: FakeEngine, *problems: str) -> Service:
    """Each answer of the engine finds the session's folder with the next problem, or ready."""
    store, left = MemoryStore(), list(problems)

    def write_status(job: Job) -> None:
        problem = left.pop(0) if len(left) > 1 else left[0]
        state = "" if problem else "ready"
        store.known["3f9a01bc"] = Status(state=state, job_id="7", problem=problem)

    engine.on_answer = write_status
    return service_on(engine, store=store)


async def test_a_folder_that_cannot_be_read_is_reported_and_not_waited_for(clock: Clock) -> None:
    """Its job claims that it is ready, but only the folder can say how to reach it."""
    shown, tell = telling()
    with pytest.raises(NotFound, match=r"Permission denied.*it keeps running"):
        await wait_ready.wait_ready(with_folders(engine_of(READY), UNREADABLE), SESSION, tell)
    assert shown == [f"3f9a01bc: unknown: {UNREADABLE}"]
    assert clock.now < 60


async def test_a_file_server_may_restart(clock: Clock) -> None:
    looks = with_folders(engine_of(READY), *[UNREADABLE] * 20, "")
    session = await wait_ready.wait_ready(looks, SESSION, telling()[1])
    assert session.state is SessionState.READY
