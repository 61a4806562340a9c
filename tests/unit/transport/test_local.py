"""Commands of this machine: their output, and nothing left of a command that was ended."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.processes import has_ended
from tests.unit.transport.stopped_processes import is_stopped, only_root_may_kill_stopped
from vizdash.errors import CommandFailed, TimedOut, Unreachable
from vizdash.transport import child
from vizdash.transport.base import Command
from vizdash.transport.local import LocalRunner

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def sh(script: str, *, seconds: float = 60, text: str | None = None) -> Command:
    return Command(("bash", "-c", script), input=text, timeout_s=seconds)


async def until_there(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f"{path} never came"
        await asyncio.sleep(0.01)
    return path.read_text()


async def test_output_code_and_input() -> None:
    result = await LocalRunner().run(sh("cat; echo err >&2; exit 3", text="grüße\n"))
    assert (result.code, result.stdout, result.stderr) == (3, "grüße\n", "err\n")
    with pytest.raises(CommandFailed, match="prog: err"):
        result.check("prog")


async def test_no_input_is_the_end_of_input_and_words_are_not_split() -> None:
    result = await LocalRunner().run(Command(("bash", "-c", 'cat; printf %s "$1"', "-", "a  $b;c")))
    assert result.stdout == "a  $b;c"


async def test_bytes_that_are_no_text_come_back_as_they_were() -> None:
    result = await LocalRunner().run(sh(r"printf '\377'"))
    assert os.fsencode(result.stdout) == b"\xff"
    again = await LocalRunner().run(sh("cat", text=result.stdout))
    assert again.stdout == result.stdout


async def test_a_program_that_reads_nothing_of_much_input_is_no_error() -> None:
    heard: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(context))
    assert (await LocalRunner().run(sh("exit 0", text="x" * 1_000_000))).code == 0
    with pytest.raises(TimedOut):
        await LocalRunner().run(sh("sleep 60", text="x" * 1_000_000, seconds=0.1))
    await asyncio.sleep(0.1)
    gc.collect()
    await asyncio.sleep(0)
    assert heard == []


@pytest.mark.parametrize("stream", ["1", "2"])
async def test_an_answer_without_end_is_ended(stream: str, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    command = replace(sh(f"echo $$ >{mark}; exec yes >&{stream}"), limit_bytes=1 << 20)
    with pytest.raises(CommandFailed, match=r"^bash: it printed more than 1 MiB and was stopped$"):
        await LocalRunner().run(command)
    assert has_ended(int(mark.read_text()))


async def test_a_signal_is_no_success() -> None:
    assert (await LocalRunner().run(sh("kill -9 $$"))).code != 0


@pytest.mark.parametrize("program", ["/nonexistent/program", "/etc/passwd", "/"])
async def test_what_cannot_be_started(program: str) -> None:
    with pytest.raises(Unreachable) as error:
        await LocalRunner().run(Command((program,)))
    assert error.value.line.startswith(f"{program}: ")


async def test_the_input_is_in_no_repr() -> None:
    assert "s3cret" not in repr(Command(("x",), input="s3cret"))


async def test_a_timeout_ends_the_whole_group_also_who_will_not_go(tmp_path: Path) -> None:
    """The leader goes at TERM; its child ignores it and holds the pipe."""
    script = f"(trap '' TERM; echo $BASHPID >{tmp_path}/pid; while :; do sleep 0.1; done) & wait"
    with pytest.raises(TimedOut, match="no answer in 10 s"):
        await LocalRunner().run(sh(script, seconds=10))
    assert has_ended(int((tmp_path / "pid").read_text()))


async def test_a_timeout_carries_what_was_printed_on_stderr() -> None:
    with pytest.raises(TimedOut) as error:
        await LocalRunner().run(sh("echo one >&2; echo two >&2; sleep 1000", seconds=10))
    assert error.value.why == "no answer in 10 s: two"
    assert error.value.stderr == "one\ntwo\n"


async def test_a_command_that_says_that_it_keeps_retrying_is_not_waited_for() -> None:
    retrying = Command(
        ("bash", "-c", "echo 'no file, retrying for 60 s' >&2; sleep 1000"),
        timeout_s=900,
        retries=("retrying for",),
    )
    with pytest.raises(TimedOut, match="it keeps retrying: no file, retrying for 60 s"):
        await LocalRunner().run(retrying)


async def test_a_command_whose_retry_works_gives_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vizdash.transport.timeouts.RETRY_S", 60.0)
    script = "echo 'no file, retrying for 60 s' >&2; sleep 0.2; echo there"
    command = Command(("bash", "-c", script), timeout_s=900, retries=("retrying for",))
    assert (await LocalRunner().run(command)).stdout == "there\n"


async def test_a_cancelled_call_ends_its_command_first(tmp_path: Path) -> None:
    task = asyncio.create_task(LocalRunner().run(sh(f"echo $$ >{tmp_path}/pid; sleep 1000")))
    pid = int(await until_there(tmp_path / "pid"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert has_ended(pid)


@pytest.mark.parametrize("follows", [False, True])
async def test_the_last_words_of_a_cancelled_call_are_nobodys(
    tmp_path: Path, *, follows: bool
) -> None:
    """They may be those of a Slurm command that begins to retry, or much too many."""
    script = "trap 'echo retrying >&2; exit' TERM; "
    script += f"echo $$ >{tmp_path}/pid; while :; do sleep 0.01; done"
    command = Command(("bash", "-c", script), retries=("retrying",), limit_bytes=4)
    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    runner, seen = LocalRunner(), list[str]()
    call = runner.follow(command, seen.append) if follows else runner.run(command)
    task = asyncio.create_task(call)
    await until_there(tmp_path / "pid")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    gc.collect()
    await asyncio.sleep(0)
    assert (faults, seen) == ([], [])


@pytest.fixture
def heir() -> Iterator[list[int]]:
    """What its parent leaves behind is left to this process, which waits for nothing meanwhile: as
    the first process of a container. Takes the PIDs of those to wait for in the end.
    """
    left: list[int] = []
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_PR_SET_CHILD_SUBREAPER, 1) == 0
    yield left
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 0)
    for pid in left:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


async def test_who_has_ended_is_not_waited_for_though_nobody_collects_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heir: list[int]
) -> None:
    monkeypatch.setattr("vizdash.transport.child._KILL_S", 600.0)
    # The first of them waits for no child of its own.
    script = f"sleep 1000 & echo $! >{tmp_path}/pid; exec sleep 1000"
    task = asyncio.create_task(LocalRunner().run(sh(script)))
    pid = int(await until_there(tmp_path / "pid"))
    heir.append(pid)
    task.cancel()
    await asyncio.wait({task}, timeout=60)
    assert task.cancelled()
    assert Path(f"/proc/{pid}").exists()
    assert has_ended(pid)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_call_that_is_cancelled_while_its_command_starts_ends_all_of_it(
    times: int, tmp_path: Path
) -> None:
    script = f"sleep 1000 & echo $! >{tmp_path}/pid; exec sleep 1000"
    task = asyncio.create_task(child.start("bash", "-c", script, start_new_session=True))
    pid = tmp_path / "pid"
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the program is started, and the event loop has not heard of it yet
    deadline = time.monotonic() + 60
    while not pid.exists() or not pid.read_text():
        assert time.monotonic() < deadline, "it was not started"
        time.sleep(0.05)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    await asyncio.wait({task}, timeout=60)
    assert task.cancelled()
    async with asyncio.timeout(60):
        while not has_ended(int(pid.read_text())):
            await asyncio.sleep(0.02)


async def test_a_start_that_is_cancelled_closes_the_pipes_of_what_has_ended() -> None:
    pipe = asyncio.subprocess.PIPE
    before = len(list(Path("/proc/self/fd").iterdir()))
    starting = child.start("true", stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
    task = asyncio.create_task(starting)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=60)
    assert task.cancelled()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


async def test_a_pipe_to_a_stopped_sudo_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asyncio.timeout(240), only_root_may_kill_stopped(monkeypatch):
        pipe = await LocalRunner().pipe(("sh", "-c", "echo $$; echo waiting >&2; kill -STOP $$"))
        pid = int(await pipe.reader.read(100))
        while not is_stopped(pid):
            await asyncio.sleep(0.02)
        await pipe.close()
        assert await pipe.wait() == "waiting"
        assert is_stopped(pid)


async def test_a_command_by_a_stopped_sudo_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asyncio.timeout(240), only_root_may_kill_stopped(monkeypatch):
        with pytest.raises(TimedOut):
            await LocalRunner().run(sh("kill -STOP $$", seconds=1))


def test_has() -> None:
    assert LocalRunner().has("bash")
    assert not LocalRunner().has("no-such-program-here")
