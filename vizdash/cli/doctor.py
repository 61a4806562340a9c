"""The verb doctor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from vizdash.cli import output
from vizdash.cli.common import cli, common, options_of, run
from vizdash.config import Explained
from vizdash.errors import ConfigError, VizdashError
from vizdash.service.doctor import BROKEN, NOT_TRIED, OK, Finding, bad_config, examine, first_broken
from vizdash.service.doctor import bundle as report
from vizdash.service.service import Service


@cli.command()
@common
@click.option("--app", default="", help="App to check (default: the last one started).")
@click.option("--node", default="", help="Node to check (default: one with enough free resources).")
@click.option("--deep", is_flag=True, help="Start a real session, connect to it, and stop it.")
@click.option("--bundle", default="", help="Write a report for a support ticket (.tar.gz).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
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
    """Check every step from here to a desktop; show the first that fails, with its fix."""
    options = options_of(ctx, values)

    async def work(service: Service) -> None:
        findings = await examine(service, app=app, node=node, deep=deep, config_path=options.config)
        if bundle:
            _write_report(bundle, findings, options.load()[1]())
        if as_json:
            _write_findings(findings, service.config.cluster.name)
        else:
            rows = [(_MARKS[f.status], f.what, f.found, f.fix) for f in findings]
            output.write(output.table(("", "WHAT", "FOUND", "FIX"), rows))
        if broken := first_broken(findings):
            raise VizdashError("doctor", f"{broken.what}: {broken.found}", broken.fix)

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
    output.print_message(
        f"{file} contains the results, versions, configuration and log: read it before you send it"
    )


_MARKS = {OK: "ok", BROKEN: "BROKEN", NOT_TRIED: "-"}


def _write_findings(findings: tuple[Finding, ...], cluster: str) -> None:
    broken = first_broken(findings)
    rows = [asdict(finding) for finding in findings]
    output.write_json("findings", rows, cluster, broken=broken.what if broken else None)
