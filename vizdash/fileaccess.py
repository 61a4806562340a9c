"""Calls on a file system that may hang (NFS): one at a time, in a thread, for a limited time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

from vizdash.errors import TimedOut

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: Seconds after which a file system is taken for hung.
PATIENCE_S = 20.0
#: Seconds that a write may take at vizdash's end.
_LAST_S = 3.0


class FileAccess:
    """A call that hangs keeps its thread: the next call waits for it in the event loop, and takes
    no thread of its own.
    """

    def __init__(self, what: str, patience_s: float = PATIENCE_S) -> None:
        """``what`` names the files in the error, e.g. "your home"."""
        self._what = what
        self._patience_s = patience_s
        self._call: asyncio.Future[Any] | None = None

    async def run(self, call: Callable[_P, _T], *args: _P.args, **named: _P.kwargs) -> _T:
        """The result of ``call``; raises what it raises, and TimedOut when it, or the call before
        it, does not return. A cancelled caller leaves the call running.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        while self._call is not None and not self._call.done():
            await self._wait(self._call, deadline)
        mine = loop.run_in_executor(None, partial(call, *args, **named))
        self._call = mine
        await self._wait(mine, deadline)
        return mine.result()

    async def _wait(self, call: asyncio.Future[_T], deadline: float) -> None:
        left = deadline - asyncio.get_running_loop().time()
        done, _ = await asyncio.wait({call}, timeout=max(0.0, left))
        if not done:
            call.add_done_callback(_forget)
            why = f"no answer in {self._patience_s:g} s"
            raise TimedOut(self._what, why, "check its file server, e.g. with ls")


async def try_briefly(call: Callable[[], object], seconds: float = _LAST_S) -> None:
    """Run ``call`` in a thread, and wait for it ``seconds`` at most: vizdash ends although the home
    hangs. An OSError is ignored.
    """
    running = asyncio.get_running_loop().run_in_executor(None, call)
    running.add_done_callback(_forget)
    done, _ = await asyncio.wait({running}, timeout=seconds)
    if done:
        with contextlib.suppress(OSError):
            running.result()


def _forget(call: asyncio.Future[_T]) -> None:
    """Nobody waits for it any more: its exception is not logged either."""
    if not call.cancelled():
        call.exception()
