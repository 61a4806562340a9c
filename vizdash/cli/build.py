"""The verb ``build``, and the logs of builds."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Any

import click

from vizdash.cli import output
from vizdash.cli.common import cli, common, options_of, run
from vizdash.errors import VizdashError
from vizdash.images.build import BuildFailed, BuildPlan, BuildProgress, BuildRequest
from vizdash.images.image_store import BuiltImage
from vizdash.service.builds import ImageBuilder
from vizdash.service.service import Service
from vizdash.util.text import escape_control
from vizdash.util.units import format_size

#: Seconds between two reads of the log of a running build.
_FOLLOW_S = 0.5


def _arguments(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    if wrong := [name for name, equals, _ in pairs if not equals or not name]:
        raise click.BadParameter(f"{wrong[0]!r}: write NAME=VALUE")
    return {name: value for name, _, value in pairs}


@cli.command()
@common
@click.argument("app")
@click.option("--version", help="Version (default: from the definition file).")
@click.option(
    "--arg", "arguments", multiple=True, callback=_arguments, metavar="NAME=VALUE",
    help="Value for {{ NAME }} in the definition file (repeatable).",
)  # fmt: skip
@click.option("--where", help="here, job, or a host for ssh (default: build.where).")
@click.option("--replace", is_flag=True, help="Replace the same version in the store.")
@click.option("-q", "--quiet", is_flag=True, help="Do not show the log.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def build(ctx: click.Context, /, quiet: bool, as_json: bool, **values: Any) -> None:
    options = options_of(ctx, values)
    request = BuildRequest(
        app=values["app"],
        version=values["version"] or "",
        arguments=values["arguments"],
        where=values["where"] or "",
        replace=values["replace"],
    )

    async def work(service: Service) -> None:
        builder = ImageBuilder(service)
        plan = await builder.plan_build(request)
        display = _BuildDisplay(plan, quiet=quiet)
        try:
            built = await builder.build(plan, display.report)
        except BuildFailed as e:
            display.failed(e, shown=not quiet)
            raise
        except asyncio.CancelledError:
            output.print_message("cancelled: all processes of the build have been stopped")
            raise
        display.done(built)
        if as_json:
            cluster = (await service.info()).cluster
            output.write_json("image", asdict(built), cluster)
        else:
            output.write(built.path)

    run(options, work)


class _BuildDisplay:
    """Prints the progress of a build on stderr: phases with their times, and the log."""

    def __init__(self, plan: BuildPlan, *, quiet: bool) -> None:
        self._plan = plan
        self._quiet = quiet
        self._began = time.monotonic()
        self._since = self._began
        self._phase = ""
        where = "" if plan.host.name == "here" else f" on {plan.host.name}"
        where = " in a job" if plan.host.name == "job" else where
        last = f"; the last build took {_clock(plan.last.duration_s)}" if plan.last else ""
        what = f"building {plan.app} {plan.version} from {plan.definition.path}"
        output.print_message(f"{what}{where}{last}")

    def report(self, progress: BuildProgress) -> None:
        """Print a new phase with its previous duration, or a line of the log."""
        now = time.monotonic()
        if progress.phase != self._phase:
            self._phase, self._since = progress.phase, now
            last = self._plan.last.phases.get(progress.phase) if self._plan.last else None
            than = f" (took {_clock(last)} last time)" if last and last >= 1 else ""
            output.print_message(f"[{_clock(now - self._began)}] {progress.phase}{than}")
        if progress.line is not None and not self._quiet:
            click.echo(escape_control(progress.line.expandtabs()), err=True)

    def done(self, built: BuiltImage) -> None:
        """Print the result in one line."""
        size = format_size(built.size_bytes)
        took = _clock(time.monotonic() - self._began)
        output.print_message(
            f"{built.app} {built.version} is built: {size} in {took}, {built.digest[:12]}"
        )

    def failed(self, error: BuildFailed, *, shown: bool) -> None:
        """Print the last lines if the log was not shown, and where the log is."""
        if not shown:
            for line in error.failure.tail:
                click.echo(f"  {escape_control(line.expandtabs())}", err=True)
        output.print_message(f"the full log: vizdash logs --build {self._plan.app}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


async def show_log(service: Service, app: str, version: str, *, lines: int, follow: bool) -> None:
    """Print the log of an app's latest build; with ``follow``, until that build ends."""
    builder = ImageBuilder(service)
    service.apps.find(app)
    build_run = builder.latest_run(app, version)
    build_run, text, end = await asyncio.to_thread(builder.read_log, build_run, 0)
    _write("\n".join(text.rstrip("\n").split("\n")[-lines:]))
    while follow and build_run.outcome == "running":
        await asyncio.sleep(_FOLLOW_S)
        build_run, text, end = await asyncio.to_thread(builder.read_log, build_run, end)
        _write(text)
    outcome = {"ok": "succeeded", "running": "is still running"}.get(
        build_run.outcome, build_run.outcome
    )
    words = f"build of {app} {build_run.version} {outcome}"
    if build_run.outcome in {"failed", "interrupted"}:
        output.print_message(VizdashError(words, build_run.why).line)
    else:
        output.print_message(words)


def _write(text: str) -> None:
    if text := text.rstrip("\n"):
        output.write("\n".join(escape_control(line.expandtabs()) for line in text.split("\n")))
