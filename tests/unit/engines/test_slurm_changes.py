"""What three versions of Slurm answer to operators and to ordinary users."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.unit.engines.slurm_replay import (
    DESKTOP_REQUEST,
    VERSIONS,
    Recording,
    Replay,
    from_program,
)
from vizdash.engines.slurm import SlurmEngine, commands, parse
from vizdash.errors import CommandFailed, NotFound, Refused, Unreachable
from vizdash.model import Job, JobState


@pytest.mark.parametrize(
    ("user", "admin", "node_admin"),
    [
        ("alice", False, False),
        ("eve", False, False),
        ("olga", True, False),
        ("adam", True, True),
        ("root", True, True),
    ],
)
async def test_roles(recording: Recording, user: str, admin: bool, node_admin: bool) -> None:
    info = await recording.engine(user=user).info()
    assert (info.admin, info.node_admin) == (admin, node_admin)
    assert info.accounting
    assert info.job_retention_s == 3600


def test_a_role_is_known_while_slurmdbd_does_not_answer(recording: Recording) -> None:
    answer = recording.answer("user-olga-dbd-down")
    assert parse.admin_level(answer.stdout, "olga") == "Operator"


def test_another_users_level_is_not_yours(recording: Recording) -> None:
    answer = recording.answer("user-olga")
    assert parse.admin_level(answer.stdout, "ol") == ""
    assert parse.admin_level("", "olga") == ""


async def test_without_accounting_no_role_is_queried() -> None:
    replay = NoAccounting(Recording(VERSIONS[-1]))
    info = await SlurmEngine(replay, user="olga").info()
    assert (info.admin, info.accounting, info.job_retention_s) == (False, False, 300)
    assert len(replay.commands) == 1
    with pytest.raises(Refused, match="keeps no accounting") as caught:
        await SlurmEngine(replay, user="olga").history(since_s=60)
    assert "ended jobs are known for 5 min" in caught.value.line


class NoAccounting(Replay):
    def __init__(self, recording: Recording, more: str = "") -> None:
        super().__init__(recording)
        self.more = more

    async def run(self, command):  # type: ignore[no-untyped-def]
        self.commands.append(command)
        text = "ClusterName = plain\nAccountingStorageType = (null)\nMinJobAge = 300 sec\n"
        text += self.more
        return type(self.recording.answer("config"))(0, text, "")


@pytest.mark.parametrize(
    ("user", "admin"), [("slurm", True), ("root", True), ("slurmx", False), ("olga", False)]
)
async def test_slurm_user_is_an_administrator_where_nothing_is_accounted(
    user: str, admin: bool
) -> None:
    replay = NoAccounting(Recording(VERSIONS[-1]), "SlurmUser = slurm(64030)\n")
    info = await SlurmEngine(replay, user=user).info()
    assert (info.admin, info.node_admin) == (admin, admin)


Change = Callable[[SlurmEngine], Awaitable[None]]
DRAIN: Change = lambda e: e.drain("viz-node008", "x")  # noqa: E731
RESUME: Change = lambda e: e.resume("viz-node008")  # noqa: E731
LIMIT: Change = lambda e: e.set_time_limit("1", 7200)  # noqa: E731
COMMENT: Change = lambda e: e.set_comment("1", "x")  # noqa: E731


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("drain-adam", DRAIN),
        ("resume-adam", RESUME),
        ("comment-olga", COMMENT),
        ("comment-adam", COMMENT),
        ("limit-olga", LIMIT),
        ("limit-adam", LIMIT),
        ("limit-shorter", LIMIT),
    ],
)
async def test_who_may_does(recording: Recording, name: str, change: Change) -> None:
    await change(recording.engine(scontrol=name))


@pytest.mark.parametrize(
    ("name", "change", "what", "why"),
    [
        ("drain-alice", DRAIN, "node viz-node008 was not drained", "does not allow it to you"),
        ("drain-olga", DRAIN, "node viz-node008 was not drained", "does not allow it to you"),
        ("resume-alice", RESUME, "node viz-node008 was not resumed", "does not allow it to you"),
        ("drain-nosuch", DRAIN, "node viz-node008 was not drained", "there is no such node"),
        ("resume-idle", RESUME, "node viz-node008 was not resumed", "state does not allow it"),
        ("limit-alice", LIMIT, "the time limit of job 1 was not", "does not allow it to you"),
        ("limit-longer", LIMIT, "the time limit of job 1 was not", "does not allow it to you"),
        ("limit-ended", LIMIT, "the time limit of job 1 was not", "it has ended"),
        ("limit-nosuch", LIMIT, "the time limit of job 1 was not", "no such job"),
        ("comment-alice", COMMENT, "the comment of job 1 was not", "does not allow it to you"),
        ("comment-ended", COMMENT, "the comment of job 1 was not", "it has ended"),
        ("comment-nosuch", COMMENT, "the comment of job 1 was not", "no such job"),
    ],
)
async def test_a_user_without_rights_is_refused_with_the_reason(
    recording: Recording, name: str, change: Change, what: str, why: str
) -> None:
    with pytest.raises(Refused) as caught:
        await change(recording.engine(scontrol=name))
    assert what in caught.value.what
    assert why in caught.value.why
    assert "error" not in caught.value.line.lower()


@pytest.mark.parametrize("name", ["warn-alice", "warn-ended", "warn-nosuch"])
async def test_a_job_that_is_not_woken(recording: Recording, name: str) -> None:
    engine = recording.engine(scontrol="comment-olga", scancel=name)
    with pytest.raises(Refused, match="job 1 got no message"):
        await engine.send_message("1", "hello", "comment")


async def test_a_message_is_a_comment_and_a_signal(recording: Recording) -> None:
    replay = Replay(recording, instead={"scontrol": "comment-olga", "scancel": "warn-olga"})
    await SlurmEngine(replay, user="olga").send_message("1", "hello", "vizdash/1 ... note=hello")
    first, second = (from_program(command) for command in replay.commands)
    assert first == ["scontrol", "update", "JobId=1", "Comment=vizdash/1 ... note=hello"]
    assert second == ["scancel", "--signal=USR1", "--batch", "1"]


@pytest.mark.parametrize("name", ["viz-node[001-003]", "a,b", "ALL x", "", "-x", "a=b"])
def test_a_list_of_nodes_is_no_node(name: str) -> None:
    with pytest.raises(NotFound):
        commands.drain_node(name, "x")
    with pytest.raises(NotFound):
        commands.resume_node(name)


@pytest.fixture
async def ended_jobs(recording: Recording) -> dict[str, Job]:
    found = await recording.engine(user="olga").history(since_s=86400)
    by_id = {job.id: job for job in found}
    return {key: by_id[value] for key, value in recording.jobs.items() if value in by_id}


def test_how_each_ended(ended_jobs: dict[str, Job]) -> None:
    states = {name: ended_jobs[name].state for name in ("timeout", "done", "failed", "cancelled")}
    assert states == {
        "timeout": JobState.TIMEOUT,
        "done": JobState.COMPLETED,
        "failed": JobState.FAILED,
        "cancelled": JobState.CANCELLED,
    }


def test_what_still_runs_is_not_over(ended_jobs: dict[str, Job]) -> None:
    assert "session" not in ended_jobs
    assert "resources" not in ended_jobs


def test_a_past_jobs_figures(ended_jobs: dict[str, Job]) -> None:
    job = ended_jobs["timeout"]
    assert (job.user, job.node, job.partition) == ("bob", "viz-node011", "spare")
    assert (job.cores, job.memory_mib, job.time_limit_s) == (1, 128, 60)
    assert job.account == "viz"
    assert job.submit_at is not None
    assert job.start_at is not None
    assert job.end_at is not None
    assert job.submit_at <= job.start_at < job.end_at


def test_one_that_never_ran_has_no_node(ended_jobs: dict[str, Job]) -> None:
    assert ended_jobs["priority"].node == ""
    assert ended_jobs["priority"].state is JobState.CANCELLED


async def test_the_history_holds_only_the_users_own_jobs(recording: Recording) -> None:
    found = await recording.engine().history(since_s=86400, user="alice")
    assert {job.user for job in found} == {"alice"}


async def test_a_user_unknown_to_the_host(recording: Recording) -> None:
    with pytest.raises(CommandFailed, match="Invalid user id: nosuch"):
        await recording.engine(sacct="sacct-nobody").history(since_s=60, user="nosuch")


def test_nothing_ended() -> None:
    assert parse.history("", "0123") == ()


async def test_slurmdbd_does_not_answer(recording: Recording) -> None:
    with pytest.raises(Unreachable):
        await recording.engine(sacct="sacct-down").history(since_s=60, user="alice")


def test_every_record_is_found_whatever_its_texts(recording: Recording) -> None:
    """Hostile names and comments (newlines, bars, quotes) break no record."""
    answer = recording.answer("sacct")
    jobs = {job.id: job for job in parse.history(answer.stdout, recording.nonce)}
    hostile = jobs[recording.job("hostile")]
    assert hostile.user == "bob"
    assert "\n" in hostile.name
    began = ("session", "unlimited", "forged", "forged-record", "long-texts", "per-cpu", "whole")
    assert {recording.job(name) for name in began} <= set(jobs)
    assert all(job.user and job.state is not JobState.UNKNOWN for job in jobs.values())


@pytest.mark.parametrize("share", [0.3, 0.5, 0.97])
def test_a_cut_answer_is_not_taken(recording: Recording, share: float) -> None:
    text = recording.answer("sacct").stdout
    with pytest.raises(Unreachable, match="cut short"):
        parse.history(text[: int(len(text) * share)].rstrip("\n"), recording.nonce)


@pytest.mark.parametrize(
    ("tres", "gres"),
    [
        ("billing=2,cpu=2,mem=1G,node=1", ""),
        ("cpu=2,gres/gpu=2,mem=1G", "gpu:2"),
        ("cpu=2,gres/gpu:a100=2,gres/gpu=2", "gpu:a100:2"),
        ("", ""),
    ],
)
def test_gpus_of_a_past_job(tres: str, gres: str) -> None:
    assert parse.tres_gres(tres) == gres


async def test_when_it_would_start(recording: Recording) -> None:
    """The node is another job's for two hours, and one more waits for it for as long."""
    jobs = {job.id: job for job in await recording.engine().jobs()}
    whole = jobs[recording.job("whole")]
    assert whole.start_at is not None
    assert whole.time_limit_s is not None
    later = await recording.engine(sbatch="test-later").expected_start(DESKTOP_REQUEST)
    assert later is not None
    assert 0 <= later - (whole.start_at + 2 * whole.time_limit_s) < 300
    other = await recording.engine(sbatch="test-now").expected_start(DESKTOP_REQUEST)
    assert other is not None


@pytest.mark.parametrize(
    ("name", "why"),
    [("test-never", "no node it may run on has"), ("test-qos", "QOS allows")],
)
async def test_it_would_never_start(recording: Recording, name: str, why: str) -> None:
    with pytest.raises(Refused, match=why) as caught:
        await recording.engine(sbatch=name).expected_start(DESKTOP_REQUEST)
    assert caught.value.what == "desktop can't be started"


def test_nothing_is_submitted_by_asking() -> None:
    command = commands.sbatch_test_only(commands.sbatch(DESKTOP_REQUEST))
    words = from_program(command)
    assert words[:2] == ["sbatch", "--test-only"]
    assert "SLURM_TIME_FORMAT=%s" in command.argv
    assert words[2:] == from_program(commands.sbatch(DESKTOP_REQUEST))[1:]
    assert command.input == DESKTOP_REQUEST.script


@pytest.mark.parametrize("output", ["", "sbatch: Job 7 to start at soon using 1 processors"])
def test_a_start_that_slurm_does_not_report(output: str) -> None:
    assert parse.parse_test_only(output) is None
