"""Files that hang: open(2) of a FIFO without a writer blocks, as a file of a lost server does."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vizdash.errors import TimedOut
from vizdash.util.files import FileAccess, run_briefly

_DEADLINE_S = 60.0


class Hanging:
    """Reads of a file; ``release`` lets those that hang return."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._path = path
        self._begun = threading.Semaphore(0)
        self.count = 0

    def read(self) -> str:
        self.count += 1
        self._begun.release()
        return self._path.read_text(encoding="utf-8")

    def wait_begun(self) -> None:
        """Until one more has begun."""
        assert self._begun.acquire(timeout=_DEADLINE_S)

    def release(self) -> None:
        """Write, and close: each reader gets to the end."""
        self._path.write_text("back", encoding="utf-8")


@pytest.fixture
def hanging(tmp_path: Path) -> Hanging:
    return Hanging(tmp_path / "file")


async def test_a_call_that_hangs_is_given_up_and_no_other_takes_a_thread(hanging: Hanging) -> None:
    files = FileAccess("the home", timeout_s=0.2)
    try:
        for _ in range(3):
            with pytest.raises(TimedOut, match=r"the home: no answer in 0\.2 s"):
                await files.run(hanging.read)
    finally:
        await asyncio.to_thread(hanging.wait_begun)
        assert hanging.count == 1
        await asyncio.to_thread(hanging.release)


async def test_it_works_again_when_the_call_has_returned(hanging: Hanging) -> None:
    files = FileAccess("the home", timeout_s=_DEADLINE_S)
    first = asyncio.create_task(files.run(hanging.read))
    await asyncio.to_thread(hanging.wait_begun)
    second = asyncio.create_task(files.run(lambda: "next"))
    await asyncio.to_thread(hanging.release)
    assert (await first, await second) == ("back", "next")


async def test_whoever_is_cancelled_leaves_the_call_and_the_next_waits(hanging: Hanging) -> None:
    files = FileAccess("the home", timeout_s=_DEADLINE_S)
    first = asyncio.create_task(files.run(hanging.read))
    await asyncio.to_thread(hanging.wait_begun)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(files.run(hanging.read))
    for _ in range(20):
        await asyncio.sleep(0)
    assert hanging.count == 1
    await asyncio.to_thread(hanging.release)
    await asyncio.to_thread(hanging.wait_begun)
    await asyncio.to_thread(hanging.release)
    assert await second == "back"


async def test_what_a_call_raises_is_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await FileAccess("the home").run((tmp_path / "none").read_text)


async def test_a_write_at_the_end_is_tried_briefly(hanging: Hanging, tmp_path: Path) -> None:
    await run_briefly(hanging.read, 0.1)
    await asyncio.to_thread(hanging.wait_begun)
    await asyncio.to_thread(hanging.release)
    await run_briefly((tmp_path / "none").read_bytes)  # an OSError is no reason to stop


_PROGRAM = """
import asyncio, sys, threading
from vizdash.cli.exit import use_daemon_threads

async def main():
    use_daemon_threads()
    assert await asyncio.to_thread(lambda: threading.current_thread().name) == "vizdash-0"
    calls = [asyncio.create_task(asyncio.to_thread(open, sys.argv[1])) for _ in range(40)]
    await asyncio.sleep(0.1)
    print("over", flush=True)

asyncio.run(main())
"""


def test_a_program_ends_although_threads_hang(tmp_path: Path) -> None:
    """Python's own executor has asyncio.run, and the interpreter at its end, wait for them."""
    os.mkfifo(tmp_path / "file")
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path / "file")],
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "over\n"), done.stderr


_BUSY = """
import asyncio, threading, time
import vizdash.cli.exit
from vizdash.cli.exit import use_daemon_threads

vizdash.cli.exit._SHUTDOWN_S = 60

async def main():
    use_daemon_threads()
    gate = threading.Barrier(32, timeout=60)
    found = await asyncio.gather(*(asyncio.to_thread(gate.wait) for _ in range(32)))
    print(sorted(found) == list(range(32)))
    print(await asyncio.gather(*(asyncio.to_thread(pow, n, 2) for n in range(5))))
    try:
        await asyncio.to_thread(int, "x")
    except ValueError as e:
        print(e)
    asyncio.get_running_loop().run_in_executor(None, lambda: (time.sleep(0.3), print("last")))

asyncio.run(main())
"""


def test_threads_work_as_usual_and_the_last_calls_are_waited_for() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BUSY], capture_output=True, text=True, check=False,
        timeout=_DEADLINE_S,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[:2] == ["True", "[0, 1, 4, 9, 16]"], done.stderr
    assert "invalid literal" in lines[2]
    assert lines[3:] == ["last"]
