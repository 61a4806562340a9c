"""A program that a test does not wait for is found when the test ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess

from tests import processes


def test_one_that_runs_is_named_and_killed() -> None:
    process = subprocess.Popen(["sleep", "1000"], stdout=subprocess.PIPE)
    assert processes.end() == ["['sleep', '1000']"]
    assert process.returncode == -9
    assert process.stdout is not None and process.stdout.closed


def test_one_that_was_waited_for_is_not() -> None:
    subprocess.run(["true"], check=True)
    assert processes.end() == []


def test_one_of_a_wider_fixture_is_not() -> None:
    with processes.lasting(), subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        assert processes.end() == []
        assert process.poll() is None


async def test_one_of_asyncios_is() -> None:
    process = await asyncio.create_subprocess_exec("sleep", "1000")
    assert processes.end() == ["('sleep', '1000')"]
    await process.wait()


async def test_one_that_has_ended_although_its_pipe_is_open_is() -> None:
    """Another process holds its stdout, so that asyncio does not close the pipe."""
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", "sleep 1000 & echo $!", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    try:
        while process.returncode is None:
            await asyncio.sleep(0.01)
        (line,) = processes.end()
        assert line.endswith("(it has ended; a pipe from it is open)")
    finally:
        os.kill(pid, signal.SIGKILL)
