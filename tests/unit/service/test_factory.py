"""Slurm where this machine belongs to a cluster, even if it is down; else the local engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tests.unit.engines.slurm_replay import Recording
from vizdash.config import Cluster, Config
from vizdash.errors import TimedOut
from vizdash.service import factory
from vizdash.service.factory import connect, slurm_answers
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


#: Every command of Slurm reports trouble with the cluster in the same words.
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


async def test_the_event_loop_reads_and_writes_no_file_of_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the home's file server does not answer waits in a thread."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    threads: list[threading.Thread] = []

    def noting(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            threads.append(threading.current_thread())
            return call(*args)

        return run

    for name in ("read_own", "write_whole"):
        monkeypatch.setattr(factory, name, noting(getattr(factory, name)))
    last = factory._LastForwarder("here")
    assert await last.read() == ("", 0.0)
    last.remember("srun")
    await asyncio.gather(*last._writing)
    name, since = await last.read()
    assert name == "srun"
    assert since > 0
    assert len(threads) == 3
    assert threading.main_thread() not in threads
