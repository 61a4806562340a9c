"""Following a command of this machine: output arrives while it runs."""

import asyncio
import sys

import pytest

from tests.processes import has_ended
from vizdash.errors import TimedOut
from vizdash.transport.base import KEPT, Command
from vizdash.transport.local import LocalRunner


async def test_words_come_before_the_end() -> None:
    first = asyncio.Event()
    command = Command(("sh", "-c", "echo begun; cat; echo é >&2; exit 3"), timeout_s=60)
    # cat waits for its input's end, which LocalRunner gives, so `begun` arrives first.
    messages: list[str] = []

    def tell(text: str) -> None:
        messages.append(text)
        first.set()

    result = await LocalRunner().follow(Command(command.argv, input="in\n"), tell)
    assert first.is_set()
    assert result.code == 3
    assert (result.stdout, result.stderr) == ("begun\nin\n", "é\n")
    assert sorted("".join(messages).splitlines()) == ["begun", "in", "é"]


async def test_a_character_split_between_two_pieces_stays_whole() -> None:
    script = r"printf '\303'; sleep 0.2; printf '\251'; printf '\377'"
    messages: list[str] = []
    result = await LocalRunner().follow(Command(("sh", "-c", script)), messages.append)
    assert result.stdout == "é\udcff"
    assert "".join(messages) == "é\udcff"


async def test_only_the_end_of_much_output_is_kept() -> None:
    command = Command(("sh", "-c", "yes | head -c 300000; echo end"))
    result = await LocalRunner().follow(command, lambda text: None)
    assert len(result.stdout) <= KEPT
    assert result.stdout.endswith("y\nend\n")


async def test_cancelling_ends_the_command() -> None:
    begun = asyncio.Event()
    pid: list[str] = []

    def tell(text: str) -> None:
        pid.append(text)
        begun.set()

    command = Command(("sh", "-c", "echo $$; exec sleep 1000"))
    task = asyncio.create_task(LocalRunner().follow(command, tell))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert has_ended(pid[0].strip())


async def test_a_command_that_takes_too_long_is_ended() -> None:
    with pytest.raises(TimedOut, match="not done after"):
        await LocalRunner().follow(Command(("sleep", "1000"), timeout_s=0.2), lambda text: None)


async def test_a_followed_command_ends_with_a_vizdash_that_is_killed() -> None:
    script = (
        "import asyncio\n"
        "from vizdash.transport.base import Command\n"
        "from vizdash.transport.local import LocalRunner\n"
        "command = Command(('sh', '-c', 'echo $$; exec sleep 1000'))\n"
        "asyncio.run(LocalRunner().follow(command, lambda text: print(text, end='', flush=True)))\n"
    )
    argv = (sys.executable, "-c", script)
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    pid = (await process.stdout.readline()).decode().strip()
    process.kill()
    await process.wait()
    deadline = asyncio.get_running_loop().time() + 20
    while (await LocalRunner().run(Command(("kill", "-0", pid)))).code == 0:
        assert asyncio.get_running_loop().time() < deadline, "it keeps running"
        await asyncio.sleep(0.05)


async def test_a_sites_time_limit_for_idle_shells_ends_no_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TMOUT is also the limit of bash's ``read``."""
    monkeypatch.setenv("TMOUT", "1")
    command = Command(("sh", "-c", "sleep 2.5; echo done"), timeout_s=60)
    result = await LocalRunner().follow(command, lambda text: None)
    assert (result.code, result.stdout) == (0, "done\n")
