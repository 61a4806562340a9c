"""Slurm where the machine belongs to a cluster, whatever ails it; else this machine alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from tests.unit.engines.recorded import VERSIONS, Recording
from vizdash.config import Cluster, Config
from vizdash.connect import connect, slurm_answers
from vizdash.errors import TimedOut
from vizdash.transport.base import Command, Prompter, Result

NOBODY = cast("Prompter", None)
CLUSTER = Cluster("here")


class Sinfo:
    """A runner whose sinfo says one thing."""

    def __init__(self, result: Result | TimedOut | None) -> None:
        self.result = result

    async def run(self, command: Command) -> Result:
        assert "sinfo" in command.argv
        assert self.result is not None, "there is no sinfo to ask"
        if isinstance(self.result, TimedOut):
            raise self.result
        return self.result

    def has(self, program: str) -> bool:
        return self.result is not None


@pytest.fixture(params=VERSIONS)
def recording(request: pytest.FixtureRequest) -> Recording:
    return Recording(request.param)


#: What ails a cluster is told by every command of Slurm in the same words.
@pytest.mark.parametrize(
    "answer",
    ["sinfo", "sinfo-down", "squeue-hung", "squeue-no-munge", "squeue-wrong-key", "squeue-down"],
)
async def test_a_cluster_that_ails_is_a_cluster(recording: Recording, answer: str) -> None:
    assert await slurm_answers(Sinfo(recording.answer(answer)))


@pytest.mark.parametrize("answer", ["squeue-no-conf", "squeue-not-installed"])
async def test_programs_without_a_cluster_are_none(recording: Recording, answer: str) -> None:
    assert not await slurm_answers(Sinfo(recording.answer(answer)))


async def test_without_sinfo_and_with_one_that_hangs() -> None:
    assert not await slurm_answers(Sinfo(None))
    assert await slurm_answers(Sinfo(TimedOut("sinfo", "no answer")))


@pytest.mark.parametrize(
    ("wanted", "there", "engine"),
    [
        ("auto", False, "local"),
        ("auto", True, "slurm"),
        ("local", True, "local"),
        ("slurm", False, "slurm"),
    ],
)
async def test_the_engine(
    wanted: str, there: bool, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("HOME", str(tmp_path))
    cluster = replace(CLUSTER, engine=wanted)
    runner = Sinfo(Result(0, "viz*\n", "") if there else None)
    service = await connect(Config(cluster, {"here": cluster}, {}), NOBODY, runner)
    assert service.engine.name == engine
    await service.close()
