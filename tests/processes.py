"""The programs that tests start: the test that starts one waits for its end.

One that is not waited for outlives its test, and Python complains of it (ResourceWarning) when it
next collects garbage, which is while another test runs. So each test is asked when it ends.
"""

from __future__ import annotations

import contextlib
import subprocess
from asyncio.base_subprocess import BaseSubprocessTransport
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

_started: list[subprocess.Popen[Any]] = []
#: asyncio's ends of the pipes to programs, with the command line.
_transports: list[tuple[str, BaseSubprocessTransport]] = []
#: One entry for each ``lasting`` that is entered.
_lasting: list[None] = []
_init = subprocess.Popen.__init__
_init_transport = BaseSubprocessTransport.__init__


def _noting_init(self: subprocess.Popen[Any], *args: Any, **named: Any) -> None:
    _init(self, *args, **named)
    if not _lasting:
        _started.append(self)


def _noting_transport(
    self: BaseSubprocessTransport, loop: Any, protocol: Any, args: Any, *more: Any, **named: Any
) -> None:
    _init_transport(self, loop, protocol, args, *more, **named)
    if not _lasting:
        _transports.append((str(args), self))


def watch() -> None:
    """Record each program started from now on, by asyncio too."""
    subprocess.Popen.__init__ = _noting_init  # type: ignore[method-assign]
    BaseSubprocessTransport.__init__ = _noting_transport  # type: ignore[method-assign]


@contextlib.contextmanager
def lasting() -> Iterator[None]:
    """Let programs started inside outlive the test; a fixture of a wider scope stops them."""
    _lasting.append(None)
    try:
        yield
    finally:
        _lasting.pop()


def has_ended(pid: int | str) -> bool:
    """Whether a process of this machine has ended, even if nobody has waited for it yet.

    One whose parent has ended is waited for by the machine's first process, which takes its time,
    and in a container never does.
    """
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] in "ZX"  # proc(5)
    return True


def forget() -> None:
    """Forget the programs started so far: they do not belong to the test that begins."""
    _started.clear()
    _transports.clear()


def end() -> list[str]:
    """Kill what the test has started and not waited for; returns the command lines.

    Also those of programs that have ended and to which asyncio has open pipes, because a process
    that they have left behind holds the other end.
    """
    left = [process for process in _started if process.returncode is None]
    held = [(line, one) for line, one in _transports if not one.is_closing()]
    _started.clear()
    _transports.clear()
    for process in left:
        process.kill()
        process.wait(timeout=20)
        for pipe in (process.stdin, process.stdout, process.stderr):
            _close(pipe)
    lines = [str(process.args) for process in left]
    for line, transport in held:
        if transport.get_returncode() is not None:
            lines.append(f"{line} (it has ended; a pipe from it is open)")
            _discard(transport)
    return lines


def _discard(transport: Any) -> None:
    """Close the pipes without the event loop, which may be closed."""
    transport._closed = True
    for end in transport._pipes.values():
        pipe = end and end.pipe
        if pipe is not None and pipe._pipe is not None:
            with contextlib.suppress(RuntimeError):
                pipe.pause_reading()
            _close(pipe._pipe)
            pipe._pipe = None


def _close(pipe: IO[Any] | None) -> None:
    if pipe is not None:
        with contextlib.suppress(OSError):
            pipe.close()
