"""What three versions of Slurm print when they refuse or fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.engines.slurm_replay import (
    DESKTOP_REQUEST,
    VERSIONS,
    Recording,
    Replay,
    from_program,
)
from vizdash.engines.slurm import SlurmEngine, commands, refusals
from vizdash.errors import CommandFailed, NotFound, Refused, TimedOut, Unreachable, VizdashError
from vizdash.transport import Command, Result


async def refused(recording: Recording, name: str) -> VizdashError:
    engine = recording.engine(sbatch=name)
    with pytest.raises(VizdashError) as caught:
        await engine.submit(DESKTOP_REQUEST)
    return caught.value


async def test_a_job_that_is_taken_gives_its_id(recording: Recording) -> None:
    number = await recording.engine(sbatch="sbatch-ok").submit(DESKTOP_REQUEST)
    assert number == recording.answer("sbatch-ok").stdout.strip()
    assert number.isdigit()


async def test_a_warning_does_not_hide_the_id(recording: Recording) -> None:
    number = await recording.engine(sbatch="sbatch-nodes-many").submit(DESKTOP_REQUEST)
    assert number.isdigit()


@pytest.mark.parametrize(
    ("name", "why", "fix"),
    [
        ("memory", "no node of the partition has that much memory", "request less memory"),
        ("memory-limit", "the partition gives no job that much memory", "request less memory"),
        ("cores", "many cores", "ask for fewer cores"),
        ("cores-limit", "many cores", "ask for fewer cores"),
        ("cores-and-memory", "memory", "request less"),
        ("gpus", "no node it may run on has the requested cores, memory and GPUs", "request less"),
        ("gpus-kind", "no node it may run on has the requested cores, memory and GPUs", ""),
        ("gpus-both", "GPUs were asked for both with and without a type", "ask for one"),
        ("gres", "the cluster has no such GPUs (or other GRES)", "ask for none"),
        ("partition", "there is no such partition", "name another partition"),
        ("node", "there is no such node", "name another node"),
        ("node-elsewhere", "", ""),
        ("excluded", "no node it may run on has", ""),
        ("constraint", "no node has the features", "leave out --constraint"),
        ("constraint-syntax", "no node has the features", "leave out --constraint"),
        ("time-limit", "it is more time than the partition allows", "request less time"),
        ("time-syntax", "that is no time limit", "2h"),
        ("reservation", "there is no such reservation", "leave out --reservation"),
        ("reservation-other", "the reservation is not for you", "leave out --reservation"),
        ("resting", "the partition takes no jobs now", "wait, or name another partition"),
        ("leaving", "the partition takes no jobs now", "wait, or name another partition"),
        ("group", "your groups may not use this partition", "name another partition"),
        ("gated", "you may not use this account with this partition", "name another account"),
        ("account", "you may not use this account", "name another account"),
        ("account-other", "you may not use this account", "name another account"),
        ("no-account", "you may not use this account", "name another account"),
        ("qos", "you may not use this QOS, or there is none such", "name another QOS"),
        ("qos-other", "you may not use this QOS", "name another QOS"),
        ("qos-partition", "you may not use this QOS", "name another QOS"),
        ("qos-strict", "more than the QOS allows a job: CPUs", "request less"),
        ("qos-strict-time", "more than the QOS allows a job: time", "request less"),
        ("qos-submit", "more than the QOS allows a user: submitted jobs", "stop a session"),
        ("account-submit", "more than the account allows: submitted jobs", "stop a session"),
        ("site-rule", "site rule: at most 2 desktops; each: see the wiki", ""),
        ("option", "sbatch does not know the option --nosuch", "man sbatch"),
        ("option-value", '"many" is not a valid node count', ""),
        ("licence", "the cluster has no such licence", "leave out --licenses"),
        ("dependency", "it can't wait for the job", "leave out --dependency"),
        ("begin", "someday", ""),
        ("array", "Invalid job array specification", ""),
        ("dos", "the script's lines end as Windows writes them", "dos2unix"),
        ("no-interpreter", "the script does not begin with #!", "#!/bin/bash"),
        ("empty", "the script is empty", ""),
    ],
)
async def test_refusals(recording: Recording, name: str, why: str, fix: str) -> None:
    error = await refused(recording, f"sbatch-{name}")
    assert isinstance(error, Refused)
    assert error.what == "desktop was not started"
    assert why in error.why
    assert fix in error.fix
    assert "\n" not in error.line
    assert "sbatch:" not in error.line
    assert "Batch job submission failed" not in error.line
    assert "Unspecified error" not in error.line


async def test_every_refusal_that_was_recorded_has_a_reason(recording: Recording) -> None:
    for name in recording.names("sbatch-"):
        answer = recording.answer(name)
        if answer.code:
            error = refusals.refusal("desktop was not started", answer)
            assert error.why, name


_TIME = "Requested time limit is invalid (missing or exceeds some limit)"
_PARTITION = "Invalid partition name specified"
_FEATURE = "Invalid feature specification"


@pytest.mark.parametrize(
    ("before", "code", "why", "fix"),
    [
        (["4 h by day,", "or --qos=night"], _TIME, f"4 h by day,; or --qos=night; {_TIME}", ""),
        (["use --partition=viz2"], _PARTITION, f"use --partition=viz2; {_PARTITION}", ""),
        (
            ["QOSMaxCpuPerJobLimit", "12% of your quota are used"],
            "Job violates accounting/QOS policy",
            "more than the QOS allows a job: CPUs; 12% of your quota are used",
            "request less",
        ),
        # Slurm's own lines are in vizdash's words.
        (["invalid partition specified: a"], _PARTITION, "there is no such", "name another"),
        (["Node feature requirements can not be satisfied"], _FEATURE, "no node has", "leave out"),
    ],
)
def test_what_a_site_says_comes_first_whatever_its_code(
    before: list[str], code: str, why: str, fix: str
) -> None:
    lines = [*before, f"Batch job submission failed: {code}"]
    stderr = "sbatch: warning: one\n" + "".join(f"sbatch: error: {line}\n" for line in lines)
    error = refusals.refusal("desktop was not started", Result(1, "", stderr))
    assert error.why.startswith(why)
    assert error.fix.startswith(fix) and bool(error.fix) == bool(fix)


#: What could not be asked: the recording's tail, and what the error says of it.
FAILURES = [
    ("-down", "slurmctld does not answer"),
    ("-hung", "slurmctld did not answer in time"),
    ("-no-munge", "munge does not run on this host"),
    ("-wrong-key", "munge"),
    ("-not-installed", "not found there"),
]


@pytest.mark.parametrize(("tail", "words"), FAILURES)
async def test_queries_that_fail_name_the_cause(
    recording: Recording, tail: str, words: str
) -> None:
    for ask in (recording.engine(tail).jobs, recording.engine(tail).nodes):
        with pytest.raises(Unreachable) as caught:
            await ask()
        assert words in caught.value.line
        assert "\n" not in caught.value.line


@pytest.mark.parametrize(("tail", "words"), FAILURES)
async def test_a_submission_that_fails_names_the_cause(
    recording: Recording, tail: str, words: str
) -> None:
    error = await refused(recording, f"sbatch{tail}")
    kind = TimedOut if tail == "-hung" else Unreachable
    assert isinstance(error, kind)
    assert words in error.line


async def test_a_submission_without_answer_may_have_arrived(recording: Recording) -> None:
    error = await refused(recording, "sbatch-hung")
    assert "it may still start" in error.fix


async def test_without_configuration(recording: Recording) -> None:
    with pytest.raises(Unreachable, match="configuration"):
        await recording.engine("-no-conf").jobs()


async def test_a_controller_that_is_down_keeps_partitions_and_info_away(
    recording: Recording,
) -> None:
    for ask in (recording.engine("-down").partitions, recording.engine("-down").info):
        with pytest.raises(Unreachable, match="slurmctld does not answer"):
            await ask()


async def test_cancel(recording: Recording) -> None:
    await recording.engine(scancel="scancel-ok", squeue="squeue-job").cancel("24")
    await recording.engine(scancel="scancel-again", squeue="squeue-job").cancel("24")


async def test_cancelling_an_ended_job_is_no_error(recording: Recording) -> None:
    await recording.engine(scancel="scancel-ended", squeue="squeue-job").cancel("18")
    # Long ended: squeue has forgotten it, but its number was given out.
    await recording.engine(scancel="scancel-ended", squeue="squeue-no-job").cancel("18")


@pytest.mark.parametrize("name", ["scancel-other", "scancel-other-ended"])
async def test_cancelling_another_users_job(recording: Recording, name: str) -> None:
    with pytest.raises(Refused, match="it is not yours"):
        await recording.engine(scancel=name).cancel("9")


async def test_cancelling_a_job_that_never_was(recording: Recording) -> None:
    engine = recording.engine(scancel="scancel-none", squeue="squeue-no-job")
    with pytest.raises(NotFound, match="there is no such job"):
        await engine.cancel("999999")


async def test_cancelling_when_the_controller_is_down(recording: Recording) -> None:
    with pytest.raises(Unreachable, match="slurmctld does not answer"):
        await recording.engine("-down").cancel("9")


async def test_a_cancel_that_got_through_is_none_less_for_a_controller_that_went(
    recording: Recording,
) -> None:
    engine = recording.engine(scancel="scancel-none", squeue="squeue-down")
    await engine.cancel("999999")


@pytest.mark.parametrize("job_id", ["", "--all", "-u bob", "1 2", "1;2", "x", "1\n"])
async def test_what_is_no_job_id_never_reaches_scancel(job_id: str) -> None:
    replay = Replay(Recording(VERSIONS[0]))
    with pytest.raises(NotFound):
        await SlurmEngine(replay, user="alice").cancel(job_id)
    assert replay.commands == []


class Runner:
    """A CommandRunner that fails, or has one answer."""

    def __init__(self, outcome: Result | VizdashError) -> None:
        self._outcome = outcome

    async def run(self, command: Command) -> Result:
        if isinstance(self._outcome, VizdashError):
            raise self._outcome
        return self._outcome

    def has(self, program: str) -> bool:
        return True


class Configured(Runner):
    """The same, but it answers how the cluster is configured."""

    async def run(self, command: Command) -> Result:
        return Result(0, "", "") if "config" in command.argv else await super().run(command)


async def test_a_timeout_of_the_transport_names_the_program() -> None:
    engine = SlurmEngine(Runner(TimedOut("env", "no answer in 30 s")), user="alice")
    with pytest.raises(TimedOut, match=r"^squeue: no answer in 30 s"):
        await engine.jobs()
    with pytest.raises(TimedOut, match=r"^scontrol: no answer in 30 s"):
        await engine.submit(DESKTOP_REQUEST)  # how memory is asked for has to be known first


async def test_a_submission_without_an_answer_may_have_arrived() -> None:
    engine = SlurmEngine(Configured(TimedOut("env", "no answer in 30 s")), user="alice")
    with pytest.raises(TimedOut, match=r"^sbatch: .*it may still start"):
        await engine.submit(DESKTOP_REQUEST)


#: What Slurm 24.11 prints while it retries, and what is shown of it.
RETRYING = [
    (
        (
            "squeue: error: s_p_parse_file: cannot stat file /nonexist: No such file or directory, "
            "retrying in 1sec up to 60sec\n"
        ),
        (
            "its configuration /nonexist can't be read: No such file or directory "
            "(is SLURM_CONF right?)"
        ),
    ),
    (
        (
            "squeue: error: _xgetaddrinfo: getaddrinfo() failed: Temporary failure in name "
            "resolution: Resource temporarily unavailable, attempt number -4\n"
        ),
        "the name of its controller's host can't be resolved here",
    ),
    (
        (
            "squeue: error: If munged is up, restart with --num-threads=10\n"
            'squeue: error: Munge encode failed: Failed to access "/run/munge/munge.socket.2": '
            "No such file or directory (Did you start munged?)\n"
        ),
        "munge does not run on this host",
    ),
]


@pytest.mark.parametrize(("stderr", "words"), RETRYING)
async def test_what_a_query_that_hangs_has_printed_names_the_cause(stderr: str, words: str) -> None:
    error = TimedOut("env", f"it keeps retrying: {stderr.splitlines()[-1]}", stderr=stderr)
    engine = SlurmEngine(Runner(error), user="alice")
    with pytest.raises(Unreachable) as caught:
        await engine.jobs()
    assert caught.value.what == "Slurm"
    assert words in caught.value.line


async def test_what_a_hanging_command_printed_is_shown_without_its_prefix() -> None:
    line = "squeue: error: the plugin of the site waits for its server"
    error = TimedOut("env", f"no answer in 30 s: {line}", stderr=f"{line}\n")
    with pytest.raises(TimedOut) as caught:
        await SlurmEngine(Runner(error), user="alice").jobs()
    assert caught.value.line == (
        "squeue: no answer in 30 s: the plugin of the site waits for its server"
    )


async def test_a_hanging_submission_may_have_arrived_unless_it_had_no_configuration() -> None:
    line = "sbatch: error: Unable to contact slurm controller, sleeping and retrying"
    engine = SlurmEngine(Configured(TimedOut("env", "no answer", stderr=f"{line}\n")), user="alice")
    with pytest.raises(TimedOut, match="it may still start"):
        await engine.submit(DESKTOP_REQUEST)
    stderr = RETRYING[0][0].replace("squeue", "sbatch")
    engine = SlurmEngine(Configured(TimedOut("env", "no answer", stderr=stderr)), user="alice")
    with pytest.raises(Unreachable, match="SLURM_CONF"):
        await engine.submit(DESKTOP_REQUEST)


async def test_an_unreachable_host_is_reported_as_unreachable() -> None:
    engine = SlurmEngine(Runner(Unreachable("login", "connection refused")), user="alice")
    with pytest.raises(Unreachable, match=r"^login: connection refused"):
        await engine.jobs()


async def test_after_an_answer_without_an_id_the_job_may_be_there() -> None:
    """As of a site's own sbatch that prints something else."""
    engine = SlurmEngine(Runner(Result(0, "queued\n", "")), user="alice")
    with pytest.raises(TimedOut, match="no job id"):
        await engine.submit(DESKTOP_REQUEST)


async def test_the_job_id_is_separated_from_the_clusters_name() -> None:
    engine = SlurmEngine(Runner(Result(0, "note of the site\n123;recorded\n", "")), user="alice")
    assert await engine.submit(replace(DESKTOP_REQUEST, partition="viz")) == "123"


@pytest.mark.parametrize("name", ["sinfo", "sinfo-down"])
def test_the_first_queries_of_a_cluster_were_recorded(recording: Recording, name: str) -> None:
    assert recording.argv(name) == ["sinfo", "-h", "-o", "%P"]
    assert recording.answer(name).code == (1 if name == "sinfo-down" else 0)


def test_scancel_and_squeue_of_one_job_are_asked_as_recorded(recording: Recording) -> None:
    assert from_program(commands.scancel("999999")) == recording.argv("scancel-none")
    asked = commands.squeue(recording.nonce, job_id="999999")
    assert from_program(asked) == recording.argv("squeue-no-job")


@pytest.mark.parametrize("what", ["nodes", "partitions"])
async def test_what_is_private_is_none_and_no_failure(what: str) -> None:
    """PrivateData: slurmctld's answer to an ordinary user."""
    words = f"slurm_load_{what} error: Access/permission denied\n"
    assert await getattr(SlurmEngine(Runner(Result(1, "", words)), user="alice"), what)() == ()
    with pytest.raises(CommandFailed):
        await getattr(SlurmEngine(Runner(Result(1, "", "broken\n")), user="alice"), what)()


@pytest.mark.parametrize(("user", "private"), [("alice", ("jobs", "partitions")), ("root", ())])
async def test_what_the_user_may_not_see_is_known(user: str, private: tuple[str, ...]) -> None:
    answer = "ClusterName = viz\nPrivateData             = jobs,partitions\n"
    assert (await SlurmEngine(Runner(Result(0, answer, "")), user=user).info()).private == private
