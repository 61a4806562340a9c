"""The verbs about sessions, on an engine with given answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace

import pytest

from tests.fakes import FakeEngine, service_on
from tests.unit.cli.console_script import Output, Vizdash
from vizdash.config import Config
from vizdash.errors import Refused, Unreachable, UsageError
from vizdash.model import Job, JobRequest, JobState, Node, Partition
from vizdash.service import wait_ready
from vizdash.service.desktop_routes import DesktopRoutes
from vizdash.service.service import Service
from vizdash.sessions import folder
from vizdash.sessions.comment import Claim, decode, encode
from vizdash.sessions.routes import Route

ONE, TWO, THREE = "3f9a01bc", "3f9a02bc", "4c0ffee0"


def job(
    number: int, session_id: str, state: JobState = JobState.RUNNING, claimed: str = "ready"
) -> Job:
    claim = encode(Claim(session_id, "desktop", "", claimed, "xvnc"))
    return Job(str(number), "alice", "vizdash-desktop", state, node="n1", comment=claim)


def _write_status(job: Job) -> None:
    """What the job itself would write into its folder."""
    claim = decode(job.comment)
    if claim is not None and job.state is JobState.RUNNING and folder.folder_of(claim.id).exists():
        text = f"STATE={claim.state}\nSTEP={claim.step}\nJOB_ID={job.id}\n"
        (folder.folder_of(claim.id) / "status").write_text(text)


def starts_as(engine: FakeEngine, *course: tuple[JobState, str]) -> None:
    """What becomes of a session that is started: its job's states and claims."""

    def begin(request: JobRequest) -> None:
        number = 1040 + len(engine.submitted)
        engine.queues = [(job(number, request.session_id, *stands),) for stands in course]

    engine.on_submit = begin


def cancelled(engine: FakeEngine) -> list[str]:
    return [change[1] for change in engine.changes if change[0] == "cancel"]


@pytest.fixture
def engine(vizdash: Vizdash, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    made = FakeEngine(
        all_nodes=(Node("n1", "IDLE", cores=8, memory_mib=8192, partitions=("viz",)),),
        all_partitions=(Partition("viz", default=True, nodes=("n1",)),),
        on_answer=_write_status,
    )

    async def connect(config: Config, *_: object) -> Service:
        return service_on(made, config=config)

    monkeypatch.setattr(import_module("vizdash.service.factory"), "connect", connect)
    return made


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """No time passes between two reads of a log, but for what the test does then."""

    def between(do: Callable[[], None]) -> None:
        async def sleep(seconds: float) -> None:
            do()
            await asyncio.sleep(0)

        quick = SimpleNamespace(sleep=sleep, gather=asyncio.gather)
        monkeypatch.setattr(import_module("vizdash.cli.sessions"), "asyncio", quick)

    return between


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves by what is waited."""
    now = [0.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(wait_ready, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(wait_ready, "time", SimpleNamespace(monotonic=lambda: now[0]))


def left(session_id: str, log: str, *, job_id: str = "") -> None:
    """What a session leaves in its folder."""
    place = folder.make_folder(session_id)
    (place / "job.log").write_text(log)
    if job_id:
        (place / "status").write_text(f"STATE=ended\nJOB_ID={job_id}\n")


# ---------------------------------------------------------------------- logs


@pytest.mark.parametrize("word", [ONE, ONE[:6], "1041"])
def test_a_log_is_shown_when_the_cluster_has_forgotten_the_job(
    vizdash: Vizdash, engine: FakeEngine, word: str
) -> None:
    left(ONE, "one's last words\n", job_id="1041")
    left(TWO, "two's\n", job_id="1042")
    output = vizdash("logs", word)
    assert (output.code, output.out, output.err) == (0, "one's last words\n", "")
    assert vizdash("logs", word, "-f").out == "one's last words\n"


def test_a_log_is_shown_of_a_job_that_wrote_nothing_else(
    vizdash: Vizdash, engine: FakeEngine
) -> None:
    left(ONE, "slurmstepd: error: no\n")
    assert vizdash("logs", ONE).out == "slurmstepd: error: no\n"


def test_a_live_session_goes_before_one_that_is_forgotten(
    vizdash: Vizdash, engine: FakeEngine
) -> None:
    engine.queues = [(job(1042, TWO),)]
    left(ONE, "one's\n", job_id="1041")
    left(TWO, "two's\n", job_id="1042")
    assert vizdash("logs", ONE[:4]).out == "two's\n"


def test_what_is_left_of_several_is_not_guessed_at(vizdash: Vizdash, engine: FakeEngine) -> None:
    left(ONE, "one's\n", job_id="1041")
    left(TWO, "two's\n", job_id="1042")
    output = vizdash("logs", ONE[:4])
    assert (output.code, output.out) == (2, "")
    assert output.line == f"session {ONE[:4]}: could be several (name the whole id)"
    for word in (THREE, ONE[:2], "1043"):
        assert "there is no such session of yours" in vizdash("logs", word).line


def test_a_log_that_is_followed_ends_when_the_cluster_forgets_the_job(
    vizdash: Vizdash, engine: FakeEngine, hasty: Callable[[Callable[[], None]], None]
) -> None:
    left(ONE, "begun\n", job_id="1041")
    engine.queues = [(job(1041, ONE),), (job(1041, ONE),), ()]
    log = folder.folder_of(ONE) / "job.log"

    def write() -> None:
        log.write_text(log.read_text() + "more\n")

    hasty(write)
    output = vizdash("logs", ONE, "-f")
    assert (output.code, output.out, output.err) == (0, "begun\nmore\nmore\n", "")


# ---------------------------------------------------------------------- stop


def _three() -> tuple[Job, ...]:
    return (job(1041, ONE), job(1042, TWO), job(1043, THREE))


def _after(*states: JobState) -> tuple[Job, ...]:
    ids = (ONE, TWO, THREE)
    return tuple(job(1041 + n, ids[n], state) for n, state in enumerate(states))


@pytest.mark.usefixtures("clock")
def test_all_are_stopped_whatever_comes_of_one(vizdash: Vizdash, engine: FakeEngine) -> None:
    over = JobState.CANCELLED
    engine.queues = [_three(), _three(), _three(), _after(JobState.RUNNING, over, JobState.RUNNING)]
    engine.refusals = {
        "cancel 1041": UsageError("scancel", "no such option"),
        "cancel 1043": Unreachable("Slurm", "slurmctld does not answer", "wait"),
    }
    output = vizdash("stop", ONE, TWO, THREE, "--json")
    assert cancelled(engine) == ["1042"]
    assert output.code == 2
    first, last = (
        f"session {ONE}: scancel: no such option",
        (f"session {THREE}: Slurm: slurmctld does not answer (wait)"),
    )
    assert output.err.splitlines() == [
        f"vizdash: session {TWO} has ended",
        f"vizdash: {last}",
        f"vizdash: {first}",
    ]
    assert output.json["stopped"] == [TWO]
    assert output.json["ending"] == []
    assert output.json["failed"] == [{"id": ONE, "error": first}, {"id": THREE, "error": last}]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("words", [(), ("--json",)])
def test_what_does_not_end_in_time_is_not_called_stopped(
    vizdash: Vizdash, engine: FakeEngine, words: tuple[str, ...]
) -> None:
    now = _after(JobState.CANCELLED, JobState.COMPLETING)
    engine.queues = [_three(), _three(), now]
    output = vizdash("stop", ONE, TWO, *words)
    assert output.code == 0
    assert output.err.splitlines() == [
        f"vizdash: session {ONE} has ended",
        f"vizdash: session {TWO} is still ending",
    ]
    if words:
        shown = {key: output.json[key] for key in ("stopped", "ending", "failed")}
        assert shown == {"stopped": [ONE], "ending": [TWO], "failed": []}
    else:
        assert output.out == ""


def test_what_names_the_session_already_is_left_as_it_is(
    vizdash: Vizdash, engine: FakeEngine
) -> None:
    engine.queues = [_three()]
    engine.refusals = {"cancel 1041": Refused(f"session {ONE}", "it belongs to bob")}
    output = vizdash("stop", ONE)
    assert (output.code, output.out) == (1, "")
    assert output.line == f"session {ONE}: it belongs to bob"


# ---------------------------------------------------------------------- start

STARTING, READY = (JobState.RUNNING, "starting"), (JobState.RUNNING, "ready")
FAILED = (JobState.NODE_FAIL, "starting")
ADDRESS = "http://127.0.0.1:40123/vnc.html#autoconnect=1&password=Xk29fQpa"


@pytest.fixture
def plain(vizdash: Vizdash, engine: FakeEngine, clock: None) -> FakeEngine:
    """An engine, and an app that needs no image."""
    vizdash.config.write_text(
        "clusters: {here: {engine: local, handoff_host: login2}}\n"
        "apps: {plain: {runtime: host, host_command: xterm}}\n"
    )
    return engine


def _id(output: Output) -> str:
    """The session that was started, as stderr calls it."""
    return output.err.split()[2]


@pytest.mark.parametrize(
    ("course", "state", "line"),
    [
        ((STARTING,), "starting", ": starting on n1, step xvnc after 60 s (it is left as it is)"),
        ((STARTING, FAILED), "ended", " failed at step xvnc: its node failed"),
    ],
)
def test_a_started_session_is_printed_though_it_did_not_get_ready(
    vizdash: Vizdash,
    plain: FakeEngine,
    course: tuple[tuple[JobState, str], ...],
    state: str,
    line: str,
) -> None:
    starts_as(plain, *course)
    for words in ((), ("--json",)):
        output = vizdash("start", "plain", "--wait", "--timeout", "1m", *words)
        assert output.code == 1
        assert f"session {_id(output)}{line}" in output.err.splitlines()[-1]
        if words:
            assert (output.json["session"]["id"], output.json["session"]["state"]) == (
                _id(output),
                state,
            )
            assert "address" not in output.json
        else:
            assert output.out == f"{_id(output)}\n"


def test_a_ready_session_is_printed_once(vizdash: Vizdash, plain: FakeEngine) -> None:
    starts_as(plain, STARTING, READY)
    output = vizdash("start", "plain", "--wait")
    assert (output.code, output.out) == (0, f"{_id(output)}\n")
    assert vizdash("start", "plain", "--wait", "--json").json["session"]["state"] == "ready"


def _opens(monkeypatch: pytest.MonkeyPatch, kind: str, *, shown: bool) -> None:
    """Desktops are opened by such a route, and its holder ends at once."""

    async def open_desktop(*_: object, **__: object) -> tuple[Route, bool]:
        return Route(kind, ADDRESS, "127.0.0.1", 40123, "/tmp/vizdash-x7k2m9qd/s"), shown

    async def until_lost(*_: object) -> None:
        return None

    monkeypatch.setattr(DesktopRoutes, "open_desktop", open_desktop)
    monkeypatch.setattr(import_module("vizdash.cli.sessions"), "until_lost", until_lost)


@pytest.mark.parametrize("kind", ["direct", "tunnel", "handoff"])
def test_the_address_is_in_the_one_object(
    vizdash: Vizdash, plain: FakeEngine, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    _opens(monkeypatch, kind, shown=False)
    starts_as(plain, READY)
    output = vizdash("start", "plain", "--open", "--json")
    assert (output.code, output.json["session"]["state"]) == (0, "ready")
    address, _, secret = output.json["address"].partition("#")
    assert "password" not in address
    assert secret == ADDRESS.partition("#")[2]
    assert "Xk29fQpa" not in output.err
    starts_as(plain, READY)
    alone = vizdash("start", "plain", "--open").out
    assert alone.count("\n") == 1
    assert alone.endswith(f"/vnc.html#{secret}\n")


def test_a_browser_that_shows_it_needs_no_address(
    vizdash: Vizdash, plain: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    _opens(monkeypatch, "tunnel", shown=True)
    starts_as(plain, READY)
    output = vizdash("start", "plain", "--open", "--json")
    assert (output.code, output.json["address"]) == (0, None)
    assert vizdash("start", "plain", "--open").out == ""


def test_a_session_that_cannot_be_opened_is_printed_nevertheless(
    vizdash: Vizdash, plain: FakeEngine
) -> None:
    starts_as(plain, READY)  # but it has left no connection file
    output = vizdash("start", "plain", "--open", "--json")
    assert output.code == 1
    assert "it has no connection file" in output.err.splitlines()[-1]
    assert (output.json["session"]["id"], output.json["address"]) == (_id(output), None)
    output = vizdash("start", "plain", "--open")
    assert (output.code, output.out) == (1, "")


def test_a_session_that_would_end_at_logout_says_so(
    vizdash: Vizdash, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def warning(self: Service) -> str:
        return "logind ends it when you log out"

    starts_as(engine, (JobState.PENDING, "pending"))
    assert "log out" not in vizdash("start", "desktop").err
    monkeypatch.setattr(Service, "query_logout_warning", warning)
    started = vizdash("start", "desktop")
    assert started.code == 0
    last = started.err.splitlines()[-1]
    assert last.startswith("vizdash: session ")
    assert last.endswith(": logind ends it when you log out")
