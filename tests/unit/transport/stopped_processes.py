"""Stopped processes that belong to root, as those of sudo(8): their user cannot kill them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from vizdash.transport import child


def is_stopped(pid: int) -> bool:
    """Whether SIGSTOP has stopped a process (proc(5), /proc/pid/stat)."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False


@contextlib.asynccontextmanager
async def only_root_may_kill_stopped(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Refuse signals to stopped processes that are started meanwhile; in the end they are killed,
    and all are waited for.
    """
    started: list[child.Child] = []
    start, kill, kill_one = child.start, os.killpg, subprocess.Popen.kill

    async def note(*argv: str, **how: Any) -> child.Child:
        started.append(await start(*argv, **how))
        return started[-1]

    def refuse(group: int, number: int) -> None:
        if is_stopped(group):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        kill(group, number)

    def refuse_one(process: subprocess.Popen[Any]) -> None:
        if is_stopped(process.pid):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        kill_one(process)

    with monkeypatch.context() as patched:
        patched.setattr(child, "start", note)
        patched.setattr("os.killpg", refuse)
        patched.setattr(subprocess.Popen, "kill", refuse_one)
        try:
            yield
        finally:
            for process in started:
                with contextlib.suppress(ProcessLookupError):
                    kill(process.pid, signal.SIGKILL)
            async with asyncio.timeout(120):
                for process in started:
                    await process.wait()
                    await process.close()
