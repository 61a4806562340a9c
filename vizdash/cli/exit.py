"""How vizdash exits: on signals, with the terminal restored, without waiting for hung threads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import select
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from vizdash.errors import UsageError

if TYPE_CHECKING:
    from vizdash.service.service import Service

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: Seconds in which a second SIGTERM counts as the first one (timeout(1) sends two).
_SAME_SIGNAL_S = 1.0
#: Seconds that an orderly exit may take after a second SIGTERM.
_EXIT_S = 5.0
#: Threads of the pool at most, and seconds that running calls get when it shuts down.
_MAX_THREADS, _SHUTDOWN_S = 32, 3.0
#: xterm's control sequences: main screen, cursor, no mouse, no pasted brackets, colours as usual.
_RESTORE = b"\x1b[?1049l\x1b[?25h\x1b[?1000;1002;1003;1006;1015;2004;1004l\x1b[<u\x1b[0m"


def require_terminal() -> None:
    """Raises UsageError if stdin or stdout is no terminal, or one that cannot move its cursor
    (types dumb and unknown in terminfo(5), for which Rich also assumes a fixed size).
    """
    if not sys.stdout.isatty() or not sys.stdin.isatty():
        raise UsageError(
            "the dashboard needs a terminal", "", "for scripts, use the verbs: see --help"
        )
    kind = os.environ.get("TERM", "")
    if kind.lower() in {"dumb", "unknown"}:
        why = f"TERM={kind} cannot move its cursor"
        raise UsageError("the dashboard", why, "set TERM, or use the verbs: see --help")


class TerminalSettings:
    """The settings of the terminal before the dashboard, for an exit in the middle of it."""

    def __init__(self) -> None:
        self._settings: list[Any] = []
        with contextlib.suppress(termios.error, OSError, ValueError):
            self._settings = termios.tcgetattr(sys.stdin.fileno())

    def restore(self) -> None:
        """Restore them, without waiting for a terminal that reads nothing."""
        with contextlib.suppress(termios.error, OSError, ValueError):
            if self._settings:
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, self._settings)
            if select.select([], [sys.stderr], [], 0)[1]:
                os.write(sys.stderr.fileno(), _RESTORE)


def on_signals(end: Callable[[], object], restore: Callable[[], None] = lambda: None) -> None:
    """Call ``end`` on SIGHUP and SIGTERM, so that routes are closed as for Ctrl-C. A second SIGTERM
    kills the process at once, even if the event loop hangs, after ``restore``.
    """
    loop = asyncio.get_running_loop()
    signalled_at: float | None = None

    def end_at_once(number: int, frame: FrameType | None) -> None:
        restore()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal signalled_at
        now = time.monotonic()
        if signalled_at is None:
            signalled_at = now
            try:
                loop.call_soon_threadsafe(end)
            except RuntimeError:  # the loop is closed: the interpreter is already exiting
                end_at_once(number, frame)
        elif number == signal.SIGTERM and now - signalled_at >= _SAME_SIGNAL_S:
            end_at_once(number, frame)
        elif number == signal.SIGTERM:
            signal.signal(signal.SIGALRM, end_at_once)
            signal.setitimer(signal.ITIMER_REAL, _EXIT_S)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)


def on_close_requests(services: Collection[Service]) -> None:
    """Close tunnels and end shares when another vizdash asks for it by SIGUSR1
    (sessions/tunnel_records.py).
    """

    def close() -> None:
        for service in services:
            service.desktops.tunnels.close_requested()
            service.shares.held.close_requested()

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, close)


class DaemonExecutor(ThreadPoolExecutor):
    """A pool of daemon threads, so that exiting never waits for a call on a hung file system.

    asyncio takes only a ThreadPoolExecutor as its default executor. Python's own joins every
    thread in ``asyncio.run`` (shutdown_default_executor) and at interpreter exit
    (concurrent.futures.thread._python_exit); this one waits ``_SHUTDOWN_S`` seconds at most.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=_MAX_THREADS)  # no thread starts before submit()
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._daemons: list[threading.Thread] = []
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._is_shut_down = False

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Call ``fn`` in a thread. Raises RuntimeError after shutdown."""
        future: Future[_T] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as e:  # noqa: BLE001 (the caller gets it)
                future.set_exception(e)

        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._calls.put(call)
            if not self._idle.acquire(blocking=False) and len(self._daemons) < _MAX_THREADS:
                name = f"vizdash-{len(self._daemons)}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._daemons.append(thread)
                thread.start()
        return future

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # frees what it refers to
            self._idle.release()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls; with ``wait``, give running ones ``_SHUTDOWN_S`` seconds."""
        with self._lock:
            self._is_shut_down = True
            for _ in self._daemons:
                self._calls.put(None)
        deadline = time.monotonic() + _SHUTDOWN_S
        for thread in self._daemons if wait else ():
            thread.join(max(0.0, deadline - time.monotonic()))


def use_daemon_threads() -> None:
    """Make a DaemonExecutor the default executor of the running event loop."""
    asyncio.get_running_loop().set_default_executor(DaemonExecutor())
