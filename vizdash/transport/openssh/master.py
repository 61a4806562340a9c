"""The ssh(1) process that holds a login: a ControlMaster of vizdash's own (ssh_config(5))."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vizdash.errors import Unreachable
from vizdash.files import private_folder
from vizdash.transport.ssh.settings import HostSettings, Target

#: Bytes of the folder that ssh's own folder is made in: a control path has 90 at most.
_SHORT = 60
#: Seconds that ssh gets to end after SIGTERM.
_GRACE_S = 5.0
#: Bytes of a line of ssh's.
_LONGEST = 1 << 16
#: Runs ssh until its own end, or that of the pipe on stdin, whose other end is ours: a ssh without
#: a command would outlive a vizdash that was killed. The exit code is printed; whoever holds the
#: pipes after a fork is not its parent. Ended is the whole process group: ssh leaves a
#: ProxyCommand's own children behind.
_GUARD = """
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
#: Keywords that are newer than the oldest ssh we may meet, and the version that has them.
_NEWER = (("ForkAfterAuthentication=no", (8, 7)),)

Version = tuple[int, int]


async def read_version(ssh: str) -> Version:
    """The version of ssh(1), (9, 2); (0, 0) where it is not OpenSSH."""
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
    """The ssh for a login that runs nothing and takes others along by the control socket ``path``.

    The person's own settings hold but for what we need otherwise: no X11, and no agent unless our
    config says so. ``alive`` are seconds between probes, and their number, where the person has
    none; ``connect_s`` is the time for a connection (0: none).
    """
    options = [*_NEVER, *(option for option, since in _NEWER if version >= since)]
    if not settings.alive_interval_s:
        options += [f"ServerAliveInterval={alive[0]}", f"ServerAliveCountMax={alive[1]}"]
    if connect_s and not settings.connect_timeout_s:
        options.append(f"ConnectTimeout={connect_s}")
    # -v also for the hosts on the way: it says how far each login has come.
    words = [ssh, "-v", "-N", "-T", "-x", "-A" if forward_agent else "-a"]
    words += ["-S", str(path).replace("%", "%%")]
    words += [word for option in options for word in ("-o", option)]
    words += ["-l", target.user] if target.user else []
    words += ["-p", str(target.port)] if target.port else []
    words += ["-J", target.jumps] if target.jumps else []
    return [*words, "--", target.host]


class Master:
    """A running ssh, and its folder, which goes with it. ``tell`` gets the lines that it prints on
    stderr. It ends with us, however we end, and by ``close``.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.folder = private_folder(_SHORT)
        self._tell = tell
        self._process: asyncio.subprocess.Process | None = None
        self._life: asyncio.Task[int] | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def path(self) -> Path:
        """Its control socket: there once the login is done."""
        return self.folder / "m"

    async def start(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start it. Raises Unreachable."""
        pipe = asyncio.subprocess.PIPE
        try:
            self._process = await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", _GUARD, "sh", *argv,
                stdin=pipe, stdout=pipe, stderr=pipe,
                limit=_LONGEST, env={**os.environ, **environ}, start_new_session=True,
            )  # fmt: skip
        except OSError as e:
            raise Unreachable(argv[0], e.strerror or str(e)) from e
        self._life = asyncio.create_task(self._live(self._process))

    @property
    def gone(self) -> bool:
        """Whether nothing of it is left."""
        return self._ending is not None and self._ending.done()

    @property
    def ended(self) -> bool:
        """Whether ssh has ended."""
        return self._life is None or self._life.done()

    async def wait(self) -> int:
        """Its exit code, once it has ended and its last words were read."""
        assert self._life is not None
        return await asyncio.shield(self._life)

    def close(self) -> None:
        """Begin to end it; see ``wait_closed``."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end())

    async def wait_closed(self) -> None:
        """Wait until nothing of it is left."""
        self.close()
        assert self._ending is not None
        await asyncio.shield(self._ending)

    async def _live(self, process: asyncio.subprocess.Process) -> int:
        assert process.stdout is not None
        reading = asyncio.create_task(self._read(process))
        try:
            code = (await process.stdout.read()).strip()
            # A ProxyCommand that stays may hold stderr.
            await asyncio.wait({reading}, timeout=1)
            return int(code) if code.isdigit() else -1
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        kept = b""
        while data := await process.stderr.read(_LONGEST):
            *whole, kept = (kept + data).split(b"\n")
            for line in whole:
                self._tell(line.decode(errors="replace").rstrip("\r"))
            kept = kept[-_LONGEST:]
        if kept:
            self._tell(kept.decode(errors="replace").rstrip("\r"))

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
            # After a fork it is not our child: nobody hears of its end then.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _GRACE_S)
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)
