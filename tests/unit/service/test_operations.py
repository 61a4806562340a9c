"""Who may change which session or node, and who is notified."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from tests.fakes import FakeEngine, MemoryStore
from vizdash.engines import EngineInfo
from vizdash.errors import NotFound, Refused, TimedOut, UsageError
from vizdash.model import Job, JobState, Node, Resources, Session, SessionState
from vizdash.service.operations import Operations, checked_text, extension_request
from vizdash.sessions import comment
from vizdash.sessions.folder import Status

CLAIM = comment.Claim("3f9a01bc", "desktop", "1.0", "ready", "ready", viewers=0, since=1767225600)
SESSION = Session(
    id="3f9a01bc",
    job_id="7",
    app="desktop",
    user="alice",
    state=SessionState.READY,
    node="viz-node001",
    resources=Resources(2, 2048, 0, 7200),
)


ABOUT = EngineInfo("slurm", "lab", "24.11", "alice")
NODE = Node("viz-node001", "IDLE")


def engine_of(*, admin: bool = False, node_admin: bool = False, text: str = "") -> FakeEngine:
    """One that runs SESSION, whose job has the comment ``text`` (else its claim)."""
    job = Job("7", "alice", "n", JobState.RUNNING, comment=text or comment.encode(CLAIM))
    about = replace(ABOUT, admin=admin, node_admin=node_admin)
    return FakeEngine(about=about, all_nodes=(NODE,), queues=[(job,)])


def takes_message(engine: FakeEngine, looks: int) -> None:
    """The session takes a message after this many polls."""
    left = [looks]

    def show(job: Job) -> None:
        claim = comment.decode(job.comment)
        if claim is not None and claim.note:
            left[0] -= 1
            if left[0] <= 0:
                engine.write_comment(job.id, comment.encode(replace(claim, note="")))

    engine.on_answer = show


def comment_in(engine: FakeEngine) -> str:
    (job,) = cast("tuple[Job, ...]", engine.queues[0])
    return job.comment


def operations(
    engine: FakeEngine, store: MemoryStore | None = None, *, read_only: bool = False
) -> Operations:
    return Operations(engine, store or MemoryStore(), read_only=read_only)


async def test_an_administrator_drains_with_a_reason() -> None:
    engine = engine_of(node_admin=True)
    await operations(engine).drain("viz-node001", "  fan 2\nfailed ")
    assert engine.changes == [("drain", "viz-node001", "fan 2 failed")]


async def test_no_reason_no_drain() -> None:
    engine = engine_of(node_admin=True)
    with pytest.raises(UsageError, match="a reason is required"):
        await operations(engine).drain("viz-node001", " \x1b\u202e ")
    assert engine.changes == []


@pytest.mark.parametrize("node", ["viz-node[001-003]", "viz-node001,viz-node002", "ALL", ""])
async def test_only_one_node_that_is_there(node: str) -> None:
    engine = engine_of(node_admin=True)
    with pytest.raises(NotFound):
        await operations(engine).drain(node, "x")
    with pytest.raises(NotFound):
        await operations(engine).resume(node)
    assert engine.changes == []


async def test_an_operator_may_not_drain_but_extend() -> None:
    engine = engine_of(admin=True)
    with pytest.raises(Refused, match="an operator may not"):
        await operations(engine).drain("viz-node001", "x")
    assert await operations(engine).extend(SESSION, 1799) == 9000
    assert engine.changes == [("set_time_limit", "7", "9000")]


async def test_who_may_not_extend_gets_the_words_to_ask_for_it() -> None:
    with pytest.raises(Refused, match="only Slurm's operators may"):
        await operations(engine_of()).extend(SESSION, 3600)
    asked = extension_request(SESSION, 3600)
    assert "scontrol update JobId=7 TimeLimit=180" in asked
    assert "1 h more" in asked


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"state": SessionState.ENDED}, "it has ended"),
        ({"resources": Resources(time_s=0)}, "it has no time limit"),
    ],
)
async def test_what_has_no_end_is_not_extended(change: dict[str, object], why: str) -> None:
    with pytest.raises(Refused, match=why):
        await operations(engine_of(admin=True)).extend(
            replace(SESSION, **change),  # type: ignore[arg-type]
            60,
        )


async def test_a_message_is_done_when_the_session_has_taken_it() -> None:
    engine = engine_of()
    takes_message(engine, looks=2)
    await operations(engine).message(SESSION, "save your work: 100% full, 저장")
    assert engine.changes == [("send_message", "7", "save your work: 100% full, 저장")]
    assert comment.decode(comment_in(engine)) == CLAIM


async def test_a_message_that_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vizdash.service.operations._TAKEN_S", 0.0)
    with pytest.raises(TimedOut):
        await operations(engine_of()).message(SESSION, "hello")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"state": SessionState.PENDING}, "it is pending"),
        ({"legacy": True}, "shows no messages"),
        ({"mine": False, "user": "bob"}, "it belongs to bob"),
    ],
)
async def test_no_message_for(change: dict[str, object], why: str) -> None:
    engine = engine_of()
    with pytest.raises(Refused, match=why):
        await operations(engine).message(replace(SESSION, **change), "hello")  # type: ignore[arg-type]
    assert engine.changes == []


async def test_a_note_stays_in_the_comment() -> None:
    engine = engine_of(admin=True)
    await operations(engine).note(replace(SESSION, mine=False), "node=x goes down %20 é")
    claim = comment.decode(comment_in(engine))
    assert claim == replace(CLAIM, note="node=x goes down %20 é")


async def test_a_text_that_would_not_fit_into_the_comment() -> None:
    with pytest.raises(UsageError, match="too long"):
        await operations(engine_of()).note(SESSION, "한" * 100)


async def test_read_only_changes_nothing() -> None:
    engine = engine_of(admin=True, node_admin=True)
    only = operations(engine, read_only=True)
    for work in (
        only.drain("viz-node001", "x"),
        only.resume("viz-node001"),
        only.extend(SESSION, 60),
        only.message(SESSION, "x"),
        only.note(SESSION, "x"),
    ):
        with pytest.raises(Refused, match="read-only"):
            await work
    assert engine.changes == []


def test_a_text_is_one_line_without_control_characters() -> None:
    assert checked_text("a\tb\x1b[31m\r\nc\u202ed", "text", 99) == "a b [31m c d"


async def test_a_comment_that_is_the_sites_own_is_left_alone() -> None:
    """A message cannot be delivered then; a session is stopped nevertheless."""
    engine = engine_of(admin=True, text="project=4711")
    with pytest.raises(Refused, match="this site uses itself"):
        await operations(engine).message(SESSION, "hello")
    await operations(engine).note(SESSION, "the node goes down")
    assert engine.changes == []
    assert comment_in(engine) == "project=4711"


#: Two hours of lease under a limit of eight hours; an hour of it is left.
LEASED = replace(
    SESSION,
    resources=Resources(time_s=8 * 3600),
    started_at=1_800_000_000,
    lease_s=7200,
    lease_left_s=3600,
    time_left_s=7 * 3600,
)


def leased(end_s: int = 7200) -> MemoryStore:
    status = Status(state="ready", lease_end_at=1_800_000_000 + end_s)
    return MemoryStore(known={LEASED.id: status})


async def test_an_owner_extends_the_lease_without_slurm() -> None:
    engine, store = engine_of(), leased()
    assert await operations(engine, store).extend(LEASED, 3600) == 3 * 3600
    assert store.leases == {LEASED.id: 1_800_000_000 + 3 * 3600}
    assert engine.changes == []


async def test_a_lease_ends_with_the_time_limit_at_the_latest() -> None:
    engine, store = engine_of(), leased()
    assert await operations(engine, store).extend(LEASED, 10 * 3600) == 8 * 3600
    assert store.leases == {LEASED.id: 1_800_000_000 + 8 * 3600}
    full = leased(8 * 3600)
    with pytest.raises(Refused, match="reached the job's time limit of 8 h"):
        await operations(engine, full).extend(LEASED, 60)
    assert (full.leases, engine.changes) == ({}, [])


async def test_an_operator_extends_lease_and_limit() -> None:
    engine, store = engine_of(admin=True), leased(8 * 3600)
    assert await operations(engine, store).extend(LEASED, 3600) == 9 * 3600
    assert engine.changes == [("set_time_limit", "7", str(9 * 3600))]
    assert store.leases == {LEASED.id: 1_800_000_000 + 9 * 3600}


async def test_another_users_lease_is_not_an_operators_to_move() -> None:
    engine, store = engine_of(admin=True), leased()
    other = replace(LEASED, mine=False, user="bob", lease_left_s=None)
    await operations(engine, store).extend(other, 3600)
    assert (store.leases, len(engine.changes)) == ({}, 1)


async def test_a_lease_that_cannot_be_read_is_not_moved() -> None:
    with pytest.raises(Refused, match="its lease can't be read"):
        await operations(engine_of()).extend(LEASED, 60)
