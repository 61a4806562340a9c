"""Commands of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal

from vizdash.errors import TimedOut, Unreachable
from vizdash.transport.base import Command, Result

#: Seconds a command gets to end after SIGTERM before SIGKILL.
_GRACE_S = 2.0


class LocalRunner:
    """Runs commands here, each in a process group of its own, never through a shell."""

    async def run(self, command: Command) -> Result:
        """See CommandRunner.run. A cancelled call ends its command first."""
        program = command.argv[0]
        try:
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                stdin=asyncio.subprocess.PIPE
                if command.input is not None
                else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError as e:
            raise Unreachable(program, "no such program on this machine") from e
        except OSError as e:
            raise Unreachable(program, e.strerror or str(e)) from e
        data = None if command.input is None else os.fsencode(command.input)
        try:
            out, err = await asyncio.wait_for(process.communicate(data), command.timeout_s)
        except TimeoutError as e:
            await _end(process)
            raise TimedOut(program, f"no answer in {command.timeout_s:g} s") from e
        except asyncio.CancelledError:
            await asyncio.shield(_end(process))
            raise
        return Result(process.returncode or 0, os.fsdecode(out), os.fsdecode(err))

    def has(self, program: str) -> bool:
        """Whether ``program`` is on PATH."""
        return shutil.which(program) is not None


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process group: TERM, then KILL."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), _GRACE_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
