"""The ssh(1) process that holds a login as a ControlMaster (ssh_config(5))."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vizdash.errors import Unreachable
from vizdash.transport import child
from vizdash.transport.ssh.settings import HostSettings, Target
from vizdash.util import command_log
from vizdash.util.files import private_folder, remove_private_folder

#: Most bytes of the path in which ssh's folder is made: a control path has 90 at most.
_SHORT = 60
#: Seconds for ssh to end after SIGTERM.
_GRACE_S = 5.0
#: Most bytes of a line of ssh's output.
_LONGEST = 1 << 16
#: Runs ssh, and stops it when the pipe on stdin closes; vizdash holds the other end. An ssh without
#: a command would outlive a vizdash that was killed. The exit code is printed, since after a fork
#: vizdash is not the parent. The whole process group is stopped, also after ssh has ended by
#: itself: ssh leaves the children of a ProxyCommand behind. A site's TMOUT would end the read of a
#: sh that is bash.
_GUARD = """
unset -v TMOUT
trap : TERM HUP INT
exec 3<&0 4>&1
"$@" </dev/null >/dev/null 3<&- 4>&- &
ssh=$!
{ exec 4>&- 2>/dev/null; read -r _ <&3; kill -TERM 0; } &
reader=$!
exec 3<&-
wait "$ssh"
code=$?
while kill -0 "$ssh" 2>/dev/null; do wait "$ssh"; code=$?; done
kill "$reader" 2>/dev/null
wait "$reader" 2>/dev/null
kill -TERM 0
echo "$code" >&4
"""
_NEVER = (
    "ControlMaster=yes",
    "ControlPersist=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "VisualHostKey=no",
    "Tunnel=no",
)
#: Options that not every supported ssh has, and the version that has them.
_NEWER = (("ForkAfterAuthentication=no", (8, 7)),)

Version = tuple[int, int]


async def read_version(ssh: str) -> Version:
    """Return the version of ssh(1), such as (9, 2); (0, 0) where it is not OpenSSH."""
    process = await asyncio.create_subprocess_exec(
        ssh, "-V",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, stderr = await process.communicate()
    match = re.search(r"OpenSSH_(\d+)\.(\d+)", stderr.decode(errors="replace"))
    return (int(match[1]), int(match[2])) if match else (0, 0)


def command_line(
    ssh: str,
    target: Target,
    settings: HostSettings,
    path: Path,
    *,
    version: Version,
    alive: tuple[int, int],
    connect_s: int,
    forward_agent: bool,
) -> list[str]:
    """Return the command line of an ssh that runs no command and shares its connection by the
    control socket ``path``.

    The user's settings apply, except for X11, which is never forwarded, and the agent, which is
    forwarded only by vizdash's configuration. ``alive`` are the seconds between probes and their
    number, where the user's settings have none; ``connect_s`` is the time for a connection (0: no
    limit).
    """
    options = [*_NEVER, *(option for option, since in _NEWER if version >= since)]
    if not settings.alive_interval_s:
        options += [f"ServerAliveInterval={alive[0]}", f"ServerAliveCountMax={alive[1]}"]
    if connect_s and not settings.connect_timeout_s:
        options.append(f"ConnectTimeout={connect_s}")
    # -v applies to jump hosts, too: it shows the progress of each login.
    words = [ssh, "-v", "-N", "-T", "-x", "-A" if forward_agent else "-a"]
    words += ["-S", str(path).replace("%", "%%")]
    words += [word for option in options for word in ("-o", option)]
    words += ["-l", target.user] if target.user else []
    words += ["-p", str(target.port)] if target.port else []
    words += ["-J", target.jumps] if target.jumps else []
    return [*words, "--", target.host]


class Master:
    """A running ssh with its folder. ``on_line`` gets each line of its stderr. It stops by
    ``close``, and when vizdash ends, even if that is killed.
    """

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.folder = private_folder(_SHORT)
        self._on_line = on_line
        self._argv: tuple[str, ...] = ()
        self._began = 0.0
        self._process: child.Child | None = None
        self._life: asyncio.Task[int] | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def path(self) -> Path:
        """Its control socket, which exists after the login."""
        return self.folder / "m"

    async def start(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start ssh. Raises Unreachable."""
        pipe = asyncio.subprocess.PIPE
        command_log.record(argv, "started")
        try:
            self._process = await child.start(
                "/bin/sh", "-c", _GUARD, "sh", *argv,
                stdin=pipe, stdout=pipe, stderr=pipe,
                limit=_LONGEST, env={**os.environ, **environ}, start_new_session=True,
            )  # fmt: skip
        except OSError as e:
            raise Unreachable(argv[0], e.strerror or str(e)) from e
        self._argv, self._began = tuple(argv), time.monotonic()
        self._life = asyncio.create_task(self._live(self._process))

    @property
    def gone(self) -> bool:
        """Whether ssh and its folder are gone."""
        return self._ending is not None and self._ending.done()

    @property
    def ended(self) -> bool:
        """Whether ssh has ended."""
        return self._life is None or self._life.done()

    async def wait(self) -> int:
        """Wait until ssh has ended and its output is read; return its exit code."""
        assert self._life is not None
        return await asyncio.shield(self._life)

    def close(self) -> None:
        """Start to stop ssh; ``wait_closed`` waits for that."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end())

    async def wait_closed(self) -> None:
        """Stop ssh, and wait until it and its folder are gone."""
        self.close()
        assert self._ending is not None
        await asyncio.shield(self._ending)

    async def _live(self, process: child.Child) -> int:
        assert process.stdout is not None
        reading = asyncio.create_task(self._read(process))
        try:
            code = (await process.stdout.read()).strip()
            outcome = f"exit {os.fsdecode(code)}" if code.isdigit() else "killed"
            command_log.record(self._argv, outcome, time.monotonic() - self._began)
            # A ProxyCommand that keeps running may hold stderr open.
            await asyncio.wait({reading}, timeout=1)
            return int(code) if code.isdigit() else -1
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, process: child.Child) -> None:
        assert process.stderr is not None
        kept = b""
        while data := await process.stderr.read(_LONGEST):
            *whole, kept = (kept + data).split(b"\n")
            for line in whole:
                self._on_line(line.decode(errors="replace").rstrip("\r"))
            kept = kept[-_LONGEST:]
        if kept:
            self._on_line(kept.decode(errors="replace").rstrip("\r"))

    async def _end(self) -> None:
        process = self._process
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            for _ in range(2):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.wait(), _GRACE_S)
                    break
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            # After a fork it is no child of vizdash, and its end is not reported.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _GRACE_S)
            if process.is_reported:
                await child.end_group(process)  # what SIGTERM has not ended
            await process.close()  # a ProxyCommand that keeps running may hold stderr open
        await asyncio.to_thread(remove_private_folder, self.folder)
