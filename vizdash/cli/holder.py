"""Tunnels that stay when the dashboard goes: this process, without its terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping

from vizdash.cli.threads import use_daemon_threads
from vizdash.errors import TimedOut, Unreachable, VizdashError
from vizdash.output import talk
from vizdash.service import Service
from vizdash.sessions.routes import Route

#: Seconds between looks at whether the sessions are still there.
_LOOK_S = 15.0


def detach() -> Callable[[str], None]:
    """Give the terminal back, and keep running in the background with all that is open.

    A connection that took a one-time code can't be made again without a person, so no new
    process is started for it: this one forks, and its child keeps the sockets and their ports.
    The parent ends, with exit code 0, once the child has called what is returned here, with the
    lines that the parent is to show.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    if os.fork() != 0:
        os.close(writing)
        _show(reading)
        os._exit(0)
    os.close(reading)
    # asyncio takes a fork's child for a thread without a loop (it compares process ids).
    asyncio._set_running_loop(loop)  # noqa: SLF001
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    # Threads do not survive a fork, and the loop's pool does not know it.
    use_daemon_threads()

    def report(text: str) -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "w") as parent:
            parent.write(text)

    return report


def _show(reading: int) -> None:
    """What the child reports, on stderr. SIGINT and the like may end this: the child stays."""
    with os.fdopen(reading) as child:
        for line in child:
            talk(line.rstrip("\n"))


async def hold(service: Service, routes: Mapping[str, Route]) -> None:
    """Keep the routes, by job id, until they are closed or lost, or their sessions are over."""
    left = {
        asyncio.create_task(route.wait_lost()): (job_id, route)
        for job_id, route in routes.items()
        if route.kind != "direct"
    }
    try:
        while left:
            over, _ = await asyncio.wait(left, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            if not over:
                live = await _live(service)
                over = {task for task, (job_id, _) in left.items() if not live(job_id)}
            for task in over:
                task.cancel()
                with contextlib.suppress(OSError, VizdashError):
                    await left.pop(task)[1].close()
    finally:
        for task in left:
            task.cancel()


async def _live(service: Service) -> Callable[[str], bool]:
    """Whether a job's session lives; all count as living while nobody knows."""
    try:
        live = {s.job_id for s in await service.sessions() if s.live}
    except (TimedOut, Unreachable):
        return lambda job_id: True
    except VizdashError:
        return lambda job_id: False
    return live.__contains__
