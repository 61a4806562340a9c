"""What every verb shares: common options, a connected Service, the command group."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import os
import sys
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from vizdash import __version__
from vizdash.actions import REGISTRY, key_label
from vizdash.cli import output
from vizdash.cli.exit import on_close_requests, on_signals, use_daemon_threads
from vizdash.cli.help import Verb, write_examples
from vizdash.cli.options import Options
from vizdash.config.readers import GEOMETRY
from vizdash.errors import shorten
from vizdash.util import command_log
from vizdash.util.units import parse_duration, parse_memory

if TYPE_CHECKING:
    from vizdash.service.service import Service


class _Parsed(click.ParamType[int]):
    """A value parsed by ``parse``; the message of its ValueError is the user's."""

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


def parse_geometry(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value and not GEOMETRY.fullmatch(value):
        raise click.BadParameter(f"{value!r}: write WIDTHxHEIGHT, e.g. 1280x720")
    return value


def common(f: Callable[..., None]) -> Callable[..., None]:
    """Add --cluster, --host, --config and --read-only, which may stand before or after the verb."""
    for option in (
        click.option("--read-only", is_flag=True, help="Refuse every change."),
        click.option(
            "--config",
            "config_path",
            default="",
            help="Configuration file, instead of your own.",
        ),
        click.option("--host", default="", help="Login host for SSH, [user@]host[:port]."),
        click.option("--cluster", default="", help="Cluster of the configuration."),
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
    """Connect to the cluster, do the work, and disconnect."""
    from vizdash.cli.prompt import TerminalPrompter
    from vizdash.service.factory import connect

    config, _ = options.load()
    if os.environ.get("VIZDASH_DEBUG"):
        command_log.show(sys.stderr)

    async def whole() -> None:
        task = asyncio.current_task()
        assert task is not None
        on_signals(task.cancel)
        use_daemon_threads()
        service = await connect(config, TerminalPrompter())
        on_close_requests((service,))
        try:
            await work(service)
        finally:
            await service.close()

    asyncio.run(whole())


#: The verbs in each module of this package. A module is loaded only when one of its verbs is used,
#: since scripts call many.
VERB_MODULES = {
    "build": ("build",),
    "cluster": ("apps", "completion", "config", "nodes"),
    "doctor": ("doctor",),
    "images": ("deploy", "images", "prune", "rollback"),
    "operators": ("drain", "extend", "message", "resume"),
    "sessions": ("logs", "open", "sessions", "start", "stop"),
    "share": ("join", "share"),
    "ssh": ("get", "proxy", "put", "ssh", "ssh-config"),
    "tunnels": ("tunnels",),
}


class _Group(click.Group):
    """The verbs. The help of those that are also actions comes from the registry of actions."""

    command_class = Verb

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(
            {*self.commands, *(verb for verbs in VERB_MODULES.values() for verb in verbs)}
        )

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for module, verbs in VERB_MODULES.items():
            if cmd_name in verbs and cmd_name not in self.commands:
                import_module(f"vizdash.cli.{module}")
        command = super().get_command(ctx, cmd_name)
        if command is not None and not command.help:
            with contextlib.suppress(KeyError):
                command.help = REGISTRY.verb_help(cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the verb that was meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as e:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not near:
                raise
            words = f"{e.message.rstrip('.')}. Did you mean {near[0]!r}?"
            raise click.UsageError(words, ctx) from e

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs, each with its whole first sentence."""
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
    """Start and open VNC desktops on a Slurm cluster. Without a verb, open the dashboard."""
    ctx.obj = options_of(ctx, values)
    if ctx.invoked_subcommand is None:
        from vizdash.cli.dashboard import show_dashboard

        show_dashboard(ctx.obj)


def run_verb(words: list[str]) -> int:
    """Run the verb of a command line, and return its exit code. Wrong use is one line on stderr."""
    try:
        # Not cli.main(), which turns a broken pipe into exit code 1.
        with cli.make_context("vizdash", words) as context:
            cli.invoke(context)
    except click.exceptions.Exit as e:
        return e.exit_code
    except click.ClickException as e:
        output.print_message(_click_words(e))
        return 2
    except click.Abort:
        return 130
    return 0


def _click_words(e: click.ClickException) -> str:
    words = shorten(" ".join(e.format_message().split()).rstrip("."))
    if not isinstance(e, click.UsageError):
        return words
    where = f" {e.ctx.info_name}" if e.ctx and e.ctx.parent else ""
    return f"{words} (see vizdash{where} --help)"
