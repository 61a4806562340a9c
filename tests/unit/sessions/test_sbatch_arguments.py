"""Raw sbatch arguments: those that submit no session, or more than one, and what of them counts."""

from __future__ import annotations

import pytest

from vizdash.errors import UsageError
from vizdash.model import Resources, SessionRequest
from vizdash.sessions.sbatch_arguments import (
    check_arguments,
    check_script_arguments,
    effective_script_arguments,
    script_arguments,
    unjudged_option,
)

#: Each was tried with sbatch 24.11.
REFUSED = [
    "--array=1-2",
    "--array 1-2",
    "--ar=1-2",
    "-a 1-2",
    "-a1-2",
    "-Ha1-2",
    "-sa 1-2",
    "--requeue",
    "--req",
    "-M other",
    "-HMother",
    "--clusters=other",
    "--clusters other",
    "--cluster other",
    "-W",
    "-HW",
    "--wait",
    "--test-only",
    "--te",
    "--autocomplete=x",
]
#: Of these, sbatch ignores those that are options in a script.
REFUSED_TO_USERS = [
    "-n1 : -n1",
    "--wrap=id",
    "--wr id",
    "other.sh",
    "--hold other.sh",
    "-",
    "-- --hold",
    "--help",
    "--hel",
    "-h",
    "--usage",
    "-V",
    "-HV",
    "--vers",
    "-Q",
    "--quiet",
]
TAKEN = [
    "--account=a",
    "-A a",
    "-Aa",
    "-J a",
    "-J -a",
    "--no-requeue",
    "--reservation=r",
    "-b now+1hour",
    "-ba",
    "--hold",
    "--comment=:",
    "--wait-all-nodes=1",
    "--cluster-constraint=x",
    "--plugin x",
    "--use-min-nodes -v",
    "",
]


@pytest.mark.parametrize("words", [*REFUSED, *REFUSED_TO_USERS])
def test_they_are_refused_with_the_reason(words: str) -> None:
    with pytest.raises(UsageError, match=r"is refused: .*(job|session|desktop)"):
        check_arguments(words.split())
    script = f"#!/bin/bash\n#SBATCH --nodes=1\n#SBATCH {words} # why\n"
    if words in REFUSED_TO_USERS:
        check_script_arguments(script, "site.sh")
    else:
        with pytest.raises(UsageError, match=r"in site\.sh, line 3, is refused"):
            check_script_arguments(script, "site.sh")


@pytest.mark.parametrize("words", TAKEN)
def test_others_are_sbatchs_own_matter(words: str) -> None:
    check_arguments(words.split())
    check_script_arguments(f"#!/bin/bash\n#SBATCH {words}\n", "site.sh")


@pytest.mark.parametrize(
    "line",
    ["#SBATCH hetjob", "#SBATCH PackJob", "#SBATCH\t-a1-2", "#SBATCH-a1-2", "#SLURM --array=1-2"],
)
def test_lines_of_a_script(line: str) -> None:
    with pytest.raises(UsageError, match="line 2"):
        check_script_arguments(f"#!/bin/bash\n{line}\n", "site.sh")
    with pytest.raises(UsageError, match="line 4"):
        check_script_arguments(f"#!/bin/bash\n\n # why\n{line}\n", "site.sh")
    check_script_arguments(f"#!/bin/bash\n {line}\n#{line}\n", "site.sh")
    # Behind the first command sbatch reads none.
    check_script_arguments(f"#!/bin/bash\n\ntrue\n{line}\n", "site.sh")


@pytest.mark.parametrize(
    ("line", "kept", "partition"),
    [
        ("--partition=long", (), "long"),
        ("-p long", (), "long"),
        ("-plong -N1 --time 9:00", (), "long"),
        # A value is no option, whatever it looks like.
        (
            "--comment '-p old desktop' --exclusive",
            ("--comment=-p old desktop", "--exclusive"),
            "",
        ),
        ("-J -n1 -o x", ("--job-name=-n1", "--output=x"), ""),
        ("-Hc2 -Mx --exclus=user", ("--hold", "--clusters=x", "--exclusive=user"), ""),
        # vizdash names these: so the script's do not count.
        ("--qos=normal -A art", (), ""),
        ("--qos short", (), ""),
        ("--licenses=a:1 --mem 9G", ("--licenses=a:1",), ""),
        # A SPANK plugin's; and a value in the next line.
        ("--plugin x --exclusive --qo\n#SBATCH short", ("--plugin", "x", "--exclusive"), ""),
    ],
)
def test_what_of_a_script_counts(line: str, kept: tuple[str, ...], partition: str) -> None:
    request = SessionRequest("plain", Resources(1, 128, 0, 600), qos="long", account="science")
    words = script_arguments(f"#!/bin/bash\n#SBATCH {line}\ntrue\n")
    assert effective_script_arguments(words, request, memory=True) == (kept, partition)
    harmless = {"--comment", "--job-name", "--output"}
    unjudged = [name for word in kept if (name := word.partition("=")[0]) not in harmless]
    assert unjudged_option(kept) == next(iter(unjudged), "")


@pytest.mark.parametrize(
    ("gpus", "extra", "line", "kept"),
    [
        (0, "", "--cpus-per-gpu=4 --tres-per-task=cpu=2", ()),
        (0, "", "--tres-per-task=license/a=2", ("--tres-per-task=license/a=2",)),
        (0, "", "--gpus-per-node=1", ("--gpus-per-node=1",)),
        (1, "", "--gpus-per-node=1", ()),
        (0, "--gpus-per-node=1", "--gres=gpu:2", ()),
        (0, "", "--mem=1G", ("--mem=1G",)),
        (0, "--mem-per-cpu=1G", "--mem=1G", ()),
    ],
)
def test_what_of_a_script_sbatch_would_refuse_beside_others(
    gpus: int, extra: str, line: str, kept: tuple[str, ...]
) -> None:
    request = SessionRequest("plain", Resources(1, 128, gpus, 600), extra=tuple(extra.split()))
    found, _ = effective_script_arguments(tuple(line.split()), request, memory=False)
    assert found == kept


@pytest.mark.parametrize("words", ["-M viz", "-Mviz", "--clusters=viz", "--cluster viz"])
def test_the_cluster_itself_may_be_named(words: str) -> None:
    """As sites with several clusters want it of each script."""
    check_arguments(words.split(), "viz")
    check_script_arguments(f"#!/bin/bash\n#SBATCH {words}\n", "site.sh", "viz")
    for other in ("render", ""):
        with pytest.raises(UsageError, match="another cluster"):
            check_arguments(words.split(), other)
