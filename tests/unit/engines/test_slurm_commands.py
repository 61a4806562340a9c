"""The command lines: what Slurm gets, and what it never gets."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from tests.unit.engines.slurm_replay import VERSIONS, Recording, from_program
from vizdash.engines.slurm import commands
from vizdash.engines.slurm.sbatch_options import header_options
from vizdash.errors import NotFound
from vizdash.model import JobRequest, Resources
from vizdash.transport import Command

SECRET = "hunter2secret"

REQUEST = JobRequest(
    name="vizdash-desktop",
    script=f"#!/bin/bash\nPASSWORD={SECRET}\n",
    session_id="0a1b2c3d",
    app="desktop",
    comment="vizdash/1 id=0a1b2c3d app=desktop image=1.0 state=pending step=queued",
    output="/home/alice/100%/%j/log",
    resources=Resources(cores=2, memory_mib=2048, gpus=0, time_s=7200),
)


def sbatch(**wishes: object) -> list[str]:
    return from_program(commands.sbatch(replace(REQUEST, **wishes)))  # type: ignore[arg-type]


def options(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)


def test_the_whole_command() -> None:
    assert sbatch() == [
        "sbatch",
        "--parsable",
        "--export=NONE",
        "--no-requeue",
        "--ignore-pbs",
        "--signal=B:USR1@300",
        "--job-name=vizdash-desktop",
        f"--comment={REQUEST.comment}",
        "--output=/home/alice/100%%/%%j/log",
        "--error=/home/alice/100%%/%%j/log",
        "--input=/dev/null",
        "--chdir=/",
        "--open-mode=append",
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=2",
        "--mem=2048M",
        "--time=120",
    ]


@pytest.mark.parametrize("extra", [("-o", "x.log"), ("-ox.log",), ("--output=x.log",)])
def test_a_users_own_log_also_gets_stderr(extra: tuple[str, ...]) -> None:
    assert options(sbatch(extra=extra))["--error"] == "x.log"
    assert options(sbatch(extra=("--error=e.log", *extra)))["--error"] == "e.log"


def test_the_script_goes_to_stdin_and_nowhere_else() -> None:
    command = commands.sbatch(REQUEST)
    assert command.input == REQUEST.script
    assert not any(SECRET in word for word in command.argv)
    assert SECRET not in repr(command)


def test_nothing_of_the_callers_environment_goes_along() -> None:
    assert "--export=NONE" in sbatch()


@pytest.mark.parametrize(("seconds", "minutes"), [(1, "1"), (60, "1"), (61, "2"), (7200, "120")])
def test_a_time_limit_is_rounded_up_to_minutes(seconds: int, minutes: str) -> None:
    assert options(sbatch(resources=Resources(time_s=seconds)))["--time"] == minutes


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/alice/plain", "/home/alice/plain"),
        ("/home/a%j/log", "/home/a%%j/log"),
        ("/home/%u/%%/log", "/home/%%u/%%%%/log"),
    ],
)
def test_a_percent_sign_in_a_path_is_no_pattern(path: str, expected: str) -> None:
    words = options(sbatch(output=path))
    assert (words["--output"], words["--error"]) == (expected, expected)


def test_gpus_are_requested_only_when_wanted() -> None:
    assert "--gres" not in options(sbatch())
    assert options(sbatch(resources=Resources(gpus=2)))["--gres"] == "gpu:2"


def test_requested_resources() -> None:
    arguments = options(
        sbatch(
            partition="viz",
            account="science",
            qos="small",
            reservation="course",
            constraint="gpu&big",
            exclude=("viz-node001", "viz-node002"),
        )
    )
    assert arguments["--partition"] == "viz"
    assert arguments["--account"] == "science"
    assert arguments["--qos"] == "small"
    assert arguments["--reservation"] == "course"
    assert arguments["--constraint"] == "gpu&big"
    assert arguments["--exclude"] == "viz-node001,viz-node002"
    assert "--nodelist" not in arguments


def test_a_node_that_is_requested_is_never_excluded_too() -> None:
    arguments = options(sbatch(node="viz-node001", exclude=("viz-node001",)))
    assert arguments["--nodelist"] == "viz-node001"
    assert "--exclude" not in arguments


def test_what_is_not_requested_is_no_empty_option() -> None:
    assert not {"--partition", "--account", "--qos", "--nodelist"} & set(options(sbatch()))


def test_a_value_can_never_be_an_option() -> None:
    words = sbatch(name="--uid=0", comment="-w x", partition="--wrap=id", account="; rm")
    assert "--uid=0" not in words
    assert "--wrap=id" not in words
    assert "--job-name=--uid=0" in words
    assert "--partition=--wrap=id" in words
    assert "--account=; rm" in words


def test_extra_arguments_come_last_so_that_they_win() -> None:
    extra = ("--time=10", "--mem=1G", "--exclusive")
    assert tuple(sbatch(extra=extra, partition="viz", node="viz-node001")[-3:]) == extra


@pytest.mark.parametrize(
    ("memory", "extra", "line", "given", "kept"),
    [
        ("mem-per-cpu", "", "--mem=2G", "--cpus-per-task --mem-per-cpu --gres", ""),
        ("mem", "", "-H --mem-per-c 1G", "--cpus-per-task --mem --gres", "--hold"),
        ("mem", "", "--mem-per-gpu=1G -c9", "--cpus-per-task --mem --gres", "--cpus-per-task=9"),
        ("none", "", "--mem=2G", "--cpus-per-task --gres", "--mem=2G"),
        ("mem", "", "--cpus-per-gpu 4", "--cpus-per-task --mem --gres", ""),
        ("mem", "", "--tres-per-task=cpu:2", "--cpus-per-task --mem --gres", ""),
        (
            "mem",
            "",
            "--tres-per-task=license/a:2",
            "--cpus-per-task --mem --gres",
            "--tres-per-task=license/a:2",
        ),
        ("mem", "", "--gpus-per-node=2", "--cpus-per-task --mem --gres", ""),
        ("mem", "--mem-per-cpu=1G", "--mem=2G", "--cpus-per-task --gres --mem-per-cpu", ""),
        ("mem-per-cpu", "--mem 1G", "--mem=2G", "--cpus-per-task --gres --mem", "--mem=2G"),
        ("mem", "--cpus-per-gpu=4", "-c2", "--mem --gres --cpus-per-gpu", ""),
        ("mem", "--tres-per-task=cpu:4", "-c2", "--mem --gres --tres-per-task", ""),
        ("mem", "--gpus-per-node=1", "--gres=gpu:2", "--cpus-per-task --mem --gpus-per-node", ""),
    ],
)
def test_of_options_that_exclude_each_other_one_counts(
    memory: str, extra: str, line: str, given: str, kept: str
) -> None:
    """The user's, else vizdash's, else the script's: with two, sbatch refuses the job."""
    request = replace(
        REQUEST,
        script=f"#!/bin/bash\n#SBATCH {line} # why\ntrue\n#SBATCH {line}\n",
        resources=Resources(gpus=1),
        memory=memory,
        extra=tuple(extra.split()),
    )
    command = commands.sbatch(request)
    groups = ("--cpus-per", "--tres-per", "--mem", "--gres", "--gpus")
    words = [word.partition("=")[0] for word in command.argv if word.startswith(groups)]
    assert words == given.split()
    left = str(command.input)
    read = header_options(left)
    assert " ".join(word for _, option in read for word in option.words) == kept
    assert left.endswith(f"\ntrue\n#SBATCH {line}\n")


@pytest.mark.parametrize("text", ["", "a b", "it's", 'a "b" \\ $c #d', "-n1"])
def test_the_other_options_of_a_line_keep_their_values(text: str) -> None:
    """Also as sbatch reads a line: to it, a backslash quotes in single quotes, too."""
    script = f"#!/bin/bash\n#SBATCH --comment {shlex.quote(text)} --mem-per-cpu=1G\n"
    left = str(commands.sbatch(replace(REQUEST, script=script)).input)
    assert [option.value for _, option in header_options(left)] == [text]
    assert "'" not in left.replace("it's", "")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_submitted_is_what_real_slurm_took(version: str) -> None:
    recorded = Recording(version).argv("sbatch-ok")
    request = JobRequest(
        name="r-ok",
        script="",
        session_id="",
        app="",
        comment="vizdash/1 id=0a1b2c3d app=paraview image=5.11 state=ready step=ready",
        output="/dev/null",
        resources=Resources(cores=1, memory_mib=128, gpus=0, time_s=7200),
        extra=("--hold",),
    )
    # It was recorded without these.
    later = {"--ignore-pbs", "--chdir=/", "--error=/dev/null", "--input=/dev/null"}
    words = from_program(commands.sbatch(request))
    assert [word for word in words if word not in later] == recorded


ALL = {
    "squeue": commands.squeue("0" * 24),
    "squeue-everyone": commands.squeue_everyone("0" * 24),
    "nodes": commands.show_nodes(),
    "sbatch": commands.sbatch(REQUEST),
    "scancel": commands.scancel("12"),
}


def unset(command: Command) -> set[str]:
    words = command.argv
    return {words[i + 1] for i, word in enumerate(words) if word == "-u"}


@pytest.mark.parametrize("command", ALL.values(), ids=ALL.keys())
def test_messages_are_english_whoever_calls(command: Command) -> None:
    assert command.argv[0] == "env"
    assert "LC_ALL=C" in command.argv


def test_the_callers_settings_for_slurms_tools_do_not_steer() -> None:
    assert {"SQUEUE_FORMAT", "SQUEUE_STATES", "SQUEUE_USERS"} <= unset(ALL["squeue"])
    assert {"SBATCH_PARTITION", "SBATCH_OUTPUT", "SBATCH_EXPORT"} <= unset(ALL["sbatch"])
    assert {"SCANCEL_STATE", "SCANCEL_USER", "SCANCEL_NAME"} <= unset(ALL["scancel"])
    assert "SLURM_TIME_FORMAT" in unset(ALL["nodes"])


def test_which_cluster_and_who_pays_are_the_callers() -> None:
    for command in ALL.values():
        assert "SLURM_CONF" not in unset(command)
    assert not {"SBATCH_ACCOUNT", "SBATCH_QOS"} & unset(ALL["sbatch"])


@pytest.mark.parametrize("job_id", ["123", "123_4", "123_[5-9%2]", "46+1"])
def test_job_ids(job_id: str) -> None:
    assert commands.checked_id(job_id) == job_id


@pytest.mark.parametrize("job_id", ["", "-1", "--user=bob", "1 2", "1\n", "12x", "*"])
def test_what_is_no_job_id(job_id: str) -> None:
    with pytest.raises(NotFound):
        commands.checked_id(job_id)


def test_separators_are_never_the_same() -> None:
    nonces = {commands.new_nonce() for _ in range(100)}
    assert len(nonces) == 100
    assert {len(nonce) for nonce in nonces} == {24}


@pytest.mark.parametrize(
    ("how", "memory_mib", "expected"),
    [
        ("mem", 2048, ["--mem=2048M"]),
        ("mem-per-cpu", 2048, ["--mem-per-cpu=1024M"]),
        ("mem-per-cpu", 2049, ["--mem-per-cpu=1025M"]),  # two of 1024 would be less than asked
        ("none", 2048, []),
    ],
)
def test_how_memory_is_requested(how: str, memory_mib: int, expected: list[str]) -> None:
    words = sbatch(memory=how, resources=Resources(2, memory_mib))
    assert [word for word in words if word.startswith("--mem")] == expected


@pytest.mark.parametrize(
    ("job_id", "words"),
    [
        ("12_3", ["12_3"]),
        ("12_[4-9]", ["--state=PENDING", "12_[4-9]"]),
        # scancel takes no limit of how many may run at once.
        ("12_[4,6-9:2%2]", ["--state=PENDING", "12_[4,6-9:2]"]),
        ("12_[1,3,5,...%2]", ["--state=PENDING", "12"]),
        ("12_[1,3,5,...]", ["--state=PENDING", "12"]),
    ],
)
def test_of_an_arrays_waiting_tasks_those_that_still_wait_are_ended(
    job_id: str, words: list[str]
) -> None:
    argv = commands.scancel(job_id).argv
    assert list(argv[argv.index("scancel") + 1 :]) == words
