"""The verbs: each turns options into a call of Service, and its answer into output."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from typing import Any

import click

from vizdash import __version__, output
from vizdash.actions import REGISTRY
from vizdash.config import Config, Explained, load
from vizdash.config.fields import GEOMETRY
from vizdash.connect import connect
from vizdash.doctor import examine
from vizdash.errors import UsageError, VizdashError
from vizdash.model import Session, SessionState
from vizdash.service import Service, request_for
from vizdash.units import parse_duration, parse_memory
from vizdash.waiting import wait_ended, wait_ready


@dataclass(frozen=True, slots=True)
class Options:
    """The options that every verb takes."""

    cluster: str = ""
    config: str = ""
    read_only: bool = False

    def load(self) -> tuple[Config, tuple[Explained, ...]]:
        """The configuration with these flags on top."""
        return load(path=self.config, cluster=self.cluster, read_only=self.read_only)


class _Parsed(click.ParamType[int]):
    """A value read by ``parse``, whose ValueError says what is wrong."""

    def __init__(self, name: str, parse: Callable[[str], int]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return self._parse(value)
        except ValueError as e:
            self.fail(str(e), param, ctx)


MEMORY = _Parsed("memory", parse_memory)
DURATION = _Parsed("time", parse_duration)


def _geometry(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value and not GEOMETRY.fullmatch(value):
        raise click.BadParameter(f"{value!r}: write WIDTHxHEIGHT, e.g. 1280x720")
    return value


def _common(f: Callable[..., None]) -> Callable[..., None]:
    """--cluster, --config and --read-only may stand before or after the verb."""
    for option in (
        click.option("--cluster", default="", help="A cluster of the config."),
        click.option("--config", "config_path", default="", help="Another config file."),
        click.option("--read-only", is_flag=True, help="Change nothing."),
    ):
        f = option(f)
    return f


def _options(ctx: click.Context, values: dict[str, Any]) -> Options:
    above: Options = ctx.obj or Options()
    return Options(
        cluster=values.pop("cluster") or above.cluster,
        config=values.pop("config_path") or above.config,
        read_only=values.pop("read_only") or above.read_only,
    )


def _run(options: Options, work: Callable[[Service], Coroutine[Any, Any, None]]) -> None:
    """Connect, do the work, take away what it left."""
    config, _ = options.load()

    async def whole() -> None:
        task = asyncio.current_task()
        assert task is not None
        _on_signals(task.cancel)
        service = await connect(config)
        try:
            await work(service)
        finally:
            await service.close()

    asyncio.run(whole())


def _on_signals(end: Callable[[], object]) -> None:
    """A closed terminal or a kill ends vizdash as Ctrl-C does: routes are closed first."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end)


class _Group(click.Group):
    """Verbs' one-line help comes from the registry of actions, where they are one."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is not None and not command.help:
            with contextlib.suppress(StopIteration):
                command.help = REGISTRY.by_verb(cmd_name).help
        return command


@click.group(cls=_Group, invoke_without_command=True)
@_common
@click.version_option(__version__, prog_name="vizdash")
@click.pass_context
def cli(ctx: click.Context, /, **values: Any) -> None:
    """VNC desktops on a Slurm cluster, from the terminal. Without a verb: the dashboard."""
    ctx.obj = _options(ctx, values)
    if ctx.invoked_subcommand is None:
        _dashboard(ctx.obj)


def _dashboard(options: Options) -> None:
    if not sys.stdout.isatty() or not sys.stdin.isatty():
        raise UsageError("the dashboard needs a terminal", "", "scripts use the verbs: see --help")
    config, _ = options.load()
    from vizdash.ui.app import VizdashApp

    async def whole() -> None:
        service = await connect(config)
        app = VizdashApp(service)
        _on_signals(app.exit)
        try:
            await app.run_async()
        finally:
            await service.close()

    asyncio.run(whole())


@cli.command()
@_common
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.pass_context
def nodes(ctx: click.Context, /, as_json: bool, **values: Any) -> None:
    """Nodes of the partition: state, cores, memory, GRES, reason."""

    async def work(service: Service) -> None:
        snapshot = await service.snapshot(all_users=False, images=False)
        if as_json:
            rows = [output.node_json(n) for n in snapshot.nodes]
            output.write_json("nodes", rows, snapshot.cluster)
        else:
            output.write(output.table(output.NODE_HEADERS, map(output.node_row, snapshot.nodes)))

    _run(_options(ctx, values), work)


@cli.command()
@_common
@click.option("--all", "everyone", is_flag=True, help="Everybody's, not only your own.")
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.pass_context
def sessions(ctx: click.Context, /, everyone: bool, as_json: bool, **values: Any) -> None:
    """Your sessions: state, node, time left, and why one waits or how it ended."""

    async def work(service: Service) -> None:
        found = await service.sessions(all_users=everyone)
        if as_json:
            cluster = (await service.info()).cluster
            output.write_json("sessions", [output.session_json(s) for s in found], cluster)
        elif found:
            output.write(output.table(output.SESSION_HEADERS, map(output.session_row, found)))
        else:
            output.talk("no sessions (vizdash start APP; vizdash apps lists what there is)")

    _run(_options(ctx, values), work)


@cli.command()
@_common
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.pass_context
def apps(ctx: click.Context, /, as_json: bool, **values: Any) -> None:
    """The catalogue: what can be started, and its size."""
    config, _ = _options(ctx, values).load()
    if as_json:
        rows = [
            {
                "name": app.name,
                "title": app.title,
                "kind": app.kind,
                "runtime": app.runtime,
                **asdict(app.resources),
                "presets": {name: asdict(preset) for name, preset in app.presets.items()},
            }
            for app in config.apps.values()
        ]
        output.write_json("apps", rows, config.cluster.name)
        return
    table = [
        (
            app.name,
            app.title,
            f"{app.resources.cores} cores, {app.resources.memory_mib} MiB",
            ", ".join(app.presets),
        )
        for app in config.apps.values()
    ]
    output.write(output.table(("APP", "TITLE", "SIZE", "PRESETS"), table))


@cli.command(
    help=REGISTRY.by_verb("start").help + " Arguments after -- go to sbatch as they are.",
)
@_common
@click.argument("app")
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[-- SBATCH-ARGS]")
@click.option("--preset", default="", help="A size of the app's: see vizdash apps.")
@click.option("--cpus", "cores", type=click.IntRange(1), help="Cores.")
@click.option("--memory", "memory_mib", type=MEMORY, help="Memory, e.g. 4G.")
@click.option("--gpus", type=click.IntRange(0), help="GPUs.")
@click.option("--time", "time_s", type=DURATION, help="Time limit, e.g. 2h or 1-12:00:00.")
@click.option("--node", help="This node.")
@click.option("--geometry", callback=_geometry, help="The desktop's size, e.g. 1920x1080.")
@click.option("--image", help="A version of the image, or its path.")
@click.option("--account", help="Who pays.")
@click.option("--qos", help="Quality of service.")
@click.option("--partition", help="Partition.")
@click.option("--reservation", help="Reservation.")
@click.option("--constraint", help="Features that the node must have.")
@click.option("--wait", is_flag=True, help="Until the desktop is ready.")
@click.option("--timeout", type=DURATION, help="With --wait: give up after this long.")
@click.option("--open", "and_open", is_flag=True, help="Wait, then open it in the browser.")
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.pass_context
def start(ctx: click.Context, /, app: str, **values: Any) -> None:
    options = _options(ctx, values)
    wait, and_open, as_json = values.pop("wait"), values.pop("and_open"), values.pop("as_json")
    preset, timeout = values.pop("preset"), values.pop("timeout")

    async def work(service: Service) -> None:
        request = request_for(service.app(app), values, preset)
        session = await service.start(request)
        waits = f"; {session.reason}" if session.reason else ""
        output.talk(f"session {session.id} is job {session.job_id}{waits}")
        if wait or and_open:
            session = await wait_ready(service, session, output.talk, timeout_s=timeout)
        if as_json:
            cluster = (await service.info()).cluster
            output.write_json("session", output.session_json(session), cluster)
        elif not and_open:
            output.write(session.id)
        if and_open:
            await _hold(service, session, print_only=False)

    _run(options, work)


@cli.command("open", help=REGISTRY.by_verb("open").help + " It holds until Ctrl-C.")
@_common
@click.argument("session")
@click.option("--print", "print_only", is_flag=True, help="Print the address, start no browser.")
@click.option("--no-browser", "print_only", is_flag=True, hidden=True)
@click.option("--timeout", type=DURATION, help="Give up waiting for it after this long.")
@click.pass_context
def open_(ctx: click.Context, /, session: str, print_only: bool, **values: Any) -> None:
    options = _options(ctx, values)
    timeout = values.pop("timeout")

    async def work(service: Service) -> None:
        found = await service.find(session)
        found = await wait_ready(service, found, output.talk, timeout_s=timeout)
        await _hold(service, found, print_only=print_only)

    _run(options, work)


async def _hold(service: Service, session: Session, *, print_only: bool) -> None:
    """Open the way, tell the address, and keep it until Ctrl-C or the session's end."""
    route = await service.open_route(session)
    try:
        if print_only or not service.open_browser(route):
            if not print_only:
                output.talk("no browser here: open this address (it holds the password)")
            output.write(route.url)
        if route.kind == "direct":
            return
        output.talk("this holds the tunnel: Ctrl-C ends it, the session goes on")
        cause = await route.wait_lost()
        try:
            now = await service.find(session.job_id)
        except VizdashError:
            now = session
        if now.state is SessionState.ENDED:
            output.talk(f"session {session.id} has ended: {output.note(now)}")
            return
        raise VizdashError(f"the tunnel to {session.node} is gone", cause, "open it again")
    finally:
        await route.close()


@cli.command(help=REGISTRY.by_verb("stop").help)
@_common
@click.argument("sessions", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.pass_context
def stop(ctx: click.Context, /, sessions: tuple[str, ...], as_json: bool, **values: Any) -> None:
    async def work(service: Service) -> None:
        chosen = [await service.find(word) for word in sessions]
        await asyncio.gather(*(service.stop(s) for s in chosen))
        late = {s.job_id for s in await wait_ended(service, chosen)}
        for session in chosen:
            words = "is told to end, but has not yet" if session.job_id in late else "has ended"
            output.talk(f"session {session.id} {words}")
        if as_json:
            cluster = (await service.info()).cluster
            output.write_json("stopped", [s.id for s in chosen], cluster)

    _run(_options(ctx, values), work)


@cli.command(help=REGISTRY.by_verb("logs").help)
@_common
@click.argument("session")
@click.option("-f", "--follow", is_flag=True, help="Go on until it ends.")
@click.option("-n", "--lines", type=click.IntRange(1), default=200, help="How many of the last.")
@click.pass_context
def logs(ctx: click.Context, /, session: str, follow: bool, lines: int, **values: Any) -> None:
    async def work(service: Service) -> None:
        found = await service.find(session)
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
            found = await service.find(found.job_id)

    _run(_options(ctx, values), work)


def _overlap(shown: list[str], text: list[str]) -> int:
    """How many of ``text``'s first lines are the last of ``shown``."""
    for size in range(min(len(shown), len(text)), 0, -1):
        if shown[-size:] == text[:size]:
            return size
    return 0


@cli.command()
@_common
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.pass_context
def doctor(ctx: click.Context, /, as_json: bool, **values: Any) -> None:
    """What works here, what is missing, and how to mend it."""

    async def work(service: Service) -> None:
        findings = await examine(service)
        if as_json:
            rows = [asdict(finding) for finding in findings]
            output.write_json("findings", rows, service.config.cluster.name)
        else:
            marks = {True: "ok", False: "MISSING"}
            rows_ = [(marks[f.ok], f.what, f.found, "" if f.ok else f.mend) for f in findings]
            output.write(output.table(("", "WHAT", "FOUND", "MEND"), rows_))
        if not all(finding.ok for finding in findings):
            missing = ", ".join(f.what for f in findings if not f.ok)
            raise VizdashError("doctor", f"missing: {missing}", "see the column MEND")

    _run(_options(ctx, values), work)


@cli.command("config")
@_common
@click.option("--explain", is_flag=True, help="Say where each value came from.")
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.pass_context
def config_(ctx: click.Context, /, explain: bool, as_json: bool, **values: Any) -> None:
    """The configuration in force, checked."""
    config, explained = _options(ctx, values).load()
    if as_json:
        output.write_json("config", [asdict(row) for row in explained], config.cluster.name)
        return
    headers = ("KEY", "VALUE", "FROM") if explain else ("KEY", "VALUE")
    rows = [(e.key, e.value, e.origin) if explain else (e.key, e.value) for e in explained]
    output.write(output.table(headers, rows))


def main() -> None:
    """The console script: errors are one line on stderr; exit codes are 0, 1 and 2."""
    try:
        cli.main(standalone_mode=False)
    except VizdashError as e:
        output.talk(e.line)
        sys.exit(e.exit_code)
    except click.exceptions.Exit as e:
        sys.exit(e.exit_code)
    except click.UsageError as e:
        where = f" {e.ctx.info_name}" if e.ctx and e.ctx.parent else ""
        output.talk(f"{e.format_message().rstrip('.')} (see vizdash{where} --help)")
        sys.exit(2)
    except click.ClickException as e:
        output.talk(e.format_message())
        sys.exit(2)
    except BrokenPipeError:
        output.quiet_stdout()
        sys.exit(1)
    except (KeyboardInterrupt, asyncio.CancelledError, click.Abort):
        sys.exit(130)
