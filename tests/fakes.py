"""Fakes of the three seams of a Service: the engine, the session store, the forwarder.

Tests put them under the real Service (``service_on``): what a front end sees is then made by the
code that users run. They hold model types only; what Slurm prints is replayed by
``tests.unit.engines.slurm_replay``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vizdash.config import Cluster, Config
from vizdash.engines import Engine, EngineInfo
from vizdash.errors import NotFound, VizdashError
from vizdash.model import Job, JobRequest, JobState, Node, Partition, Reservation
from vizdash.model.connection_status import ConnectionState, ConnectionStatus
from vizdash.service.service import Service
from vizdash.sessions.comment import decode
from vizdash.sessions.folder import Connection, Status
from vizdash.sessions.folder_store import SessionStore
from vizdash.transport.base import (
    Command,
    CommandRunner,
    Forward,
    PortForwarder,
    Reader,
    Remote,
    Result,
    Writer,
)

#: One query of jobs: what the engine answers, or why it does not.
Answer = Sequence[Job] | VizdashError


@dataclass
class FakeEngine(Engine):
    """Answers with what the test put here, and remembers what it was asked.

    ``queues`` are the answers about jobs, one after another; the last one stays. ``refusals`` are
    raised by the methods of these names (``cancel`` or, for one job alone, ``cancel 7``), ``gates``
    hold them up. ``on_call`` is called with the name of every method that is called, ``on_answer``
    with every job that is shown.
    """

    name: str = "slurm"
    about: EngineInfo = EngineInfo("slurm", "viz", "24.11", "alice")
    all_nodes: tuple[Node, ...] = ()
    all_partitions: tuple[Partition, ...] = ()
    all_reservations: tuple[Reservation, ...] = ()
    queues: list[Answer] = field(default_factory=lambda: [()])
    accounted: tuple[Job, ...] = ()
    start_at: int | None = None
    longest_s: int | None = None
    refusals: dict[str, Exception] = field(default_factory=dict)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    on_call: Callable[[str], None] = lambda name: None
    on_answer: Callable[[Job], None] = lambda job: None
    on_submit: Callable[[JobRequest], None] = lambda request: None
    submitted: list[JobRequest] = field(default_factory=list)
    #: The names of the methods that were called.
    calls: list[str] = field(default_factory=list)
    #: Every change that was asked for: the method's name and its arguments.
    changes: list[tuple[str, ...]] = field(default_factory=list)

    async def info(self) -> EngineInfo:
        await self._called("info")
        return self.about

    async def nodes(self) -> tuple[Node, ...]:
        await self._called("nodes")
        return self.all_nodes

    async def partitions(self) -> tuple[Partition, ...]:
        await self._called("partitions")
        return self.all_partitions

    async def reservations(self) -> tuple[Reservation, ...]:
        await self._called("reservations")
        return self.all_reservations

    async def jobs(self, *, user: str | None = None, partition: str = "") -> tuple[Job, ...]:
        await self._called("jobs")
        answer = self.queues.pop(0) if len(self.queues) > 1 else self.queues[0]
        if isinstance(answer, VizdashError):
            raise answer
        for job in answer:
            self.on_answer(job)
        return tuple(job for job in answer if user in {None, job.user})

    async def submit(self, request: JobRequest) -> str:
        self.submitted.append(request)
        await self._called("submit")
        self.on_submit(request)
        return str(1040 + len(self.submitted))

    async def expected_start(self, request: JobRequest) -> int | None:
        await self._called("expected_start")
        return self.start_at

    async def cancel(self, job_id: str) -> None:
        await self._called("cancel", job_id)
        await asyncio.sleep(0)  # a refusal of another one comes before this is done
        self.changes.append(("cancel", job_id))

    async def history(self, *, since_s: int, user: str | None = None) -> tuple[Job, ...]:
        await self._called("history")
        return self.accounted

    async def drain(self, node: str, reason: str) -> None:
        await self._change("drain", node, reason)

    async def resume(self, node: str) -> None:
        await self._change("resume", node)

    async def qos_lifts_time_limit(self, account: str, qos: str) -> bool:
        await self._called("qos_lifts_time_limit")
        return False

    async def max_time_s(self, account: str, qos: str, partition_qos: str = "") -> int | None:
        await self._called("max_time_s")
        return self.longest_s

    async def set_time_limit(self, job_id: str, time_s: int) -> None:
        await self._change("set_time_limit", job_id, str(time_s))

    async def set_comment(self, job_id: str, comment: str) -> None:
        await self._change("set_comment", job_id, comment)
        self.write_comment(job_id, comment)

    async def send_message(self, job_id: str, text: str, comment: str) -> None:
        await self._change("send_message", job_id, text)
        self.write_comment(job_id, comment)

    def write_comment(self, job_id: str, comment: str) -> None:
        """Give a job of the current queue another comment."""
        if not isinstance(self.queues[0], VizdashError):
            self.queues[0] = tuple(
                replace(job, comment=comment) if job.id == job_id else job for job in self.queues[0]
            )

    async def _change(self, *change: str) -> None:
        await self._called(*change)
        self.changes.append(change)

    async def _called(self, name: str, *arguments: str) -> None:
        self.calls.append(name)
        self.on_call(name)
        if name in self.gates:
            await self.gates[name].wait()
        for key in (name, " ".join((name, *arguments))):
            if key in self.refusals:
                raise self.refusals[key]


@dataclass
class MemoryStore(SessionStore):
    """The folders of sessions as dictionaries, by session id: the submitter's record, the job's
    status, the connection file, the log. ``job_id_reads`` counts how often all are searched.
    """

    records: dict[str, str] = field(default_factory=dict)
    known: dict[str, Status] = field(default_factory=dict)
    connections: dict[str, Connection] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    #: Ids of jobs by session, beside what ``known`` says.
    jobs: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    #: The ends of leases that were written, in seconds since the epoch.
    leases: dict[str, int] = field(default_factory=dict)
    job_id_reads: int = 0

    async def make(self, session_id: str, record: str) -> str:
        self.records[session_id] = record
        return f"/home/alice/{session_id}"

    async def write_record(self, session_id: str, record: str) -> None:
        self.records[session_id] = record

    async def write_lease(self, session_id: str, end_at: int) -> None:
        self.leases[session_id] = end_at

    async def remove(self, session_id: str) -> None:
        self.removed.append(session_id)

    async def connection(self, session_id: str) -> Connection:
        if session_id not in self.connections:
            raise NotFound(f"session {session_id}", "it has no connection file", "is it ready?")
        return self.connections[session_id]

    async def statuses(
        self, session_ids: Iterable[str], *, running: Collection[str] = ()
    ) -> Mapping[str, Status]:
        return {id: self.known[id] for id in session_ids if id in self.known}

    async def job_ids(self) -> Mapping[str, str]:
        self.job_id_reads += 1
        known = {id: status.job_id for id, status in self.known.items() if status.job_id}
        return known | self.jobs

    async def tail(self, session_id: str, lines: int) -> str:
        if session_id not in self.logs:
            raise NotFound(f"log of {session_id}", "the job has not begun")
        return "\n".join(self.logs[session_id].splitlines()[-lines:])

    def write_status(self, job: Job) -> None:
        """What the job of a session writes into its folder while it runs: what it claims. For
        ``FakeEngine.on_answer``.
        """
        claim = decode(job.comment)
        if claim is not None and job.state is JobState.RUNNING:
            self.known[claim.id] = Status(state=claim.state, step=claim.step, job_id=job.id)


@dataclass
class FakeForward(Forward):
    """A tunnel that is lost when its test sets ``gone``; nothing answers at its far end."""

    gone: asyncio.Event = field(default_factory=asyncio.Event)
    cause: str = "ssh to viz-node002 ended"

    async def dial(self) -> tuple[Reader, Writer]:
        raise ConnectionRefusedError

    async def wait_lost(self) -> str:
        await self.gone.wait()
        return self.cause

    async def close(self) -> None:
        self.gone.set()


@dataclass
class FakeForwarder(PortForwarder):
    """Opens tunnels that lead nowhere; ``refusal`` is raised instead."""

    opened: list[FakeForward] = field(default_factory=list)
    refusal: VizdashError | None = None

    async def open(self, node: str, socket: str, *, job_id: str = "") -> FakeForward:
        if self.refusal is not None:
            raise self.refusal
        self.opened.append(FakeForward())
        return self.opened[-1]


@dataclass
class FakeRemote(Remote):
    """The connection to a login host, in the state that its test gives it."""

    status: ConnectionStatus = ConnectionStatus("login", ConnectionState.UP)
    watchers: list[Callable[[ConnectionStatus], None]] = field(default_factory=list)
    tried: int = 0
    refusal: VizdashError | None = None

    def watch(self, watcher: Callable[[ConnectionStatus], None]) -> None:
        self.watchers.append(watcher)

    def become(
        self, state: ConnectionState, cause: str = "", retry_at: float | None = None
    ) -> None:
        """Change the state, and tell those who watch it."""
        self.status = ConnectionStatus("login", state, cause, retry_at)
        for watcher in self.watchers:
            watcher(self.status)

    async def log_in(self) -> None:
        self.tried += 1
        if self.refusal is not None:
            raise self.refusal

    async def open_port(self, host: str, port: int) -> FakeForward:
        return FakeForward()

    async def open_socket(self, path: str) -> FakeForward:
        return FakeForward()

    async def close(self) -> None:
        """Nothing is open."""


class NoCommands(CommandRunner):
    """A host on which every command fails."""

    async def run(self, command: Command) -> Result:
        return Result(1, "", "")

    def has(self, program: str) -> bool:
        return False


def service_on(
    engine: Engine,
    *,
    config: Config | None = None,
    runner: CommandRunner | None = None,
    store: SessionStore | None = None,
    forwarder: PortForwarder | None = None,
    remote: Remote | None = None,
) -> Service:
    """The real Service on fakes."""
    return Service(
        config or Config(Cluster("viz"), {}, {}),
        engine,
        runner or NoCommands(),
        forwarder or FakeForwarder(),
        store=store,
        remote=remote,
    )
