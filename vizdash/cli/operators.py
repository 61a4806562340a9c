"""Verbs for operators and administrators: drain, resume, extend, message."""

from __future__ import annotations

from typing import Any

import click

from vizdash.actions import REGISTRY
from vizdash.cli import output
from vizdash.cli.common import DURATION, cli, common, options_of, run
from vizdash.errors import Refused
from vizdash.service.operations import extension_request
from vizdash.service.service import Service
from vizdash.util.units import format_duration


@cli.command(help=REGISTRY.verb_help("drain"))
@common
@click.argument("node")
@click.option("--reason", required=True, help="Reason, shown to everyone.")
@click.pass_context
def drain(ctx: click.Context, /, node: str, reason: str, **values: Any) -> None:
    async def work(service: Service) -> None:
        await service.operations.drain(node, reason)
        output.print_message(
            f"node {node} is draining: no new jobs start there; undo: vizdash resume {node}"
        )

    run(options_of(ctx, values), work)


@cli.command(help=REGISTRY.verb_help("resume"))
@common
@click.argument("node")
@click.pass_context
def resume(ctx: click.Context, /, node: str, **values: Any) -> None:
    async def work(service: Service) -> None:
        await service.operations.resume(node)
        output.print_message(f"node {node} accepts jobs again")

    run(options_of(ctx, values), work)


@cli.command(help=REGISTRY.verb_help("extend"))
@common
@click.argument("session")
@click.argument("time", type=DURATION)
@click.pass_context
def extend(ctx: click.Context, /, session: str, time: int, **values: Any) -> None:
    async def work(service: Service) -> None:
        target = await service.sessions.find(session)
        try:
            limit = await service.operations.extend(target, time)
        except Refused:
            if target.live and not (await service.info()).admin and service.engine.name == "slurm":
                output.print_message(extension_request(target, time))
            raise
        what = "time limit" if target.lease_left_s is None else "lease"
        output.print_message(f"the {what} of session {target.id} is now {format_duration(limit)}")

    run(options_of(ctx, values), work)


@cli.command(help=REGISTRY.verb_help("message"))
@common
@click.argument("session")
@click.argument("text", nargs=-1, required=True, metavar="TEXT...")
@click.pass_context
def message(ctx: click.Context, /, session: str, text: tuple[str, ...], **values: Any) -> None:
    async def work(service: Service) -> None:
        recipient = await service.sessions.find(session)
        await service.operations.message(recipient, " ".join(text))
        output.print_message(f"the message is shown on the desktop of session {recipient.id}")

    run(options_of(ctx, values), work)
