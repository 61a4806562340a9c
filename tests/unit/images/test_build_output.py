"""Phases and failures of a build, read from recorded output of Apptainer."""

from __future__ import annotations

import pytest

from tests.unit.images.recorded_images import build_output
from vizdash.images.build_output import PHASES, BuildFailure, BuildOutput


def read(text: str, code: int = 255) -> tuple[list[str], BuildFailure]:
    log = BuildOutput()
    phases = [phase for line in text.splitlines() if (phase := log.feed(line))]
    return phases, log.explain_failure(code)


def test_the_phases_of_a_good_build() -> None:
    phases, _ = read(build_output("tiny"))
    assert phases == ["bootstrap", "post", "metadata", "squashfs"]
    assert [PHASES.index(p) for p in phases] == sorted(PHASES.index(p) for p in phases)


def test_a_failing_post_names_the_command_and_its_words() -> None:
    phases, failure = read(build_output("failing"))
    assert phases == ["bootstrap", "post"]
    assert failure.command == "cat /no/such/file"
    assert failure.why == (
        "%post failed at: cat /no/such/file (cat: /no/such/file: No such file or directory)"
    )
    assert any("exit status 1" in line for line in failure.tail)


def test_a_base_that_is_not_there() -> None:
    _, failure = read(build_output("nobase"))
    assert failure.command == ""
    assert failure.why.startswith(
        "conveyor failed to get: failed to retrieve path for /no/such.sif"
    )
    assert failure.fix == "base must be a file on the build host"


def test_an_argument_that_is_not_given() -> None:
    _, failure = read(build_output("noarg"))
    assert "build var nothing is not defined" in failure.why
    assert failure.fix == "--arg NAME=VALUE"


def test_a_silent_failure_is_reported_by_its_command() -> None:
    _, failure = read("INFO:    Running post scriptlet\n+ echo a\na\n+ false\nFATAL:   x\n")
    assert failure.why == "%post failed at: false"


def test_colours_and_queues() -> None:
    text = (
        "srun: job 7 queued and waiting for resources\n"
        "srun: job 7 has been allocated resources\n"
        "\x1b[34mINFO:   \x1b[0m Starting build...\n"
        "\x1b[34mINFO:   \x1b[0m Running setup scriptlet\n"
        "INFO:    Copying a to b\nINFO:    Running testscript\n"
    )
    assert read(text)[0] == ["queue", "start", "bootstrap", "setup", "files", "test"]


def test_posts_own_words_are_no_phase() -> None:
    assert read("INFO:    Running post scriptlet\nCreating SIF file...\n")[0] == ["post"]


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("FATAL: write /tmp/x: no space left on device", "free space"),
        ("Permission denied (publickey).", "log in to that host by ssh"),
        ("ssh: Could not resolve hostname nope: Name or service not known", "check the host"),
        ("FATAL: dial tcp: lookup docker.example: no such host", "local base"),
        ("", ""),
    ],
)
def test_known_causes_have_a_fix(text: str, fix: str) -> None:
    failure = read(text)[1]
    assert fix in failure.fix
    assert failure.why
