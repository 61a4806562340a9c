"""Keeping tunnels open: by a verb until Ctrl-C, or by a process in the background."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Protocol

from vizdash.cli import output
from vizdash.cli.exit import on_close_requests, use_daemon_threads
from vizdash.cli.prompt import TerminalPrompter
from vizdash.errors import TimedOut, Unreachable, VizdashError
from vizdash.model import Session, SessionState
from vizdash.model.connection_status import ConnectionState, ConnectionStatus, Field, Prompt
from vizdash.service.service import Service
from vizdash.util import command_log

if TYPE_CHECKING:
    from vizdash.sessions.routes import Route

#: Seconds between checks whether the session still exists, for a verb and in the background.
_POLL_S, _BACKGROUND_POLL_S = 10.0, 15.0


class Held(Protocol):
    """What a verb holds: a route, or a share."""

    async def wait_lost(self) -> str:
        """Wait until it is lost, and return the cause."""
        ...


async def until_lost(
    service: Service, session: Session, route: Held, *, unattended: bool = False
) -> str | None:
    """Wait until the route is lost. Returns the cause, an empty text if the session has ended, or
    None if the caller has gone (its stdout and stderr are closed; not asked for if ``unattended``).
    A session of another user is not looked up.
    """
    lost = asyncio.create_task(route.wait_lost())
    ended = asyncio.create_task(_wait_ended(service, session))
    connection = asyncio.create_task(_keep_connection(service))
    tasks = {lost, ended, connection}
    try:
        while True:
            done, _ = await asyncio.wait(tasks, timeout=1, return_when=asyncio.FIRST_COMPLETED)
            if lost in done:
                return lost.result()
            if ended in done:
                return ""
            if connection in done:
                connection.result()
            if not unattended and output.abandoned():
                return None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def report_end(service: Service, session: Session, route: Route, cause: str | None) -> None:
    """Print why a held route ended, as ``until_lost`` returned it. Raises VizdashError where the
    tunnel was lost although the session lives.
    """
    if cause is None:
        return
    if route.closed_on_request:
        output.print_message("another vizdash closed the tunnel; the session keeps running")
        return
    try:
        now = await service.sessions.find(session.job_id)
    except VizdashError:
        now = session
    if now.state is SessionState.ENDED or not cause:
        note = output.note(now) if now.state is SessionState.ENDED else ""
        output.print_message(f"session {session.id} has ended" + (f": {note}" if note else ""))
        return
    raise VizdashError(f"the tunnel to {session.node} was lost", cause, "open it again")


async def _wait_ended(service: Service, session: Session) -> None:
    """Wait until the session has ended, or the cluster no longer knows it."""
    if not session.mine:
        await asyncio.Event().wait()
    while True:
        await asyncio.sleep(_POLL_S)
        with contextlib.suppress(TimedOut, Unreachable):
            now = [s for s in await service.sessions.query() if s.job_id == session.job_id]
            if not now or not now[0].live:
                return


async def _keep_connection(service: Service) -> None:
    """Report a lost connection, and log in again where that needs the user. Never returns. Raises
    VizdashError if the connection cannot be restored.
    """
    remote = service.remote
    changes: asyncio.Queue[ConnectionStatus] = asyncio.Queue()
    if remote is not None:
        remote.watch(changes.put_nowait)
    reported = ""
    while True:
        link = await changes.get()
        if link.state is ConnectionState.ASKS and remote is not None:
            wait = Field("press Enter to log in again", shown=True)
            answer = await TerminalPrompter().ask(
                Prompt(link.describe(time.time()), fields=(wait,))
            )
            if answer is None:
                raise VizdashError(link.host, "the connection was lost", link.cause)
            with contextlib.suppress(TimedOut, Unreachable):
                await remote.log_in()
        elif link.state is ConnectionState.REFUSED:
            raise VizdashError(link.host, link.cause)
        elif link.state is ConnectionState.LOST and link.cause != reported:
            reported = link.cause
            output.print_message(f"no connection to {link.host}: {link.cause}; retrying")
        elif link.state is ConnectionState.SILENT and reported != link.host:
            reported = link.host  # once, not each second
            output.print_message(link.describe(time.time()))
        elif link.state is ConnectionState.UP:
            reported = ""
            output.print_message(f"connected to {link.host} again")


def detach(services: Collection[Service]) -> Callable[[str], None]:
    """Give the terminal back, and keep running in the background with all connections open. What
    ``services`` hold is closed on request.

    A connection that took a one-time code cannot be made again without the user, so this process
    forks instead of starting a new one, and the child keeps the sockets and their ports. The
    parent exits with 0 when the child calls the function returned here, and prints its text.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    command_log.flush()  # its thread ends with this process, and does not live in the child
    if os.fork() != 0:
        os.close(writing)
        _print_report(reading)
        os._exit(0)
    os.close(reading)
    # asyncio compares process ids: in a forked child, no loop is running.
    asyncio._set_running_loop(loop)  # noqa: SLF001
    # Since Python 3.12, it also forgets there how signals reach the loop.
    on_close_requests(services)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    # Threads do not survive a fork, and the pool of the loop does not notice.
    use_daemon_threads()

    def report(text: str) -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "w") as parent:
            parent.write(text)

    return report


def _print_report(reading: int) -> None:
    """Print the child's report on stderr. A signal may end the parent; the child keeps running."""
    with os.fdopen(reading) as child:
        for line in child:
            output.print_message(line.rstrip("\n"))


async def hold(service: Service, routes: Mapping[str, Route]) -> None:
    """Hold the routes, by job id, until they are closed or lost, or their sessions have ended."""
    left = {
        asyncio.create_task(route.wait_lost()): (job_id, route)
        for job_id, route in routes.items()
        if route.kind != "direct"
    }
    try:
        while left:
            done, _ = await asyncio.wait(
                left, timeout=_BACKGROUND_POLL_S, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                is_live = await _query_live(service)
                done = {task for task, (job_id, _) in left.items() if not is_live(job_id)}
            for task in done:
                task.cancel()
                with contextlib.suppress(OSError, VizdashError):
                    await left.pop(task)[1].close()
    finally:
        for task in left:
            task.cancel()


async def _query_live(service: Service) -> Callable[[str], bool]:
    """A test whether a job's session is live; all count as live while the cluster is silent."""
    try:
        live = {s.job_id for s in await service.sessions.query() if s.live}
    except (TimedOut, Unreachable):
        return lambda job_id: True
    except VizdashError:
        return lambda job_id: False
    return live.__contains__
