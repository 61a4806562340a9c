"""Waiting for ready, and for the end, with a service and a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from vizdash import waiting
from vizdash.errors import NotFound, Refused, TimedOut, Unreachable, VizdashError
from vizdash.model import Session, SessionState
from vizdash.service import Service

PENDING = Session("3f9a01bc", "7", "desktop", "alice", SessionState.PENDING, reason="no room")
STARTING = replace(PENDING, state=SessionState.STARTING, node="n1", step="xvnc", reason="")
READY = replace(STARTING, state=SessionState.READY, step="")
FAILED = replace(READY, state=SessionState.ENDED, result="failed", step="app", error="no GL")
Look = Session | VizdashError | None


class Clock:
    """Moves by what is slept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        monkeypatch.setattr(waiting, "asyncio", SimpleNamespace(sleep=self.sleep))
        monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: self.now))

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Looks:
    """A service whose answers come one after another; the last one stays."""

    def __init__(self, *looks: Look) -> None:
        self.looks = list(looks)
        self.asked = 0

    async def sessions(self, *, all_users: bool = False) -> tuple[Session, ...]:
        self.asked += 1
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, VizdashError):
            raise look
        return () if look is None else (replace(look, job_id="6"), look)


def service(*looks: Look) -> Service:
    return cast("Service", Looks(*looks))


def telling() -> tuple[list[str], Callable[[str], None]]:
    told: list[str] = []
    return told, told.append


async def test_it_tells_each_thing_once_and_returns_the_ready_session(clock: Clock) -> None:
    told, tell = telling()
    found = await waiting.wait_ready(
        service(PENDING, PENDING, STARTING, STARTING, READY), PENDING, tell
    )
    assert found == READY
    assert told == [
        "3f9a01bc: pending: no room",
        "3f9a01bc: starting on n1, step xvnc",
    ]


async def test_a_failure_is_told_with_step_line_and_mend(clock: Clock) -> None:
    with pytest.raises(VizdashError) as error:
        await waiting.wait_ready(service(STARTING, FAILED), PENDING, telling()[1])
    assert error.value.line == (
        "session 3f9a01bc failed at step app: no GL (see vizdash logs 3f9a01bc)"
    )


async def test_an_end_without_failure_is_no_success(clock: Clock) -> None:
    ended = replace(FAILED, result="cancelled", step="", error="")
    with pytest.raises(VizdashError, match="has ended: cancelled"):
        await waiting.wait_ready(service(ended), PENDING, telling()[1])


async def test_it_gives_up_in_time_and_leaves_the_session(clock: Clock) -> None:
    with pytest.raises(TimedOut, match=r"pending: no room after 600 s \(it is left as it is\)"):
        await waiting.wait_ready(service(PENDING), PENDING, telling()[1], timeout_s=600)
    assert 600 <= clock.now <= 606


async def test_it_looks_often_at_first_and_rarely_later(clock: Clock) -> None:
    looks = Looks(PENDING)
    with pytest.raises(TimedOut):
        await waiting.wait_ready(cast("Service", looks), PENDING, telling()[1], timeout_s=3600)
    assert clock.slept[0] <= 0.25
    assert max(clock.slept) == 5.0
    assert looks.asked < 900


async def test_a_cluster_that_does_not_answer_for_a_while_is_no_end(clock: Clock) -> None:
    gone = Unreachable("squeue", "no answer")
    found = await waiting.wait_ready(
        service(STARTING, gone, gone, gone, gone, STARTING, gone, gone, gone, gone, READY),
        PENDING,
        telling()[1],
    )
    assert found == READY
    with pytest.raises(Unreachable):
        await waiting.wait_ready(service(gone), PENDING, telling()[1])


async def test_a_job_that_nobody_knows_any_more(clock: Clock) -> None:
    with pytest.raises(NotFound, match="knows no such job"):
        await waiting.wait_ready(service(None), PENDING, telling()[1])


async def test_the_end_is_waited_for(clock: Clock) -> None:
    ending = replace(READY, state=SessionState.ENDING)
    assert await waiting.wait_ended(service(READY, ending, FAILED), [READY]) == ()
    assert await waiting.wait_ended(service(READY, None), [READY]) == ()


async def test_who_does_not_end_is_named(clock: Clock) -> None:
    left = await waiting.wait_ended(service(READY), [READY], timeout_s=30)
    assert [s.job_id for s in left] == ["7"]
    assert 30 <= clock.now <= 31


async def test_an_unanswered_look_ends_nothing(clock: Clock) -> None:
    gone = TimedOut("squeue", "no answer")
    assert await waiting.wait_ended(service(gone, gone, FAILED), [READY]) == ()
    left = await waiting.wait_ended(service(gone), [READY], timeout_s=5)
    assert left == (READY,)


async def test_a_suspended_session_is_not_waited_for(clock: Clock) -> None:
    suspended = replace(READY, state=SessionState.SUSPENDED)
    with pytest.raises(Refused, match="its job is suspended"):
        await waiting.wait_ready(service(STARTING, suspended), STARTING, telling()[1])


class Slow(Looks):
    """Each answer takes three seconds, as where slurmctld tells its clients to back off."""

    def __init__(self, clock: Clock, *looks: Look) -> None:
        super().__init__(*looks)
        self._clock = clock

    async def sessions(self, *, all_users: bool = False) -> tuple[Session, ...]:
        self._clock.now += 3.0
        return await super().sessions(all_users=all_users)


async def test_a_slurmctld_that_is_slow_is_asked_less_often(clock: Clock) -> None:
    slow = cast("Service", Slow(clock, PENDING, STARTING, READY))
    await waiting.wait_ready(slow, PENDING, lambda words: None)
    assert clock.slept == [3.0, 3.0]


async def test_nor_is_it_asked_more_often_for_an_end(clock: Clock) -> None:
    ended = replace(READY, state=SessionState.ENDED)
    slow = cast("Service", Slow(clock, READY, READY, ended))
    assert await waiting.wait_ended(slow, [READY]) == ()
    assert clock.slept == [3.0, 3.0]
