"""The programs that tests start: whoever starts one waits for its end.

One that nobody waits for outlives its test, and Python complains of it (ResourceWarning) when it
next collects garbage, which is while another test runs. So each test is asked when it ends.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from typing import Any

_started: list[subprocess.Popen[Any]] = []
#: One entry for each ``lasting`` that is entered.
_lasting: list[None] = []
_init = subprocess.Popen.__init__


def _noting_init(self: subprocess.Popen[Any], *args: Any, **named: Any) -> None:
    _init(self, *args, **named)
    if not _lasting:
        _started.append(self)


def watch() -> None:
    """From now on, note what is started, asyncio's subprocesses included."""
    subprocess.Popen.__init__ = _noting_init  # type: ignore[method-assign]


@contextlib.contextmanager
def lasting() -> Iterator[None]:
    """What is started here may outlive the test: a fixture of a wider scope stops it."""
    _lasting.append(None)
    try:
        yield
    finally:
        _lasting.pop()


def forget() -> None:
    """A test begins: what was started before it is not its own."""
    _started.clear()


def end() -> list[str]:
    """Kill what the test has started and not waited for; returns the command lines."""
    left = [process for process in _started if process.returncode is None]
    _started.clear()
    for process in left:
        process.kill()
        process.wait(timeout=20)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
    return [str(process.args) for process in left]
