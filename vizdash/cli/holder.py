"""Tunnels that stay when the dashboard goes: this process, without its terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from vizdash.errors import TimedOut, Unreachable, VizdashError
from vizdash.service import Service
from vizdash.sessions.routes import Route

#: Seconds between looks at whether the sessions are still there.
_LOOK_S = 15.0


def detach() -> None:
    """Give the terminal back, and go on in the background with all that is open.

    A connection that took a one-time code can't be made again without a person, so no new
    process is started for it: this one forks, and its child keeps the sockets and their ports.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    loop = asyncio.get_running_loop()
    if os.fork() != 0:
        os._exit(0)
    # asyncio takes a fork's child for a thread without a loop (it compares process ids).
    asyncio._set_running_loop(loop)  # noqa: SLF001
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    # Threads do not survive a fork, and the loop's pool does not know it.
    loop.set_default_executor(ThreadPoolExecutor())


async def hold(service: Service, routes: Mapping[str, Route]) -> None:
    """Keep the routes, by job id, until their sessions are over."""
    left = dict(routes)
    while left:
        await asyncio.sleep(_LOOK_S)
        try:
            live = {s.job_id for s in await service.sessions() if s.live}
        except (TimedOut, Unreachable):
            continue
        except VizdashError:
            return
        for job_id in [job_id for job_id in left if job_id not in live]:
            with contextlib.suppress(OSError, VizdashError):
                await left.pop(job_id).close()
