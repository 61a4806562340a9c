"""Verbs about sessions: sessions, start, open, stop, logs."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from vizdash import output
from vizdash.actions import REGISTRY
from vizdash.cli.common import DURATION, MEMORY, cli, common, geometry_of, options_of, run
from vizdash.cli.verb import AFTER
from vizdash.cli.watch import until_lost
from vizdash.config import App
from vizdash.errors import NotFound, UsageError, VizdashError
from vizdash.model import Session, SessionRequest, SessionState
from vizdash.service import Service, request_for
from vizdash.sessions.routes import Route
from vizdash.units import duration_words
from vizdash.waiting import wait_ended, wait_ready


@cli.command(needs={"since": ("ended",)})
@common
@click.option("--all", "everyone", is_flag=True, help="Everybody's, not only your own.")
@click.option("--ended", is_flag=True, help="Those that ended, the latest first.")
@click.option(
    "--since", type=DURATION, default="1d", show_default=True, help="With --ended: how far back."
)
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.pass_context
def sessions(
    ctx: click.Context, /, everyone: bool, ended: bool, since: int, as_json: bool, **values: Any
) -> None:
    """Your sessions: state, node, time left, and why one waits or how it ended."""

    async def work(service: Service) -> None:
        if ended:
            found, note = await service.past.ended(since_s=since, all_users=everyone)
            if note:
                output.talk(note)
        else:
            found = await service.sessions(all_users=everyone)
        if as_json:
            cluster = (await service.info()).cluster
            output.write_json("sessions", [output.session_json(s) for s in found], cluster)
        elif found and ended:
            output.write(output.table(output.ENDED_HEADERS, map(output.ended_row, found)))
        elif found:
            output.write(output.table(output.SESSION_HEADERS, map(output.session_row, found)))
        elif ended:
            output.talk(f"no session ended in the last {duration_words(since)}")
        else:
            output.talk("no sessions (vizdash start APP; vizdash apps lists what there is)")

    run(options_of(ctx, values), work)


@cli.command(
    help=REGISTRY.by_verb("start").help + " Arguments after -- go to sbatch as they are.",
    needs={"timeout": ("wait", "and_open")},
    excludes={"test_only": ("wait", "timeout", "and_open")},
)
@common
@click.argument("app")
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[-- SBATCH-ARGS]")
@click.option("--preset", default="", help="A size of the app's: see vizdash apps.")
@click.option("--cpus", "cores", type=click.IntRange(1), help="Cores.")
@click.option("--memory", "memory_mib", type=MEMORY, help="Memory, e.g. 4G.")
@click.option("--gpus", type=click.IntRange(0), help="GPUs.")
@click.option("--time", "time_s", type=DURATION, help="Time limit, e.g. 2h or 1-12:00:00.")
@click.option("--node", help="This node.")
@click.option("--geometry", callback=geometry_of, help="The desktop's size, e.g. 1920x1080.")
@click.option("--image", help="A version of the image, or its path.")
@click.option("--account", help="Who pays.")
@click.option("--qos", help="Quality of service.")
@click.option("--partition", help="Partition.")
@click.option("--reservation", help="Reservation.")
@click.option("--constraint", help="Features that the node must have.")
@click.option("--test-only", is_flag=True, help="Say when it would start; start nothing.")
@click.option("--wait", is_flag=True, help="Until the desktop is ready.")
@click.option("--timeout", type=DURATION, help="With --wait or --open: give up after this long.")
@click.option("--open", "and_open", is_flag=True, help="Wait, then open it in the browser.")
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.pass_context
def start(ctx: click.Context, /, app: str, **values: Any) -> None:
    options = options_of(ctx, values)
    wait, and_open, as_json = values.pop("wait"), values.pop("and_open"), values.pop("as_json")
    preset, timeout = values.pop("preset"), values.pop("timeout")
    test_only = values.pop("test_only")

    async def work(service: Service) -> None:
        _only_after_dashes(ctx, service.app(app), values["extra"])
        request = request_for(service.app(app), values, preset)
        if test_only:
            await _tell_start(service, request, as_json=as_json)
            return
        session = await service.start(request)
        waits = f"; {session.reason}" if session.reason else ""
        output.talk(f"session {session.id} is job {session.job_id}{waits}")
        cluster = (await service.info()).cluster
        begun = _Begun(session, cluster, as_json=as_json, and_open=and_open)
        try:
            if wait or and_open:
                await wait_ready(service, session, output.talk, timeout_s=timeout, seen=begun.see)
            if and_open:
                await _hold(service, begun.session, tell=begun.tell)
        finally:
            begun.tell()

    run(options, work)


def _only_after_dashes(ctx: click.Context, app: App, extra: tuple[str, ...]) -> None:
    """Raises UsageError for a word that would go to sbatch without a ``--`` before it: as its
    first argument it would be the job script.
    """
    words = extra[: len(extra) - ctx.meta[AFTER]]
    if words:
        near = difflib.get_close_matches(words[0], tuple(app.presets), n=1)
        fix = f"did you mean --preset {near[0]}?" if near else "arguments of sbatch go after --"
        raise UsageError(f"unexpected argument {words[0]!r}", "", fix)


class _Begun:
    """What was started, told on stdout once: when it has come to what was asked for, or when it
    will not, so that a script can stop what it has started.
    """

    def __init__(self, session: Session, cluster: str, *, as_json: bool, and_open: bool) -> None:
        self.session = session
        self._cluster = cluster
        self._as_json = as_json
        self._and_open = and_open
        self._told = False

    def see(self, session: Session) -> None:
        """This is how it stands now."""
        self.session = session

    def tell(self, address: str = "") -> None:
        """As JSON, with the address if it was to be opened; else the address, or the id."""
        if self._told:
            return
        self._told = True
        if self._as_json:
            about = {"address": address or None} if self._and_open else {}
            output.write_json("session", output.session_json(self.session), self._cluster, **about)
        elif not self._and_open:
            output.write(self.session.id)
        else:
            _write_address(address)


def _write_address(address: str) -> None:
    """Nothing, where a browser was started on it."""
    if address:
        output.write_link(address)


async def _tell_start(service: Service, request: SessionRequest, *, as_json: bool) -> None:
    """When it would start: now, at a time, or (the engine does not say) some time."""
    verdict = await service.fit(request)
    at = await service.expected_start(request)
    words = verdict.with_start(at, time.time())
    if as_json:
        cluster = (await service.info()).cluster
        told = {"fits_now": bool(verdict.now), "expected_start_at": at, "words": words}
        output.write_json("test", told, cluster)
        return
    output.talk(words)
    if at is not None:
        output.write(time.strftime("%Y-%m-%d %H:%M", time.localtime(at)))


@cli.command(
    "open",
    help=REGISTRY.by_verb("open").help + " It holds until Ctrl-C.",
    excludes={"print_only": ("handoff",)},
)
@common
@click.argument("session")
@click.option("--print", "print_only", is_flag=True, help="Print the address, start no browser.")
@click.option("--no-browser", "print_only", is_flag=True, hidden=True)
@click.option("--handoff", is_flag=True, help="For the browser of another computer.")
@click.option("--timeout", type=DURATION, help="Give up waiting for it after this long.")
@click.pass_context
def open_(
    ctx: click.Context, /, session: str, print_only: bool, handoff: bool, **values: Any
) -> None:
    options = options_of(ctx, values)
    timeout = values.pop("timeout")

    async def work(service: Service) -> None:
        found = await service.find(session)
        found = await wait_ready(service, found, output.talk, timeout_s=timeout)
        await _hold(service, found, print_only=print_only, handoff=handoff)

    run(options, work)


async def _hold(
    service: Service,
    session: Session,
    *,
    print_only: bool = False,
    handoff: bool = False,
    tell: Callable[[str], None] = _write_address,
) -> None:
    """Open the way, tell the address, and keep it until Ctrl-C or the session's end."""
    if print_only:
        route, shown = await service.open_route(session), False
    else:
        route, shown = await service.open_desktop(session, handoff=handoff)
    try:
        if not shown:
            await _tell_way(service, session, route, print_only=print_only)
        tell("" if shown else route.url)
        if route.kind == "direct":
            await service.wait_shown()
            return
        output.talk("this holds the tunnel: Ctrl-C ends it, the session goes on")
        cause = await until_lost(service, session, route)
        if cause is None:
            return
        if route.closed_on_request:
            output.talk("another vizdash closed the tunnel; the session keeps running")
            return
        try:
            now = await service.find(session.job_id)
        except VizdashError:
            now = session
        if now.state is SessionState.ENDED or not cause:
            note = output.note(now) if now.state is SessionState.ENDED else ""
            output.talk(f"session {session.id} has ended" + (f": {note}" if note else ""))
            return
        raise VizdashError(f"the tunnel to {session.node} is gone", cause, "open it again")
    finally:
        await route.close()


async def _tell_way(service: Service, session: Session, route: Route, *, print_only: bool) -> None:
    """On stderr, what to do before the address works."""
    if route.kind == "handoff":
        offer = await service.hand_off(route, session)
        output.talk(f"there is no browser on {offer.host}. On your own computer, run:")
        output.line_to_copy(offer.command)
        output.talk("it asks you to log in, says nothing more, and stays. Then open this there:")
    elif not print_only:
        output.talk("no browser here: open this address (it holds the password)")


@cli.command(help=REGISTRY.by_verb("stop").help)
@common
@click.argument("sessions", nargs=-1, required=True)
@click.option("--note", default="", help="Why, for its owner to read afterwards.")
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.pass_context
def stop(
    ctx: click.Context, /, sessions: tuple[str, ...], note: str, as_json: bool, **values: Any
) -> None:
    async def work(service: Service) -> None:
        chosen = [await service.find(word) for word in sessions]
        errors = await asyncio.gather(*(_stop(service, s, note) for s in chosen))
        tried = list(zip(chosen, errors, strict=True))
        failed = [(session, error) for session, error in tried if error is not None]
        told = [session for session, error in tried if error is None]
        late = {s.job_id for s in await wait_ended(service, told)}
        for session in told:
            words = "is told to end, but has not yet" if session.job_id in late else "has ended"
            output.talk(f"session {session.id} {words}")
        for _, error in failed[1:]:
            output.talk(error.line)
        if as_json:
            output.write_json(
                "stopped",
                [s.id for s in told if s.job_id not in late],
                (await service.info()).cluster,
                ending=[s.id for s in told if s.job_id in late],
                failed=[{"id": s.id, "error": e.line} for s, e in failed],
            )
        if failed:
            raise failed[0][1]

    run(options_of(ctx, values), work)


async def _stop(service: Service, session: Session, note: str) -> VizdashError | None:
    """Stop one of several; what was against it, which must not keep the others from being tried."""
    try:
        await service.stop(session, note)
    except VizdashError as e:
        if session.id in e.line:
            return e
        named = VizdashError(f"session {session.id}: {e.what}", e.why, e.mend)
        named.exit_code = e.exit_code
        return named
    return None


@cli.command(
    help=REGISTRY.by_verb("logs").help + " With --build, that of an app's latest build.",
    needs={"version": ("of_build",)},
)
@common
@click.argument("session")
@click.option("--build", "of_build", is_flag=True, help="SESSION is an app: show its build's log.")
@click.option("--version", default="", help="With --build: of this version.")
@click.option("-f", "--follow", is_flag=True, help="Go on until it ends.")
@click.option("-n", "--lines", type=click.IntRange(1), default=200, help="How many of the last.")
@click.pass_context
def logs(ctx: click.Context, /, session: str, follow: bool, lines: int, **values: Any) -> None:
    of_build, version = values.pop("of_build"), values.pop("version")

    async def work(service: Service) -> None:
        if of_build:
            from vizdash.cli.build import show_log

            await show_log(service, session, version, lines=lines, follow=follow)
            return
        found = await service.find_logged(session)
        shown: list[str] = []
        while True:
            text = (await service.logs(found, lines=lines)).splitlines()
            new = text[_overlap(shown, text) :]
            if new:
                output.write("\n".join(output.printable(line) for line in new))
            shown = text
            if not follow or not found.live:
                return
            await asyncio.sleep(1)
            try:
                found = await service.find(found.job_id)
            except NotFound:  # it has ended, and the cluster has forgotten it
                found = replace(found, state=SessionState.ENDED)

    run(options_of(ctx, values), work)


def _overlap(shown: list[str], text: list[str]) -> int:
    """How many of ``text``'s first lines are the last of ``shown``."""
    for size in range(min(len(shown), len(text)), 0, -1):
        if shown[-size:] == text[:size]:
            return size
    return 0
