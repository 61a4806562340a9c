"""Who may change what, and what is told to whom."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from vizdash.engines import Engine, EngineInfo
from vizdash.errors import NotFound, Refused, TimedOut, UsageError
from vizdash.model import Job, JobState, Node, Resources, Session, SessionState
from vizdash.operations import Operations, checked_text, extension_request
from vizdash.sessions import comment

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


@dataclass
class FakeEngine:
    """Keeps what it is told; a session takes a message after ``looks`` looks at it."""

    name: str = "slurm"
    admin: bool = False
    node_admin: bool = False
    looks: int = 1
    comment: str = comment.encode(CLAIM)
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def info(self) -> EngineInfo:
        return EngineInfo(self.name, "lab", "24.11", "alice", self.admin, self.node_admin)

    async def nodes(self) -> tuple[Node, ...]:
        return (Node("viz-node001", "IDLE"),)

    async def jobs(self, *, user: str | None = None, partition: str = "") -> tuple[Job, ...]:
        claim = comment.decode(self.comment)
        if claim is not None and claim.note:
            self.looks -= 1
            if self.looks <= 0:
                self.comment = comment.encode(replace(claim, note=""))
        return (Job("7", "alice", "n", JobState.RUNNING, comment=self.comment),)

    async def drain(self, node: str, reason: str) -> None:
        self.asked.append(("drain", node, reason))

    async def resume(self, node: str) -> None:
        self.asked.append(("resume", node))

    async def set_time_limit(self, job_id: str, time_s: int) -> None:
        self.asked.append(("limit", job_id, str(time_s)))

    async def annotate(self, job_id: str, comment: str) -> None:
        self.asked.append(("annotate", job_id, comment))
        self.comment = comment

    async def tell(self, job_id: str, text: str, comment: str) -> None:
        self.asked.append(("tell", job_id, text))
        self.comment = comment


def operations(engine: FakeEngine, *, read_only: bool = False) -> Operations:
    return Operations(cast("Engine", engine), read_only=read_only)


async def test_an_administrator_drains_with_a_reason() -> None:
    engine = FakeEngine(node_admin=True)
    await operations(engine).drain("viz-node001", "  fan 2\nfailed ")
    assert engine.asked == [("drain", "viz-node001", "fan 2 failed")]


async def test_no_reason_no_drain() -> None:
    engine = FakeEngine(node_admin=True)
    with pytest.raises(UsageError, match="a reason is wanted"):
        await operations(engine).drain("viz-node001", " \x1b\u202e ")
    assert engine.asked == []


@pytest.mark.parametrize("node", ["viz-node[001-003]", "viz-node001,viz-node002", "ALL", ""])
async def test_only_one_node_that_is_there(node: str) -> None:
    engine = FakeEngine(node_admin=True)
    with pytest.raises(NotFound):
        await operations(engine).drain(node, "x")
    with pytest.raises(NotFound):
        await operations(engine).resume(node)
    assert engine.asked == []


async def test_an_operator_may_not_drain_but_extend() -> None:
    engine = FakeEngine(admin=True)
    with pytest.raises(Refused, match="an operator may not"):
        await operations(engine).drain("viz-node001", "x")
    assert await operations(engine).extend(SESSION, 1799) == 9000
    assert engine.asked == [("limit", "7", "9000")]


async def test_who_may_not_extend_gets_the_words_to_ask_for_it() -> None:
    with pytest.raises(Refused, match="only Slurm's operators may"):
        await operations(FakeEngine()).extend(SESSION, 3600)
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
        await operations(FakeEngine(admin=True)).extend(
            replace(SESSION, **change),  # type: ignore[arg-type]
            60,
        )


async def test_a_message_is_done_when_the_session_has_taken_it() -> None:
    engine = FakeEngine(looks=2)
    await operations(engine).message(SESSION, "save your work: 100% full, 저장")
    assert engine.asked == [("tell", "7", "save your work: 100% full, 저장")]
    assert comment.decode(engine.comment) == CLAIM


async def test_a_message_that_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vizdash.operations._TAKEN_S", 0.0)
    with pytest.raises(TimedOut):
        await operations(FakeEngine(looks=99)).message(SESSION, "hello")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"state": SessionState.PENDING}, "it is pending"),
        ({"legacy": True}, "shows no messages"),
        ({"mine": False, "user": "bob"}, "it belongs to bob"),
    ],
)
async def test_no_message_for(change: dict[str, object], why: str) -> None:
    engine = FakeEngine()
    with pytest.raises(Refused, match=why):
        await operations(engine).message(replace(SESSION, **change), "hello")  # type: ignore[arg-type]
    assert engine.asked == []


async def test_a_note_stays_in_the_comment() -> None:
    engine = FakeEngine(admin=True, looks=99)
    await operations(engine).note(replace(SESSION, mine=False), "node=x goes down %20 é")
    claim = comment.decode(engine.comment)
    assert claim == replace(CLAIM, note="node=x goes down %20 é")


async def test_a_text_that_would_not_fit_into_the_comment() -> None:
    with pytest.raises(UsageError, match="too long"):
        await operations(FakeEngine()).note(SESSION, "한" * 100)


async def test_read_only_changes_nothing() -> None:
    engine = FakeEngine(admin=True, node_admin=True)
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
    assert engine.asked == []


def test_a_text_is_one_line_without_control_characters() -> None:
    assert checked_text("a\tb\x1b[31m\r\nc\u202ed", "text", 99) == "a b [31m c d"


async def test_a_comment_that_is_the_sites_own_is_left_alone() -> None:
    """A message has no way then; a session is stopped all the same."""
    engine = FakeEngine(admin=True, comment="project=4711")
    with pytest.raises(Refused, match="the site's own"):
        await operations(engine).message(SESSION, "hello")
    await operations(engine).note(SESSION, "the node goes down")
    assert engine.asked == []
    assert engine.comment == "project=4711"
