"""Threads for asyncio that nobody has to wait for: a call on a hung file system never returns."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: Threads at most, and seconds that calls still get at the end.
_MOST, _LAST_S = 32, 3.0


class DaemonExecutor(ThreadPoolExecutor):
    """asyncio takes only a ThreadPoolExecutor as its default executor. Python's own joins every
    thread, in ``asyncio.run`` (shutdown_default_executor) and again at the interpreter's end
    (concurrent.futures.thread._python_exit); this one's are daemons, and are waited for ``_LAST_S``
    seconds at most.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=_MOST)  # it starts none before submit()
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._daemons: list[threading.Thread] = []
        self._idle = threading.Semaphore(0)
        self._change = threading.Lock()
        self._over = False

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Call ``fn`` in a thread. Raises RuntimeError after ``shutdown``."""
        future: Future[_T] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as e:  # noqa: BLE001 (it is the caller's)
                future.set_exception(e)

        with self._change:
            if self._over:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._calls.put(call)
            if not self._idle.acquire(blocking=False) and len(self._daemons) < _MOST:
                name = f"vizdash-{len(self._daemons)}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._daemons.append(thread)
                thread.start()
        return future

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # what it holds may go
            self._idle.release()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. ``wait``: for those that run, ``_LAST_S`` seconds at most."""
        with self._change:
            self._over = True
            for _ in self._daemons:
                self._calls.put(None)
        deadline = time.monotonic() + _LAST_S
        for thread in self._daemons if wait else ():
            thread.join(max(0.0, deadline - time.monotonic()))


def use_daemon_threads() -> None:
    """For ``asyncio.to_thread`` and the like, in the event loop that runs."""
    asyncio.get_running_loop().set_default_executor(DaemonExecutor())
