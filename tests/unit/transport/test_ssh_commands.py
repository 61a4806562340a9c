"""Commands over SSH: quoting, noise, limits, cancelling."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import asyncssh
import pytest

from tests.processes import has_ended
from tests.unit.transport.logins import until
from tests.unit.transport.sshd import Behaviour, ScriptedUser, sshd
from vizdash.errors import CommandFailed, TimedOut, Unreachable
from vizdash.model.connection_status import ConnectionState
from vizdash.transport.base import Command
from vizdash.transport.ssh.connection import SshConnection
from vizdash.transport.ssh.runner import SshRunner, frame_command

#: What shells, quoting and framing may stumble over.
HARD = (
    "plain", "", " ", "two words", "it's", '"', "\\", "\\\\", "\\'", "!", "a!b", "$HOME", "`id`",
    "*", "~", "#", "new\nline", "tab\t", "percent %s %d", "é ü 한", "\udcff", "-n", "(x)", "{a,b}",
    "a;b", "a&b", "a|b", "<", ">", "\r", "trailing\n", "[ab]", "=x", "^", "\x01",
)  # fmt: skip


SSH: Literal["builtin", "openssh"] = "builtin"


@pytest.fixture(autouse=True)
def _both(transport: Literal["builtin", "openssh"], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test over both transports."""
    monkeypatch.setitem(globals(), "SSH", transport)


@asynccontextmanager
async def runner_on(how: Behaviour, home: Path) -> AsyncIterator[SshRunner]:
    async with sshd(how) as server:
        server.known(home)
        connection = SshConnection(f"lena@127.0.0.1:{server.port}", ScriptedUser(), ssh=SSH)
        try:
            yield SshRunner(connection)
        finally:
            await connection.close()


async def test_words_arrive_as_they_are(home: Path, key: asyncssh.SSHKey) -> None:
    async with runner_on(Behaviour(keys=[key]), home) as runner:
        result = await runner.run(Command(("printf", "%s\\0", *HARD)))
        assert result.stdout.split("\0")[:-1] == list(HARD)
        assert result.code == 0


#: Those that are here; the lab has fish and tcsh in any case.
SHELLS = [s for s in ("bash", "dash", "fish", "tcsh", "zsh", "ksh") if shutil.which(s)]


@pytest.mark.parametrize("name", SHELLS)
async def test_any_login_shell(name: str, home: Path, key: asyncssh.SSHKey) -> None:
    shell = shutil.which(name) or name
    async with runner_on(Behaviour(keys=[key], shell=(shell, "-c")), home) as runner:
        result = await runner.run(Command(("printf", "%s\\0", *HARD), input="in\nput!'\\"))
        assert result.stdout.split("\0")[:-1] == list(HARD)
        assert (await runner.run(Command(("cat",), input="in\nput!'\\"))).stdout == "in\nput!'\\"


async def test_noise_of_start_up_files_is_cut_off(home: Path, key: asyncssh.SSHKey) -> None:
    how = Behaviour(keys=[key], noise="Welcome!\n\x1b[1mQuota\x1b[0m: 93 %\nno newline at the end")
    async with runner_on(how, home) as runner:
        result = await runner.run(Command(("sh", "-c", "echo out; echo err >&2; exit 3")))
        assert (result.code, result.stdout, result.stderr) == (3, "out\n", "err\n")


async def test_a_timeout_carries_what_was_printed_on_stderr(
    home: Path, key: asyncssh.SSHKey
) -> None:
    how = Behaviour(keys=[key], noise="Welcome!\n")
    async with runner_on(how, home) as runner:
        await runner.query_remote_info()
        with pytest.raises(TimedOut, match=r"^sh: no answer in 10 s: two$"):
            await runner.run(Command(("sh", "-c", "echo two >&2; sleep 1000"), timeout_s=10))
        with pytest.raises(TimedOut, match=r"^sleep: no answer in 1 s$"):
            await runner.run(Command(("sleep", "1000"), timeout_s=1))
        retrying = ("sh", "-c", "echo 'no file, retrying' >&2; sleep 1000")
        with pytest.raises(TimedOut, match="it keeps retrying: no file, retrying"):
            await runner.run(Command(retrying, timeout_s=900, retries=("retrying",)))


async def test_output_is_passed_on_as_it_arrives(home: Path, key: asyncssh.SSHKey) -> None:
    messages: list[str] = []
    script = "echo one; read x; echo two $x; echo three >&2; exit 4"
    async with runner_on(Behaviour(keys=[key], noise="noise\n"), home) as runner:
        command = Command(("sh", "-c", script), input="in\n")
        result = await runner.follow(command, messages.append)
    assert sorted("".join(messages).splitlines()) == ["one", "three", "two in"]
    assert (result.code, result.stdout, result.stderr) == (4, "one\ntwo in\n", "three\n")


async def test_the_remote_info_names_user_and_host(home: Path, key: asyncssh.SSHKey) -> None:
    how = Behaviour(keys=[key], noise="user=mallory\nhome=/evil\n")
    async with runner_on(how, home) as runner:
        info = await runner.query_remote_info()
        assert info.home == str(home)
        assert info.user not in {"", "mallory"}
        assert {"ssh"} <= info.programs
        assert not runner.has("no-such-program")


async def test_input_is_not_in_the_command_line(home: Path, key: asyncssh.SSHKey) -> None:
    how = Behaviour(keys=[key])
    async with runner_on(how, home) as runner:
        assert (await runner.run(Command(("cat",), input="s3cret"))).stdout == "s3cret"
        assert not any("s3cret" in line for line in how.ran)


def test_a_program_that_arrives_in_part_is_not_run(tmp_path: Path) -> None:
    """The connection breaks: a job script cut in half must not be submitted."""
    took = tmp_path / "took"
    frame = frame_command(("sh", "-c", f"cat > {took}"), "#!/bin/bash\necho one\necho two\n")
    for size in range(len(frame.program)):
        part = frame.program[:size]
        done = subprocess.run(["/bin/sh", "-c", frame.line], check=False, input=part)
        assert done.returncode == 125, size
        assert not took.exists(), size
    subprocess.run(["/bin/sh", "-c", frame.line], input=frame.program, check=True)
    assert took.read_text().endswith("echo two\n")


@pytest.mark.parametrize("limit", [1, 2, 10])
async def test_max_sessions(limit: int, home: Path, key: asyncssh.SSHKey) -> None:
    how = Behaviour(keys=[key], max_sessions=limit)
    async with runner_on(how, home) as runner:
        work = [runner.run(Command(("sh", "-c", f"sleep 0.1; echo {n}"))) for n in range(20)]
        messages = [r.stdout.strip() for r in await asyncio.gather(*work)]
        assert messages == [str(n) for n in range(20)]
        assert how.most_open <= limit
        assert how.logins == 1


async def test_no_session_at_all_is_one_clear_line(home: Path, key: asyncssh.SSHKey) -> None:
    async with runner_on(Behaviour(keys=[key], max_sessions=0), home) as runner:
        with pytest.raises(Unreachable, match=r"its sshd opens no session: open failed"):
            await runner.run(Command(("true",)))


async def test_a_shell_that_runs_nothing_is_one_clear_line(
    home: Path, key: asyncssh.SSHKey
) -> None:
    how = Behaviour(
        keys=[key], shell=("/bin/sh", "-c", "echo 'account not available'; exit 1", "x")
    )
    async with runner_on(how, home) as runner:
        with pytest.raises(Unreachable, match="runs no commands: account not available"):
            await runner.run(Command(("true",)))


async def test_a_cancelled_command_ends_there(
    home: Path, key: asyncssh.SSHKey, tmp_path: Path
) -> None:
    mark = tmp_path / "alive"
    script = f"trap 'rm -f {mark}; exit' TERM; touch {mark}; while :; do sleep 0.05; done"
    async with runner_on(Behaviour(keys=[key]), home) as runner:
        task = asyncio.create_task(runner.run(Command(("sh", "-c", script))))
        await _until(mark.exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await _until(lambda: not mark.exists())


async def test_a_command_that_takes_too_long_is_ended(home: Path, key: asyncssh.SSHKey) -> None:
    async with runner_on(Behaviour(keys=[key]), home) as runner:
        with pytest.raises(TimedOut, match=r"sleep: no answer in 0\.3 s"):
            await runner.run(Command(("sleep", "100"), timeout_s=0.3))
        assert (await runner.run(Command(("echo", "next")))).stdout == "next\n"


async def _until(true: object) -> None:
    async with asyncio.timeout(20):
        while not true():  # type: ignore[operator]
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("stream", ["stdout", "stderr", "both"])
async def test_an_endless_answer_is_stopped_at_its_limit(
    stream: str, home: Path, key: asyncssh.SSHKey
) -> None:
    """With a clear error, and its process with it; the connection stays."""
    ways = {"stdout": "exec yes", "stderr": "exec yes >&2", "both": "yes & exec yes >&2"}
    script = f"echo $$ >{home}/pid; {ways[stream]}"
    async with runner_on(Behaviour(keys=[key]), home) as runner:
        endless = Command(("sh", "-c", script), timeout_s=180, limit_bytes=1 << 20)
        with pytest.raises(CommandFailed) as caught:
            await runner.run(endless)
        assert "more than 1 MiB" in caught.value.line
        pid = int((home / "pid").read_text())
        await until(lambda: has_ended(pid))
        assert (await runner.run(Command(("echo", "in")))).stdout == "in\n"
        connection = runner.connection
        assert connection.status.state is ConnectionState.UP
