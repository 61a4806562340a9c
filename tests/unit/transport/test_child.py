"""A program ends while a process that it has left behind still holds its output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import has_ended
from vizdash.errors import Refused, Unreachable
from vizdash.transport import child
from vizdash.transport.base import Command
from vizdash.transport.forwarders import SshForward, SshForwarder
from vizdash.transport.local import LocalRunner, LocalStreamer
from vizdash.transport.openssh.master import Master
from vizdash.transport.ssh import settings
from vizdash.transport.ssh.proxy import Proxy

_DEADLINE_S = 120.0
_PIPE = asyncio.subprocess.PIPE


class Leaver:
    """``leave`` is a shell command that leaves a process which holds stdout and stderr, in a
    session of its own; ``leave_in_group`` leaves one in the process group of the command, as a
    ProxyCommand does that reads in the background.
    """

    def __init__(self, folder: Path) -> None:
        self._mark = folder / "left"
        start = f"sh -c 'echo $$ >>{self._mark}; exec sleep 100000' &"
        start += f" until [ -s {self._mark} ]; do sleep 0.01; done;"
        self.leave, self.leave_in_group = f"setsid {start}", start

    def pids(self) -> list[int]:
        return [int(pid) for pid in self._mark.read_text().split()] if self._mark.exists() else []

    async def wait_ended(self) -> None:
        """Wait until what it has left has ended."""
        async with asyncio.timeout(_DEADLINE_S):
            while not (self.pids() and all(map(has_ended, self.pids()))):
                await asyncio.sleep(0.01)

    def kill(self) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def leaver(tmp_path: Path) -> Iterator[Leaver]:
    leaver = Leaver(tmp_path)
    yield leaver
    leaver.kill()


def _program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# Each test's transports are closed when it ends: see `waited_for` in tests/conftest.py.


async def test_its_end_is_noticed_and_its_pipes_are_closed(leaver: Leaver) -> None:
    process = await child.start(
        "sh", "-c", f"{leaver.leave} exit 3", stdin=_PIPE, stdout=_PIPE, stderr=_PIPE
    )
    async with asyncio.timeout(_DEADLINE_S):
        assert await process.wait() == 3
        await process.close()
        assert process.stdout is not None
        assert await process.stdout.read() == b""
        await process.close()


async def test_one_that_runs_is_killed_by_close() -> None:
    process = await child.start("sleep", "100000", stderr=_PIPE)
    async with asyncio.timeout(_DEADLINE_S):
        await process.close()
        assert await process.wait() == -signal.SIGKILL


async def test_a_pipe_ends_with_its_command(leaver: Leaver) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        pipe = await LocalRunner().pipe(("sh", "-c", f"{leaver.leave} echo why >&2; exit 3"))
        assert await pipe.wait() == "why"
        await pipe.close()


async def test_a_stream_ends_with_its_command(leaver: Leaver) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        stream = await LocalStreamer().open(("sh",), f"{leaver.leave}\necho done\nexit 3\n")
        lines = stream.lines()
        assert await anext(lines) == "done"
        assert await stream.finish() == 3
        assert [line async for line in lines] == []


async def test_a_lost_tunnel_is_noticed(leaver: Leaver, tmp_path: Path) -> None:
    """ssh has ended, and what its ProxyCommand started keeps running."""
    script = (
        'for word; do case "$word" in */s:*) path="${word%%:*}" ;; esac; done\n'
        f"{leaver.leave}\ntouch \"$path\"; echo 'Connection to node closed.' >&2\n"
        f"until [ -e {tmp_path}/end ]; do sleep 0.01; done; exit 255"
    )
    ssh = _program(tmp_path / "bin/ssh", script)
    async with asyncio.timeout(_DEADLINE_S):
        forward = await SshForwarder((str(ssh),)).open("node", "/run/socket")
        (tmp_path / "end").touch()
        assert await forward.wait_lost() == "Connection to node closed."
        await forward.close()


async def test_a_signal_while_a_tunnel_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ssh ends its ProxyCommand (vizdash proxy) when that has already begun to end."""
    script = (
        'for word; do case "$word" in */s:*) path="${word%%:*}" ;; esac; done\n'
        f"trap 'echo >{tmp_path}/asked; while :; do sleep 0.01; done' TERM\n"
        'touch "$path"; while :; do sleep 0.01; done'
    )
    ssh = _program(tmp_path / "bin/ssh", script)
    async with asyncio.timeout(_DEADLINE_S):
        forward = await SshForwarder((str(ssh),)).open("node", "/run/socket")
        assert isinstance(forward, SshForward)
        monkeypatch.setattr(child, "_KILL_S", _DEADLINE_S)
        closing = asyncio.create_task(forward.close())
        while not (tmp_path / "asked").exists():
            await asyncio.sleep(0.01)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
    assert not Path(forward.path).parent.exists()
    await forward._process.close()


async def test_a_tunnel_that_cannot_be_opened(leaver: Leaver, tmp_path: Path) -> None:
    ssh = _program(tmp_path / "bin/ssh", f"{leaver.leave} echo 'no such node' >&2; exit 255")
    async with asyncio.timeout(_DEADLINE_S):
        with pytest.raises(Unreachable):
            await SshForwarder((str(ssh),)).open("node", "/run/socket")


async def test_a_proxy_command_that_leaves_something_behind(leaver: Leaver, tmp_path: Path) -> None:
    command = _program(tmp_path / "proxy", f"{leaver.leave} exit 1")
    async with asyncio.timeout(_DEADLINE_S):
        proxy = await Proxy.start(str(command))
        while not proxy.ended:
            await asyncio.sleep(0.01)
        await proxy.close()


async def test_a_match_exec_that_hangs(
    leaver: Leaver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ssh -G` is killed with the command for which it waits."""
    ssh = _program(tmp_path / "bin/ssh", f"{leaver.leave} sleep 100000")
    monkeypatch.setattr(settings, "_SSH_G_S", 1.0)
    async with asyncio.timeout(_DEADLINE_S):
        with pytest.raises(Refused, match="does a Match exec hang"):
            await settings._ask_ssh(str(ssh), settings.Target("viz"))


async def test_a_match_exec_that_leaves_something_behind(leaver: Leaver, tmp_path: Path) -> None:
    """`ssh -G` itself, which lets the command have its stderr."""
    exec_ = _program(tmp_path / "exec", f"{leaver.leave} exit 0")
    config = tmp_path / "config"
    config.write_text(f"Match exec {exec_}\n  User lena\n")
    ssh = _program(tmp_path / "bin/ssh", f'exec ssh -F {config} "$@"')
    async with asyncio.timeout(_DEADLINE_S / 2):
        assert "user lena\n" in await settings._ask_ssh(str(ssh), settings.Target("viz"))
    assert not has_ended(leaver.pids()[0])


@pytest.mark.parametrize("followed", [False, True])
async def test_a_command_that_leaves_something_behind(leaver: Leaver, *, followed: bool) -> None:
    """Its stderr is held, as by what a ProxyCommand has started."""
    leave = f"exec 3>&1 >/dev/null; (exec 3>&-; {leaver.leave})"
    command = Command(("sh", "-c", f"echo why >&2; {leave} && echo done >&3; exit 3"))
    seen: list[str] = []
    async with asyncio.timeout(_DEADLINE_S):
        if followed:
            result = await LocalRunner().follow(command, seen.append)
        else:
            result = await LocalRunner().run(command)
    assert (result.code, result.stdout, result.stderr) == (3, "done\n", "why\n")
    assert sorted(seen) == (["done\n", "why\n"] if followed else [])


async def test_a_control_master_that_leaves_something_behind(
    leaver: Leaver, tmp_path: Path
) -> None:
    lines: list[str] = []
    master = Master(lines.append)
    ssh = _program(tmp_path / "bin/ssh", f"{leaver.leave} echo refused >&2; exit 255")
    async with asyncio.timeout(_DEADLINE_S):
        await master.start([str(ssh)], {})
        assert await master.wait() == 255
        await master.wait_closed()
    assert lines == ["refused"]


async def test_what_a_proxy_command_leaves_ends_with_it(leaver: Leaver, tmp_path: Path) -> None:
    """It would keep the connection, and the user's login at the other end, open for ever."""
    command = _program(tmp_path / "proxy", f"{leaver.leave_in_group} exit 1")
    async with asyncio.timeout(_DEADLINE_S):
        proxy = await Proxy.start(str(command))
        while not proxy.ended:
            await asyncio.sleep(0.01)
        await proxy.close()
    await leaver.wait_ended()


async def test_what_the_proxy_command_of_a_control_master_leaves(
    leaver: Leaver, tmp_path: Path
) -> None:
    """The connection was lost, so that ssh has ended by itself."""
    master = Master(lambda line: None)
    ssh = _program(tmp_path / "bin/ssh", f"trap '' TERM; {leaver.leave_in_group} exit 255")
    async with asyncio.timeout(_DEADLINE_S):
        await master.start([str(ssh)], {})
        assert await master.wait() == 255
        await master.wait_closed()
    await leaver.wait_ended()


async def test_what_the_proxy_command_of_a_tunnel_leaves(leaver: Leaver, tmp_path: Path) -> None:
    script = (
        'for word; do case "$word" in */s:*) path="${word%%:*}" ;; esac; done\n'
        f'{leaver.leave_in_group}\ntouch "$path"; exec cat'
    )
    ssh = _program(tmp_path / "bin/ssh", script)
    async with asyncio.timeout(_DEADLINE_S):
        await (await SshForwarder((str(ssh),)).open("node", "/run/socket")).close()
    await leaver.wait_ended()


async def test_what_the_proxy_command_of_a_stream_leaves(leaver: Leaver) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        stream = await LocalStreamer().open(("sh",), f"{leaver.leave_in_group}\nexit 3\n")
        assert await stream.finish() == 3
    await leaver.wait_ended()


async def test_what_the_proxy_command_of_a_pipe_leaves(leaver: Leaver) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        pipe = await LocalRunner().pipe(("sh", "-c", f"{leaver.leave_in_group} exit 3"))
        await pipe.wait()
        await pipe.close()
    await leaver.wait_ended()


async def test_another_process_with_the_pid_of_one_that_has_ended_is_left_alone() -> None:
    process = await child.start("true", start_new_session=True)
    other = await child.start("sleep", "100000", start_new_session=True)
    async with asyncio.timeout(_DEADLINE_S):
        await process.wait()
        process.pid = other.pid
        await child.end_group(process)
        process._pipes.group_ended = False  # as if something of it had been left at first
        await child.end_group(process)
        assert other.returncode is None
        await child.end_group(other)
        assert await other.wait() == -signal.SIGTERM
        for one in (process, other):
            await one.close()


async def _read_all(stream: asyncio.StreamReader, into: bytearray) -> None:
    while piece := await stream.read(1 << 20):
        into += piece


async def test_much_output_is_let_gather_and_arrives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of squeue(1), which writes 4 KiB at a time."""
    write = "import os\nfor n in range(1000): os.write(1, b'%03d' % n * 1000)"
    whole = b"".join(b"%03d" % n * 1000 for n in range(1000))
    for gather_s in (0.005, 3600.0):
        monkeypatch.setattr(child, "_GATHER_S", gather_s)
        words = (sys.executable, "-c", write)
        limit = child.GATHER_LIMIT
        process = await child.start(*words, stdout=_PIPE, gather=True, limit=limit)
        assert process.stdout is not None
        got = bytearray()
        reading = asyncio.create_task(_read_all(process.stdout, got))
        if gather_s < 1:
            await asyncio.wait_for(reading, _DEADLINE_S)
            assert got == whole and await process.wait() == 0
        else:  # the rest stays in the pipe for now
            async with asyncio.timeout(_DEADLINE_S):
                while len(got) <= child._MUCH:
                    await asyncio.sleep(0.01)
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(got) <= child._MUCH + (256 << 10)
        await process.close()
        await asyncio.wait_for(reading, _DEADLINE_S)


class _ClosedPipes(asyncio.SubprocessTransport):
    """The transport of a program that ended before asyncio tells of its pipes."""

    def __init__(self, closed: object) -> None:
        super().__init__({"pipe": closed})

    def get_pid(self) -> int:
        return 0

    def get_pipe_transport(self, fd: int) -> asyncio.BaseTransport:
        return self


async def test_a_program_that_ends_at_once_is_no_error(tmp_path: Path) -> None:
    with (tmp_path / "pipe").open("w") as file:
        pass
    protocol = child._PipesProtocol(asyncio.get_running_loop(), child.LIMIT, gather=True)
    protocol.connection_made(_ClosedPipes(file))
    assert not protocol.closed.is_set()
