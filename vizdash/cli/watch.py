"""While a verb holds a tunnel: tells of the connection, and of the session's end."""

from __future__ import annotations

import asyncio
import contextlib
import time

from vizdash import output
from vizdash.cli.prompt import Terminal
from vizdash.errors import TimedOut, Unreachable, VizdashError
from vizdash.model import Session
from vizdash.model.link import Field, Link, LinkState, Prompt
from vizdash.service import Service
from vizdash.sessions.routes import Route

#: Seconds between looks at whether the session is still there.
_LOOK_S = 10.0


async def until_lost(service: Service, session: Session, route: Route) -> str | None:
    """Wait until the route is gone, and say why; empty when its session is over, None when
    whoever called us is gone first.
    """
    waiting = asyncio.create_task(route.wait_lost())
    over = asyncio.create_task(_until_over(service, session))
    link = asyncio.create_task(_keep(service))
    tasks = {waiting, over, link}
    try:
        while True:
            done, _ = await asyncio.wait(tasks, timeout=1, return_when=asyncio.FIRST_COMPLETED)
            if waiting in done:
                return waiting.result()
            if over in done:
                return ""
            if link in done:
                link.result()
            if output.abandoned():
                return None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_over(service: Service, session: Session) -> None:
    """Wait until the session has ended, or the cluster does not know it any more."""
    while True:
        await asyncio.sleep(_LOOK_S)
        with contextlib.suppress(TimedOut, Unreachable):
            now = [s for s in await service.sessions() if s.job_id == session.job_id]
            if not now or not now[0].live:
                return


async def _keep(service: Service) -> None:
    """Tell of losses; where a person is needed, wait for one. Raises VizdashError when the
    connection can't be had again. Never returns.
    """
    remote = service.remote
    changes: asyncio.Queue[Link] = asyncio.Queue()
    if remote is not None:
        remote.watch(changes.put_nowait)
    told = ""
    while True:
        link = await changes.get()
        if link.state is LinkState.ASKS and remote is not None:
            wait = Field("press Enter to log in again", shown=True)
            answer = await Terminal().ask(Prompt(link.words(time.time()), fields=(wait,)))
            if answer is None:
                raise VizdashError(link.host, "the connection is lost", link.cause)
            with contextlib.suppress(TimedOut, Unreachable):
                await remote.log_in()
        elif link.state is LinkState.REFUSED:
            raise VizdashError(link.host, link.cause)
        elif link.state is LinkState.LOST and link.cause != told:
            told = link.cause
            output.talk(f"no connection to {link.host}: {link.cause}; trying again")
        elif link.state is LinkState.SILENT and told != link.host:
            told = link.host  # once, not each second
            output.talk(link.words(time.time()))
        elif link.state is LinkState.UP:
            told = ""
            output.talk(f"connected to {link.host} again")
