"""The verb ``tunnels``: list and close open tunnels on this machine, of any vizdash process."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from vizdash.cli import output
from vizdash.cli.common import cli, common, options_of
from vizdash.errors import UnknownName, UsageError, VizdashError
from vizdash.sessions.tunnel_records import (
    TunnelRecord,
    close_tunnel,
    read_tunnels,
    select_tunnels,
    tunnels_folder,
)

_HEADERS = ("SESSION", "JOB", "APP", "NODE", "CLUSTER", "ADDRESS", "PID", "HELD BY")


@cli.command()
@common
@click.argument("sessions", nargs=-1, metavar="[SESSION...]")
@click.option("--close", "and_close", is_flag=True, help="Close the tunnels of the given sessions.")
@click.option("--all", "every", is_flag=True, help="With --close: close every tunnel.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def tunnels(
    ctx: click.Context,
    /,
    sessions: tuple[str, ...],
    and_close: bool,
    every: bool,
    as_json: bool,
    **values: Any,
) -> None:
    options = options_of(ctx, values)
    config, _ = options.load()
    if every and (sessions or not and_close):
        raise UsageError("--all", "use it with --close and without sessions")
    if and_close and not (sessions or every):
        raise UsageError("--close", "no session is named", "name sessions, or add --all")
    folder = tunnels_folder()
    records = read_tunnels(folder)
    if options.cluster:
        records = tuple(record for record in records if record.cluster == options.cluster)
    for word in sessions:
        if not any(record.is_called(word) for record in records):
            known = ", ".join(dict.fromkeys(r.session for r in records)) or "none"
            raise UnknownName(f"tunnel to session {word}", "there is none", f"open: {known}")
    selected = select_tunnels(sessions, records)
    name = config.cluster.name
    if and_close:
        asyncio.run(_close(selected, name, as_json=as_json))
    elif as_json:
        output.write_json("tunnels", [_json(record) for record in selected], name)
    elif selected:
        output.write(output.table(_HEADERS, map(_row, selected)))
    else:
        output.print_message("no tunnels are open on this machine")


async def _close(selected: tuple[TunnelRecord, ...], cluster: str, *, as_json: bool) -> None:
    """Close tunnels concurrently. Raises the first error after all have been tried."""
    folder = tunnels_folder()
    closing = (close_tunnel(record, folder) for record in selected)
    results = await asyncio.gather(*closing, return_exceptions=True)
    failed: list[tuple[TunnelRecord, VizdashError]] = []
    for record, result in zip(selected, results, strict=True):
        if isinstance(result, VizdashError):
            failed.append((record, result))
        elif isinstance(result, BaseException):
            raise result
        else:
            output.print_message(
                f"the tunnel to session {record.session} is closed ({record.address})"
            )
    bad = {record.id for record, _ in failed}
    if as_json:
        closed = [_json(record) for record in selected if record.id not in bad]
        errors = [{"id": record.session, "error": e.line} for record, e in failed]
        output.write_json("closed", closed, cluster, failed=errors)
    for _, error in failed[1:]:
        output.print_message(error.line)
    if failed:
        raise failed[0][1]
    if not selected:
        output.print_message("no tunnels are open on this machine")


def _json(record: TunnelRecord) -> dict[str, Any]:
    return {
        "session": record.session,
        "job_id": record.job_id,
        "app": record.app,
        "node": record.node,
        "cluster": record.cluster,
        "address": record.address,
        "port": record.port or None,
        "pid": record.pid,
        "holder": record.holder,
        "opened_at": record.opened_at,
    }


def _row(record: TunnelRecord) -> tuple[str, ...]:
    return (
        record.session,
        record.job_id,
        record.app,
        record.node,
        record.cluster,
        record.address,
        str(record.pid),
        record.holder,
    )
