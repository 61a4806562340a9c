"""Verbs about sessions: sessions, start, open, stop, logs."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from vizdash.actions import REGISTRY
from vizdash.cli import output
from vizdash.cli.common import DURATION, MEMORY, cli, common, options_of, parse_geometry, run
from vizdash.cli.help import AFTER
from vizdash.cli.hold_tunnels import report_end, until_lost
from vizdash.config import App
from vizdash.config.desktop_size import MAX_SCALE
from vizdash.errors import NotFound, UsageError, VizdashError
from vizdash.model import Session, SessionRequest, SessionState
from vizdash.service.service import Service
from vizdash.service.wait_ready import wait_ended, wait_ready
from vizdash.sessions.last_request import build_request
from vizdash.sessions.picture_quality import QUALITIES
from vizdash.util.text import escape_control
from vizdash.util.units import format_duration

if TYPE_CHECKING:
    from vizdash.sessions.routes import Route


@cli.command(needs={"since": ("ended",)})
@common
@click.option("--all", "everyone", is_flag=True, help="Everyone's sessions, not only yours.")
@click.option("--ended", is_flag=True, help="Ended sessions, latest first.")
@click.option(
    "--since",
    type=DURATION,
    default="1d",
    show_default=True,
    help="With --ended: how far back, e.g. 7d.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def sessions(
    ctx: click.Context, /, everyone: bool, ended: bool, since: int, as_json: bool, **values: Any
) -> None:
    """List sessions: state, node, time left, and why one is pending or how it ended."""

    async def work(service: Service) -> None:
        if ended:
            listed, note = await service.ended.ended(since_s=since, all_users=everyone)
            if note:
                output.print_message(note)
        else:
            listed = await service.sessions.query(all_users=everyone)
        if as_json:
            cluster = (await service.info()).cluster
            output.write_json("sessions", [output.session_json(s) for s in listed], cluster)
        elif listed and ended:
            output.write(output.table(output.ENDED_HEADERS, map(output.ended_row, listed)))
        elif listed:
            output.write(output.table(output.SESSION_HEADERS, map(output.session_row, listed)))
        elif ended:
            output.print_message(f"no session ended in the last {format_duration(since)}")
        else:
            output.print_message(
                "no sessions (start one: vizdash start APP; list the apps: vizdash apps)"
            )

    run(options_of(ctx, values), work)


@cli.command(
    help=REGISTRY.verb_help("start") + " Arguments after -- are passed to sbatch.",
    needs={"timeout": ("wait", "and_open")},
    excludes={"test_only": ("wait", "timeout", "and_open")},
)
@common
@click.argument("app")
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[-- SBATCH-ARGS]")
@click.option("--preset", default="", help="A preset of the app (see vizdash apps).")
@click.option("--cpus", "cores", type=click.IntRange(1), help="Number of cores.")
@click.option("--memory", "memory_mib", type=MEMORY, help="Memory, e.g. 4G.")
@click.option("--gpus", type=click.IntRange(0), help="Number of GPUs.")
@click.option("--time", "time_s", type=DURATION, help="Time limit, e.g. 2h or 1-12:00:00.")
@click.option("--node", help="Run on this node.")
@click.option("--geometry", callback=parse_geometry, help="Desktop size, e.g. 1920x1080.")
@click.option(
    "--scale",
    type=click.IntRange(1, MAX_SCALE),
    help="Draw everything 2 or 3 times as large, for HiDPI screens.",
)
@click.option("--image", help="Image version, or the path of an image.")
@click.option("--account", help="Account to charge.")
@click.option("--qos", help="Quality of service.")
@click.option("--partition", help="Partition to run in.")
@click.option("--reservation", help="Run in this reservation.")
@click.option("--constraint", help="Node features required (as for sbatch).")
@click.option("--keep", is_flag=True, help="Keep it running while idle, where the site allows it.")
@click.option("--test-only", is_flag=True, help="Print when it would start; start nothing.")
@click.option("--wait", is_flag=True, help="Wait until the desktop is ready.")
@click.option("--open", "and_open", is_flag=True, help="Wait, then open it in your browser.")
@click.option("--timeout", type=DURATION, help="With --wait or --open: give up after this long.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def start(ctx: click.Context, /, app: str, **values: Any) -> None:
    options = options_of(ctx, values)
    wait, and_open, as_json = values.pop("wait"), values.pop("and_open"), values.pop("as_json")
    preset, timeout = values.pop("preset"), values.pop("timeout")
    test_only = values.pop("test_only")

    async def work(service: Service) -> None:
        _require_dashes(ctx, service.apps.find(app), values["extra"])
        request = build_request(service.apps.find(app), values, preset)
        if test_only:
            await _print_expected_start(service, request, as_json=as_json)
            return
        session = await service.start(request)
        waits = f"; {session.reason}" if session.reason else ""
        output.print_message(f"session {session.id} is job {session.job_id}{waits}")
        if warning := await service.query_logout_warning():
            output.print_message(f"session {session.id}: {warning}")
        cluster = (await service.info()).cluster
        result = _StartResult(session, cluster, as_json=as_json, and_open=and_open)
        try:
            if wait or and_open:
                await wait_ready(
                    service, session, output.print_message, timeout_s=timeout, seen=result.update
                )
            if and_open:
                await _open_and_hold(service, result.session, print_address=result.print)
        finally:
            result.print()

    run(options, work)


def _require_dashes(ctx: click.Context, app: App, extra: tuple[str, ...]) -> None:
    """Raises UsageError for an argument of sbatch without ``--`` before it: sbatch would take it
    for the job script.
    """
    words = extra[: len(extra) - ctx.meta[AFTER]]
    if words:
        near = difflib.get_close_matches(words[0], tuple(app.presets), n=1)
        fix = f"did you mean --preset {near[0]}?" if near else "write arguments of sbatch after --"
        raise UsageError(f"unexpected argument {words[0]!r}", "", fix)


class _StartResult:
    """The result of a start, printed once on stdout: also when the session fails or is late, so
    that a script can stop it.
    """

    def __init__(self, session: Session, cluster: str, *, as_json: bool, and_open: bool) -> None:
        self.session = session
        self._cluster = cluster
        self._as_json = as_json
        self._and_open = and_open
        self._printed = False

    def update(self, session: Session) -> None:
        """Keep the session as last seen."""
        self.session = session

    def print(self, address: str = "") -> None:
        """Print JSON (with the address if it was to be opened), the address, or the id."""
        if self._printed:
            return
        self._printed = True
        if self._as_json:
            about = {"address": address or None} if self._and_open else {}
            output.write_json("session", output.session_json(self.session), self._cluster, **about)
        elif not self._and_open:
            output.write(self.session.id)
        else:
            _print_address(address)


def _print_address(address: str) -> None:
    """Print an address; nothing if it is empty, as when a browser was started."""
    if address:
        output.write_link(address)


async def _print_expected_start(
    service: Service, request: SessionRequest, *, as_json: bool
) -> None:
    """Print when it would start: now, at a time, or later (if the engine cannot say)."""
    plan = await service.plan(request)
    at = await service.expected_start(plan)
    words = plan.verdict.text_with_start(at, time.time())
    words = "; ".join(part for part in (words, plan.notes) if part)
    if as_json:
        cluster = (await service.info()).cluster
        row = {"fits_now": bool(plan.verdict.fits_now), "expected_start_at": at, "words": words}
        output.write_json("test", row, cluster)
        return
    output.print_message(words)
    if at is not None:
        output.write(time.strftime("%Y-%m-%d %H:%M", time.localtime(at)))


@cli.command(
    "open",
    help=REGISTRY.verb_help("open") + " The tunnel stays open until Ctrl-C.",
    excludes={"print_only": ("handoff", "viewer"), "viewer": ("quality",)},
)
@common
@click.argument("session")
@click.option(
    "--print", "print_only", is_flag=True, help="Print the address instead of starting a browser."
)
@click.option("--no-browser", "print_only", is_flag=True, hidden=True)
@click.option(
    "--handoff", is_flag=True, help="Show how to open it in a browser on another computer."
)
@click.option(
    "--viewer", is_flag=True, help="Open it in a native viewer (TigerVNC, TurboVNC, Remmina)."
)
@click.option(
    "--quality",
    type=click.Choice(QUALITIES),
    help="Picture quality in the browser, also for the next times; auto measures the link.",
)
@click.option("--timeout", type=DURATION, help="Give up after this long if it is not ready.")
@click.pass_context
def open_(
    ctx: click.Context, /, session: str, print_only: bool, handoff: bool, **values: Any
) -> None:
    options = options_of(ctx, values)
    timeout, viewer, quality = values.pop("timeout"), values.pop("viewer"), values.pop("quality")

    async def work(service: Service) -> None:
        opened = await service.sessions.find(session)
        opened = await wait_ready(service, opened, output.print_message, timeout_s=timeout)
        if quality:
            await service.desktops.save_quality(quality)
        if viewer:
            from vizdash.cli.native_viewer import view

            await view(service, opened, handoff=handoff)
            return
        await _open_and_hold(service, opened, print_only=print_only, handoff=handoff)

    run(options, work)


async def _open_and_hold(
    service: Service,
    session: Session,
    *,
    print_only: bool = False,
    handoff: bool = False,
    print_address: Callable[[str], None] = _print_address,
) -> None:
    """Open a route, print its address, and hold it until Ctrl-C or the end of the session."""
    if print_only:
        route, shown = await service.desktops.open_route(session), False
    else:
        route, shown = await service.desktops.open_desktop(session, handoff=handoff)
    try:
        if route.note:
            output.print_message(route.note)
        if not shown:
            await _print_instructions(service, session, route, print_only=print_only)
        print_address("" if shown else route.url)
        if route.kind == "direct":
            await service.desktops.wait_pages_loaded()
            return
        output.print_message("the tunnel is open; Ctrl-C closes it, the session keeps running")
        await report_end(service, session, route, await until_lost(service, session, route))
    finally:
        await route.close()


async def _print_instructions(
    service: Service, session: Session, route: Route, *, print_only: bool
) -> None:
    """Print on stderr what to do before the address works."""
    if route.kind == "handoff":
        offer = await service.desktops.hand_off(route, session)
        program = f"ParaView {route.server_version}" if route.is_pvserver else "browser"
        output.print_message(
            f"there is no {program} on {offer.host}. On your own computer, run this:"
        )
        output.line_to_copy(offer.command)
        output.print_message(
            "leave it running (it prints nothing after the login), and open this address there:"
        )
    elif route.is_pvserver:
        output.print_message(
            f"connect ParaView {route.server_version} to this address, "
            f"or load its server file: {route.server_file}"
        )
    elif not print_only:
        output.print_message(
            "there is no browser here: open this address (it contains the password)"
        )


@cli.command(help=REGISTRY.verb_help("stop"))
@common
@click.argument("sessions", nargs=-1, required=True, metavar="SESSION...")
@click.option("--note", default="", help="Reason, shown to the owner of the session.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def stop(
    ctx: click.Context, /, sessions: tuple[str, ...], note: str, as_json: bool, **values: Any
) -> None:
    async def work(service: Service) -> None:
        given = [await service.sessions.find(word) for word in sessions]
        errors = await asyncio.gather(*(_stop(service, s, note) for s in given))
        tried = list(zip(given, errors, strict=True))
        failed = [(session, error) for session, error in tried if error is not None]
        stopped = [session for session, error in tried if error is None]
        late = {s.job_id for s in await wait_ended(service, stopped)}
        for session in stopped:
            words = "is still ending" if session.job_id in late else "has ended"
            output.print_message(f"session {session.id} {words}")
        for _, error in failed[1:]:
            output.print_message(error.line)
        if as_json:
            output.write_json(
                "stopped",
                [s.id for s in stopped if s.job_id not in late],
                (await service.info()).cluster,
                ending=[s.id for s in stopped if s.job_id in late],
                failed=[{"id": s.id, "error": e.line} for s, e in failed],
            )
        if failed:
            raise failed[0][1]

    run(options_of(ctx, values), work)


async def _stop(service: Service, session: Session, note: str) -> VizdashError | None:
    """Stop a session. Returns the error, so that the other sessions are still stopped."""
    try:
        await service.stop(session, note)
    except VizdashError as e:
        if session.id in e.line:
            return e
        named = VizdashError(f"session {session.id}: {e.what}", e.why, e.fix)
        named.exit_code = e.exit_code
        return named
    return None


@cli.command(
    help=REGISTRY.verb_help("logs") + " With --build, of the latest build of an app.",
    needs={"version": ("of_build",)},
)
@common
@click.argument("session")
@click.option("-f", "--follow", is_flag=True, help="Follow the log until the session ends.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Number of lines to show, from the end.",
)
@click.option(
    "--build", "of_build", is_flag=True, help="SESSION is an app: show the log of its latest build."
)
@click.option("--version", default="", help="With --build: the build of this version.")
@click.pass_context
def logs(ctx: click.Context, /, session: str, follow: bool, lines: int, **values: Any) -> None:
    of_build, version = values.pop("of_build"), values.pop("version")

    async def work(service: Service) -> None:
        if of_build:
            from vizdash.cli.build import show_log

            await show_log(service, session, version, lines=lines, follow=follow)
            return
        logged = await service.sessions.find_logged(session)
        shown: list[str] = []
        while True:
            text = (await service.sessions.log(logged, lines=lines)).splitlines()
            new = text[_overlap(shown, text) :]
            if new:
                output.write("\n".join(escape_control(line) for line in new))
            shown = text
            if not follow or not logged.live:
                return
            await asyncio.sleep(1)
            try:
                logged = await service.sessions.find(logged.job_id)
            except NotFound:  # the session has ended, and the cluster no longer knows it
                logged = replace(logged, state=SessionState.ENDED)

    run(options_of(ctx, values), work)


def _overlap(shown: list[str], text: list[str]) -> int:
    """The number of first lines of ``text`` that are the last lines of ``shown``."""
    for size in range(min(len(shown), len(text)), 0, -1):
        if shown[-size:] == text[:size]:
            return size
    return 0
