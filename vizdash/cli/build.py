"""The verb that builds images, and the logs of builds."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Any

import click

from vizdash import output
from vizdash.building import Building
from vizdash.cli.common import cli, common, options_of, run
from vizdash.errors import VizdashError
from vizdash.images.build import BuildFailed, BuildRequest, Plan, Progress
from vizdash.images.store import Built
from vizdash.service import Service

#: Seconds between looks at the log of a build that runs.
_LOOK_S = 0.5


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
@click.option("--version", help="The new image's version; else its definition file tells it.")
@click.option(
    "--arg", "arguments", multiple=True, callback=_arguments, metavar="NAME=VALUE",
    help="A value for {{ NAME }} in the definition file; may be given again.",
)  # fmt: skip
@click.option("--where", help="here, job, or a host that ssh knows; else the config's.")
@click.option("--replace", is_flag=True, help="Take the place of the same version in the store.")
@click.option("-q", "--quiet", is_flag=True, help="Do not show the log.")
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
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
        building = Building(service)
        plan = await building.prepare(request)
        teller = _Teller(plan, quiet=quiet)
        try:
            built = await building.build(plan, teller.report)
        except BuildFailed as e:
            teller.failed(e, shown=not quiet)
            raise
        except asyncio.CancelledError:
            output.talk("cancelled: everything that the build had started has been ended")
            raise
        teller.done(built)
        if as_json:
            cluster = (await service.info()).cluster
            output.write_json("image", asdict(built), cluster)
        else:
            output.write(built.path)

    run(options, work)


class _Teller:
    """Tells a build's course on stderr: phases with their times, and the log."""

    def __init__(self, plan: Plan, *, quiet: bool) -> None:
        self._plan = plan
        self._quiet = quiet
        self._began = time.monotonic()
        self._since = self._began
        self._phase = ""
        where = "" if plan.place.name == "here" else f" on {plan.place.name}"
        where = " in a job" if plan.place.name == "job" else where
        last = f"; the last one took {_clock(plan.last.duration_s)}" if plan.last else ""
        what = f"building {plan.app} {plan.version} from {plan.definition.path}"
        output.talk(f"{what}{where}{last}")

    def report(self, progress: Progress) -> None:
        """A phase that begins is told with how long the last one took, then and this time."""
        now = time.monotonic()
        if progress.phase != self._phase:
            self._phase, self._since = progress.phase, now
            last = self._plan.last.phases.get(progress.phase) if self._plan.last else None
            than = f" (took {_clock(last)} last time)" if last and last >= 1 else ""
            output.talk(f"[{_clock(now - self._began)}] {progress.phase}{than}")
        if progress.line is not None and not self._quiet:
            click.echo(output.printable(progress.line.expandtabs()), err=True)

    def done(self, built: Built) -> None:
        """The whole in one line."""
        size = f"{built.size_bytes / 2**20:.0f} MiB"
        took = _clock(time.monotonic() - self._began)
        output.talk(f"{built.app} {built.version} is built: {size} in {took}, {built.digest[:12]}")

    def failed(self, error: BuildFailed, *, shown: bool) -> None:
        """Its last lines, where the log was not shown; and where it is."""
        if not shown:
            for line in error.failure.tail:
                click.echo(f"  {output.printable(line.expandtabs())}", err=True)
        output.talk(f"the whole log: vizdash logs --build {self._plan.app}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


async def show_log(service: Service, app: str, version: str, *, lines: int, follow: bool) -> None:
    """The log of an app's latest build; with ``follow`` until that build ends."""
    building = Building(service)
    service.app(app)
    found = building.latest(app, version)
    found, text, end = await asyncio.to_thread(building.log_from, found, 0)
    _write("\n".join(text.rstrip("\n").split("\n")[-lines:]))
    while follow and found.outcome == "running":
        await asyncio.sleep(_LOOK_S)
        found, text, end = await asyncio.to_thread(building.log_from, found, end)
        _write(text)
    outcome = {"ok": "went well", "running": "is still running"}.get(found.outcome, found.outcome)
    words = f"build of {app} {found.version} {outcome}"
    if found.outcome in {"failed", "interrupted"}:
        output.talk(VizdashError(words, found.why).line)
    else:
        output.talk(words)


def _write(text: str) -> None:
    if text := text.rstrip("\n"):
        output.write("\n".join(output.printable(line.expandtabs()) for line in text.split("\n")))
