"""What every verb shares: its options, the way to a Service, the group itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

import click

from vizdash import __version__, commandlog
from vizdash.actions import REGISTRY, key_label
from vizdash.cli.ending import TerminalSettings, on_signals, require_terminal
from vizdash.cli.holder import detach, hold
from vizdash.cli.prompt import Terminal
from vizdash.cli.threads import use_daemon_threads
from vizdash.cli.verb import Verb, write_examples
from vizdash.config import Config, Explained, load
from vizdash.config.fields import GEOMETRY
from vizdash.config.load import config_files
from vizdash.config.watch import ConfigWatch
from vizdash.connect import connect
from vizdash.service import Service
from vizdash.sessions.logout import logout_warning
from vizdash.sessions.routes import Route
from vizdash.transport.local import LocalRunner
from vizdash.units import parse_duration, parse_memory


@dataclass(frozen=True, slots=True)
class Options:
    """The options that every verb takes."""

    cluster: str = ""
    host: str = ""
    config: str = ""
    read_only: bool = False

    def load(self) -> tuple[Config, Callable[[], tuple[Explained, ...]]]:
        """The configuration with these flags on top."""
        return load(
            path=self.config, cluster=self.cluster, host=self.host, read_only=self.read_only
        )


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


def geometry_of(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value and not GEOMETRY.fullmatch(value):
        raise click.BadParameter(f"{value!r}: write WIDTHxHEIGHT, e.g. 1280x720")
    return value


def common(f: Callable[..., None]) -> Callable[..., None]:
    """--cluster, --host, --config and --read-only may stand before or after the verb."""
    for option in (
        click.option("--read-only", is_flag=True, help="Change nothing."),
        click.option("--config", "config_path", default="", help="Another config file."),
        click.option("--host", default="", help="Its login host, [user@]host[:port], by SSH."),
        click.option("--cluster", default="", help="A cluster of the config."),
    ):
        f = option(f)
    return f


def options_of(ctx: click.Context, values: dict[str, Any]) -> Options:
    above: Options = ctx.obj or Options()
    return Options(
        cluster=values.pop("cluster") or above.cluster,
        host=values.pop("host") or above.host,
        config=values.pop("config_path") or above.config,
        read_only=values.pop("read_only") or above.read_only,
    )


def run(options: Options, work: Callable[[Service], Coroutine[Any, Any, None]]) -> None:
    """Connect, do the work, take away what it left."""
    config, _ = options.load()
    if os.environ.get("VIZDASH_DEBUG"):
        commandlog.show(sys.stderr)

    async def whole() -> None:
        task = asyncio.current_task()
        assert task is not None
        on_signals(task.cancel)
        use_daemon_threads()
        service = await connect(config, Terminal())
        _on_close_requests((service,))
        try:
            await work(service)
        finally:
            await service.close()

    asyncio.run(whole())


def _on_close_requests(services: Collection[Service]) -> None:
    """Another vizdash may want a tunnel of ours closed (see sessions/tunnel_records.py)."""

    def close() -> None:
        for service in services:
            service.tunnels.close_requested()

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, close)


#: The modules of this package, and the verbs in each. A verb's module is loaded when it is called:
#: scripts call many.
HOMES = {
    "build": ("build",),
    "completion": ("completion",),
    "cluster": ("apps", "config", "doctor", "nodes"),
    "images": ("deploy", "images", "prune", "rollback"),
    "operators": ("drain", "extend", "message", "resume"),
    "sessions": ("logs", "open", "sessions", "start", "stop"),
    "tunnels": ("tunnels",),
}


class _Group(click.Group):
    """Verbs' one-line help comes from the registry of actions, where they are one."""

    command_class = Verb

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *(verb for verbs in HOMES.values() for verb in verbs)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for module, verbs in HOMES.items():
            if cmd_name in verbs and cmd_name not in self.commands:
                import_module(f"vizdash.cli.{module}")
        command = super().get_command(ctx, cmd_name)
        if command is not None and not command.help:
            with contextlib.suppress(StopIteration):
                command.help = REGISTRY.by_verb(cmd_name).help
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each with the whole of its first sentence."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        rows = [(name, f"{c.get_short_help_str(1000)}") for name, c in commands if c is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples("", formatter)
        keyed = [(" ".join(map(key_label, a.keys)), f"{a.title}: {a.help}") for a in REGISTRY]
        with formatter.section("Keys of the dashboard"):
            formatter.write_dl([(keys, words) for keys, words in keyed if keys])


@click.group(
    cls=_Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@common
@click.version_option(__version__, "-V", "--version", prog_name="vizdash")
@click.pass_context
def cli(ctx: click.Context, /, **values: Any) -> None:
    """VNC desktops on a Slurm cluster, from the terminal. Without a verb: the dashboard."""
    ctx.obj = options_of(ctx, values)
    if ctx.invoked_subcommand is None:
        _dashboard(ctx.obj)


def _dashboard(options: Options) -> None:
    require_terminal()
    config, _ = options.load()
    if asyncio.run(_screens(options, config)):
        sys.exit(1)


def _config(options: Options) -> Config:
    return options.load()[0]


async def _screens(options: Options, config: Config) -> bool:
    """One dashboard after another, as the person goes from cluster to cluster. What is open stays
    open, and a cluster that was logged in to stays so. Returns whether the last one crashed.
    """
    from vizdash.imaging import Imaging
    from vizdash.ui.app import VizdashApp
    from vizdash.ui.desktops import Desktops
    from vizdash.ui.screens.prompt import Asker

    use_daemon_threads()
    asker, name, terminal = Asker(), config.cluster.name, TerminalSettings()
    watch = ConfigWatch(partial(_config, options), config_files(options.config))
    services: dict[str, Service] = {}
    desktops: dict[str, Desktops] = {}
    _on_close_requests(services.values())
    try:
        while True:
            if name not in services:
                chosen = replace(config, cluster=config.clusters[name])
                services[name] = await connect(chosen, asker)
                services[name].tunnels.holder = "dashboard"
                desktops[name] = Desktops(services[name])
                await services[name].recall()
            app = VizdashApp(
                services[name],
                desktops=desktops[name],
                reload=watch.changed,
                imaging=partial(Imaging, services[name]),
                stay=services[name].use(config),  # it may have been changed at another one
            )
            asker.app = app
            on_signals(app.exit, terminal.restore)
            end = await app.run_async()
            if not end or not end.startswith("cluster:"):
                break
            config = services[name].config
            wanted = end.removeprefix("cluster:")
            name = wanted if wanted in config.clusters else name
        if end == "hold":
            await _keep_tunnels({services[n]: desktops[n].routes for n in services})
        return bool(app.return_code)  # Textual has told the traceback
    finally:
        await asyncio.gather(*(d.close() for d in desktops.values()))
        await asyncio.gather(*(s.close() for s in services.values()))


async def _keep_tunnels(held: Mapping[Service, Mapping[str, Route]]) -> None:
    """In the background, until their sessions are over or a signal ends it."""
    report = detach()
    task = asyncio.current_task()
    assert task is not None
    on_signals(task.cancel)
    for service in held:
        service.tunnels.adopt("background")
    count = sum(route.kind != "direct" for routes in held.values() for route in routes.values())
    tunnels = "1 tunnel" if count == 1 else f"{count} tunnels"
    kept = f"process {os.getpid()} keeps {tunnels} open: vizdash tunnels shows and closes them"
    warning = await logout_warning(LocalRunner())
    report("\n".join(line for line in (kept, warning) if line))
    await asyncio.gather(*(hold(service, routes) for service, routes in held.items()))
