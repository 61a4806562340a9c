"""The record of commands: time and outcome of each, bounded, without stdin."""

from __future__ import annotations

import asyncio

import pytest

from vizdash.errors import TimedOut, Unreachable
from vizdash.transport.base import Command, Result
from vizdash.transport.local import LocalRunner
from vizdash.transport.recorder import Recorder


async def test_what_came_of_each_newest_first() -> None:
    runner = Recorder(LocalRunner())
    await runner.run(Command(("true",)))
    await runner.run(Command(("sh", "-c", "echo one >&2; echo last words >&2; exit 3")))
    with pytest.raises(Unreachable):
        await runner.run(Command(("no-such-program-here",)))
    with pytest.raises(TimedOut):
        await runner.run(Command(("sleep", "60"), timeout_s=0.05))
    slow, missing, failed, done = runner.runs
    assert (done.line, done.code, done.failed, done.message) == ("true", 0, False, "")
    assert (failed.code, failed.failed, failed.message) == (3, True, "last words")
    assert failed.line == "sh -c 'echo one >&2; echo last words >&2; exit 3'"
    assert missing.code is None
    assert "no such program" in missing.message
    assert slow.code is None
    assert slow.took_s >= 0.05
    assert [r.number for r in runner.runs] == [4, 3, 2, 1]


async def test_a_followed_one_is_recorded_too() -> None:
    runner = Recorder(LocalRunner())
    heard: list[str] = []
    result = await runner.follow(Command(("sh", "-c", "echo hello")), heard.append)
    assert (result.code, "".join(heard)) == (0, "hello\n")
    assert runner.runs[0].argv[0] == "sh"


async def test_one_that_is_given_up_is_recorded() -> None:
    begun = asyncio.Event()

    class Slow(LocalRunner):
        async def run(self, command: Command) -> Result:
            begun.set()
            return await super().run(command)

    runner = Recorder(Slow())
    task = asyncio.create_task(runner.run(Command(("sleep", "60"))))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (run,) = runner.runs
    assert (run.code, run.message) == (None, "cancelled")


async def test_stdin_is_not_kept() -> None:
    runner = Recorder(LocalRunner())
    await runner.run(Command(("cat",), input="a secret"))
    assert "secret" not in repr(runner.runs)


async def test_it_is_bounded() -> None:
    class Quick(LocalRunner):
        async def run(self, command: Command) -> Result:
            raise Unreachable("x", "y")

    runner = Recorder(Quick())
    for _ in range(520):
        with pytest.raises(Unreachable):
            await runner.run(Command(("x",)))
    assert len(runner.runs) == 500
    assert runner.has("sh")
