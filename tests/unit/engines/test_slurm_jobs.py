"""Jobs as three versions of Slurm print them, with texts that try to break the listing."""

from __future__ import annotations

import os
import re

import pytest

from tests.unit.engines.slurm_replay import Recording, Replay, from_program
from vizdash.engines.slurm import SlurmEngine, commands, parse
from vizdash.errors import Unreachable, VizdashError
from vizdash.model import Job, JobState
from vizdash.model.node import gpu_count
from vizdash.sessions.comment import decode
from vizdash.transport import Command, Result

SESSION_COMMENT = "vizdash/1 id=0a1b2c3d app=paraview image=5.11 state=ready step=ready"


@pytest.fixture
async def jobs(recording: Recording) -> dict[str, Job]:
    """Jobs by what the recorder calls them."""
    found = {job.id: job for job in await recording.engine().jobs()}
    return {key: found[number] for key, number in recording.jobs.items() if number in found}


async def test_every_job_is_listed_and_none_is_invented(recording: Recording) -> None:
    listed = await recording.engine().jobs()
    assert len(listed) == len({job.id for job in listed})
    known = {number for key, number in recording.jobs.items() if key != "dave-3"}
    found = {job.id.split("_")[0].split("+")[0] for job in listed}
    assert found >= known
    # Newer generations also keep what they refused.
    refused = {job.id for job in listed if job.id in found - known}
    assert {job.state for job in listed if job.id in refused} <= {JobState.FAILED}


async def test_numbers_of_a_running_job(recording: Recording, jobs: dict[str, Job]) -> None:
    job = jobs["session"]
    assert job.id == recording.job("session")
    assert (job.user, job.name) == ("alice", "vizdash-paraview")
    assert job.state is JobState.RUNNING
    assert (job.partition, job.node, job.reason) == ("viz", "viz-node001", "")
    assert (job.cores, job.memory_mib, job.gres) == (2, 1024, "")
    assert job.time_limit_s == 7200
    assert job.time_left_s is not None
    assert 6000 < job.time_left_s < 7200
    assert job.start_at is not None
    assert job.submit_at is not None
    assert 0 <= job.start_at - job.submit_at < 60
    assert (job.account, job.qos) == ("viz", "normal")
    assert job.comment == SESSION_COMMENT


@pytest.mark.parametrize(
    ("key", "state"),
    [
        ("session", JobState.RUNNING),
        ("resources", JobState.PENDING),
        ("stubborn", JobState.COMPLETING),
        ("suspended", JobState.SUSPENDED),
        ("done", JobState.COMPLETED),
        ("failed", JobState.FAILED),
        ("killed", JobState.FAILED),
        ("cancelled", JobState.CANCELLED),
        ("cancelled-waiting", JobState.CANCELLED),
        ("timeout", JobState.TIMEOUT),
        ("lost", JobState.NODE_FAIL),
    ],
)
def test_states(jobs: dict[str, Job], key: str, state: JobState) -> None:
    assert jobs[key].state is state


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("session", ""),
        ("resources", "waiting for free cores, memory or GPUs"),
        ("priority", "jobs with a higher priority come first"),
        ("dependency", "waiting for another job"),
        ("never", "the job it depends on can no longer satisfy the dependency"),
        ("later", "it is not to start yet"),
        ("held", "held by its user"),
        ("held-by-admin", "held by an administrator"),
        ("closed", "the partition is down"),
        ("resting", "the partition starts no jobs now"),
        ("drained-node", "a node it needs is down, drained or reserved"),
        ("down-node", "a node it needs is down, drained or reserved (viz-node004)"),
        ("unlicensed", "waiting for a licence"),
        ("reserved", "waiting for its reservation to begin"),
        ("single-2", "more than the QOS allows a user: running jobs"),
        ("small", "more than the QOS allows a user: CPUs"),
        ("shared", "all jobs of the QOS together have reached its limit: CPUs"),
        ("dave-2", "more than the account allows: running jobs"),
        ("failed", "it ended with an error"),
        ("too-long", "it asks for more time than the partition allows"),
        ("timeout", "it reached its time limit"),
        ("lost", "its node went down"),
    ],
)
def test_reasons_in_words(jobs: dict[str, Job], key: str, words: str) -> None:
    # An unavailable node is named where Slurm names it.
    assert jobs[key].reason.removesuffix(" (viz-node003)") == words


async def test_no_reason_is_left_as_a_code(recording: Recording) -> None:
    for job in await recording.engine().jobs():
        first = job.reason.split(" ")[0]
        assert first == first.lower(), job.reason


def test_an_unlimited_job_has_no_time_limit(jobs: dict[str, Job]) -> None:
    job = jobs["unlimited"]
    assert (job.time_limit_s, job.time_left_s) == (None, None)


def test_a_job_past_its_limit_has_no_time_left(jobs: dict[str, Job]) -> None:
    assert jobs["timeout"].time_limit_s == 60
    assert jobs["timeout"].time_left_s == 0


def test_days_in_a_time_limit(jobs: dict[str, Job]) -> None:
    # Slurm rounds up to whole minutes.
    assert jobs["hostile"].time_limit_s == ((2 * 24 + 3) * 60 + 5) * 60


def test_gpus_of_a_job(jobs: dict[str, Job]) -> None:
    for key in ("unlimited", "dave-1"):
        assert gpu_count(jobs[key].gres) == 1
        assert jobs[key].gres == "gpu:1"
    assert gpu_count(jobs["session"].gres) == 0


def test_memory_requested_per_core_is_reported_per_core(jobs: dict[str, Job]) -> None:
    """squeue does not say which of both it is; vizdash's own jobs ask by node."""
    assert (jobs["per-cpu"].cores, jobs["per-cpu"].memory_mib) == (2, 512)


def test_a_pending_job_has_its_expected_start(jobs: dict[str, Job]) -> None:
    job = jobs["resources"]
    assert job.node == ""
    assert job.submit_at is not None
    assert job.start_at is None or job.start_at > job.submit_at
    assert jobs["later"].start_at is not None
    assert jobs["held"].start_at is None


def test_the_comment_comes_as_it_was_written(jobs: dict[str, Job]) -> None:
    claim = decode(jobs["session"].comment)
    assert claim is not None
    assert (claim.id, claim.app, claim.image, claim.state) == (
        "0a1b2c3d",
        "paraview",
        "5.11",
        "ready",
    )


def test_another_users_job_with_our_comment_stays_that_users(jobs: dict[str, Job]) -> None:
    job = jobs["forged"]
    assert job.comment == SESSION_COMMENT
    assert (job.user, job.name) == ("bob", "vizdash-paraview")
    assert job.id != jobs["session"].id


def test_newlines_bars_and_control_characters_stay_in_their_fields(jobs: dict[str, Job]) -> None:
    job = jobs["hostile"]
    assert job.name == "a\nb|c\x1fd\x1b[31me</x>'\"`$(id)\\n;%i"
    comment = os.fsencode(job.comment)
    assert comment.startswith(b"line one\nline|two\x1f\x1b[0m \"q\" 'q' <three>\x07\x01\x7f bad ")
    assert comment.endswith("é 日本 \u202e\n\tJobId=1 NodeName=x State=IDLE ".encode())
    assert b"\xff\xc3(" in comment
    assert (job.user, job.state, job.node) == ("bob", JobState.RUNNING, "viz-node002")
    assert job.partition == "viz"


def test_a_text_made_like_records_makes_no_job(jobs: dict[str, Job]) -> None:
    job = jobs["forged-record"]
    assert "77777" in job.name
    assert "77777" in job.comment
    assert job.comment.endswith(">\n")
    assert "77777" not in {other.id for other in jobs.values()}
    assert (job.user, job.state) == ("bob", JobState.RUNNING)


def test_long_texts_come_whole(jobs: dict[str, Job]) -> None:
    assert jobs["long-texts"].comment == "x" * 1000
    assert jobs["long-texts"].name == "n" * 1000


async def test_array_tasks(recording: Recording) -> None:
    number = recording.job("tasks")
    found = [j for j in await recording.engine().jobs() if j.id.startswith(f"{number}_")]
    assert {job.id for job in found} == {f"{number}_1", f"{number}_[2-9%1]"}
    waiting = next(job for job in found if job.state is JobState.PENDING)
    assert waiting.reason == "the array's limit of running tasks is reached"


async def test_parts_of_a_heterogeneous_job(recording: Recording) -> None:
    number = recording.job("het")
    found = {j.id for j in await recording.engine().jobs() if j.id.startswith(f"{number}+")}
    assert found == {f"{number}+0", f"{number}+1"}


async def test_every_id_can_be_cancelled(recording: Recording) -> None:
    for job in await recording.engine().jobs():
        # All but how many tasks of an array may run at once.
        assert commands.scancel(job.id).argv[-1] == re.sub(r"%[0-9]+", "", job.id)


async def test_one_users_jobs(recording: Recording) -> None:
    mine = await recording.engine().jobs(user="alice")
    every = await recording.engine().jobs()
    assert {job.user for job in mine} == {"alice"}
    assert {job.id for job in mine} == {job.id for job in every if job.user == "alice"}


async def test_one_partitions_jobs(recording: Recording) -> None:
    short = {job.id for job in await recording.engine().jobs(partition="short")}
    assert recording.job("two-partitions") in short
    assert recording.job("session") not in short
    viz = {job.id for job in await recording.engine().jobs(partition="viz")}
    assert recording.job("two-partitions") in viz


async def test_a_user_without_jobs(recording: Recording) -> None:
    engine = recording.engine(squeue="squeue-idle-user")
    assert await engine.jobs(user="eve") == ()


async def test_a_user_unknown_to_slurm(recording: Recording) -> None:
    """No jobs, or an error: never another user's jobs."""
    engine = recording.engine(squeue="squeue-nobody")
    try:
        found = await engine.jobs(user="nosuch")
    except Unreachable:
        found = ()
    assert found == ()


@pytest.mark.parametrize("left_out", [1, 2, 30, 1000])
async def test_a_cut_answer_is_no_answer(recording: Recording, left_out: int) -> None:
    answer = recording.answer("squeue").stdout[:-left_out]
    with pytest.raises(Unreachable, match="cut short"):
        parse.jobs(answer, recording.nonce)


@pytest.mark.parametrize("name", ["squeue", "squeue-user", "nodes", "partitions", "config"])
async def test_what_is_asked_is_what_was_recorded(recording: Recording, name: str) -> None:
    now = {
        "squeue": commands.squeue(recording.nonce),
        "squeue-user": commands.squeue(recording.nonce, user="alice"),
        "nodes": commands.show_nodes(),
        "partitions": commands.show_partitions(),
        "config": commands.show_config(),
    }[name]
    assert from_program(now) == recording.argv(name), "record again: tests/recorded/record all"


async def test_each_call_has_a_separator_of_its_own(recording: Recording) -> None:
    replay = Replay(recording)
    engine = SlurmEngine(replay, user="alice")
    await engine.jobs()
    await engine.jobs()
    first, second = (command.argv for command in replay.commands)
    assert first != second


class FixedAnswers:
    """A CommandRunner with one answer."""

    def __init__(self, result: Result) -> None:
        self._result = result

    async def run(self, command: Command) -> Result:
        return self._result

    def has(self, program: str) -> bool:
        return True


async def test_a_ping_that_is_refused_takes_nothing_from_the_configuration(
    recording: Recording,
) -> None:
    """scontrol show config ends with it: code 1, and no word (RPC rate limit, REQUEST_PING)."""
    shown = recording.answer("config").stdout
    assert (
        await SlurmEngine(FixedAnswers(Result(1, shown, "")), user="alice")._configured()
    ).cluster
    for answer in (Result(1, "", ""), Result(1, shown, "slurm_load_ctl_conf error: x\n")):
        with pytest.raises(VizdashError):
            await SlurmEngine(FixedAnswers(answer), user="alice")._configured()


async def test_no_jobs_at_all() -> None:
    assert await SlurmEngine(FixedAnswers(Result(0, "", "")), user="alice").jobs() == ()


def test_a_state_that_is_newer_than_us_is_unknown() -> None:
    fields = ["1", "alice", "x", "TELEPORTING", *[""] * (len(commands.JOB_FIELDS) - 4)]
    assert parse.job(fields).state is JobState.UNKNOWN
