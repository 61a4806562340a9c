"""Verbs about the cluster and this vizdash: nodes, apps, doctor, config."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from vizdash import output
from vizdash.actions import REGISTRY
from vizdash.cli.common import cli, common, options_of, run
from vizdash.config import BUILT_IN, Config, Explained
from vizdash.doctor import (
    BROKEN,
    NOT_TRIED,
    OK,
    Finding,
    bad_config,
    examine,
    first_broken,
)
from vizdash.doctor import bundle as report
from vizdash.errors import ConfigError, VizdashError
from vizdash.service import Service


@cli.command()
@common
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

    run(options_of(ctx, values), work)


@cli.command()
@common
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.pass_context
def apps(ctx: click.Context, /, as_json: bool, **values: Any) -> None:
    """The catalogue: what can be started, and its size."""
    config, _ = options_of(ctx, values).load()
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


@cli.command()
@common
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.option("--app", default="", help="The app to start (default: the last one).")
@click.option("--node", default="", help="The node to examine (default: one where it fits).")
@click.option("--deep", is_flag=True, help="Start a real session, reach it, and stop it.")
@click.option("--bundle", default="", help="Write a report for a support ticket (.tar.gz).")
@click.pass_context
def doctor(
    ctx: click.Context,
    /,
    *,
    as_json: bool,
    app: str,
    node: str,
    deep: bool,
    bundle: str,
    **values: Any,
) -> None:
    """Check every link from here to a desktop; show the first broken one and its fix."""
    options = options_of(ctx, values)

    async def work(service: Service) -> None:
        findings = await examine(service, app=app, node=node, deep=deep, config_path=options.config)
        if bundle:
            _write_report(bundle, findings, options.load()[1]())
        if as_json:
            _write_findings(findings, service.config.cluster.name)
        else:
            rows = [(_MARKS[f.status], f.what, f.found, f.mend) for f in findings]
            output.write(output.table(("", "WHAT", "FOUND", "FIX"), rows))
        if broken := first_broken(findings):
            raise VizdashError("doctor", f"{broken.what}: {broken.found}", broken.mend)

    try:
        run(options, work)
    except ConfigError as e:
        if bundle:
            _write_report(bundle, bad_config(e), ())
        if as_json:
            _write_findings(bad_config(e), "")
        raise


def _write_report(
    file: str, findings: tuple[Finding, ...], explained: tuple[Explained, ...]
) -> None:
    report.write(Path(file), findings, explained)
    output.talk(f"{file} has what was found, versions, configuration and log: read it first")


_MARKS = {OK: "ok", BROKEN: "BROKEN", NOT_TRIED: "-"}


def _write_findings(findings: tuple[Finding, ...], cluster: str) -> None:
    broken = first_broken(findings)
    rows = [asdict(finding) for finding in findings]
    output.write_json("findings", rows, cluster, broken=broken.what if broken else None)


@cli.command("config")
@common
@click.option("--explain", is_flag=True, help="Say where each value came from.")
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.pass_context
def config_(ctx: click.Context, /, explain: bool, as_json: bool, **values: Any) -> None:
    """The configuration in force, checked."""
    config, explained_rows = options_of(ctx, values).load()
    explained = _with_keys(config, explained_rows())
    if as_json:
        output.write_json("config", [asdict(row) for row in explained], config.cluster.name)
        return
    headers = ("KEY", "VALUE", "FROM") if explain else ("KEY", "VALUE")
    rows = [(e.key, e.value, e.origin) if explain else (e.key, e.value) for e in explained]
    output.write(output.table(headers, rows))


def _with_keys(config: Config, explained: tuple[Explained, ...]) -> tuple[Explained, ...]:
    """The keys of every action too. Raises ConfigError for a person's own that can't be."""
    if config.ui.keys:
        from vizdash.ui.keys import keyed

        keyed(config)
    rows = {row.key: row for row in explained}
    for action in REGISTRY:
        row = Explained(f"ui.keys.{action.id}", ", ".join(action.keys), BUILT_IN)
        rows.setdefault(row.key, row)
    return tuple(rows[key] for key in sorted(rows))
