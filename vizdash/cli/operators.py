"""Verbs for operators and administrators: drain, resume, extend, message."""

from __future__ import annotations

from typing import Any

import click

from vizdash import output
from vizdash.actions import REGISTRY
from vizdash.cli.common import DURATION, cli, common, options_of, run
from vizdash.errors import Refused
from vizdash.operations import extension_request
from vizdash.service import Service
from vizdash.units import duration_words


@cli.command(help=REGISTRY.by_verb("drain").help)
@common
@click.argument("node")
@click.option("--reason", required=True, help="Why, for everybody to read.")
@click.pass_context
def drain(ctx: click.Context, /, node: str, reason: str, **values: Any) -> None:
    async def work(service: Service) -> None:
        await service.operations.drain(node, reason)
        output.talk(f"node {node} takes no new jobs; undo it by: vizdash resume {node}")

    run(options_of(ctx, values), work)


@cli.command(help=REGISTRY.by_verb("resume").help)
@common
@click.argument("node")
@click.pass_context
def resume(ctx: click.Context, /, node: str, **values: Any) -> None:
    async def work(service: Service) -> None:
        await service.operations.resume(node)
        output.talk(f"node {node} takes jobs again")

    run(options_of(ctx, values), work)


@cli.command(help=REGISTRY.by_verb("extend").help)
@common
@click.argument("session")
@click.argument("time", type=DURATION)
@click.pass_context
def extend(ctx: click.Context, /, session: str, time: int, **values: Any) -> None:
    async def work(service: Service) -> None:
        found = await service.find(session)
        try:
            limit = await service.operations.extend(found, time)
        except Refused:
            if found.live and not (await service.info()).admin and service.engine.name == "slurm":
                output.talk(extension_request(found, time))
            raise
        output.talk(f"session {found.id} may run for {duration_words(limit)} in all")

    run(options_of(ctx, values), work)


@cli.command(help=REGISTRY.by_verb("message").help)
@common
@click.argument("session")
@click.argument("text", nargs=-1, required=True)
@click.pass_context
def message(ctx: click.Context, /, session: str, text: tuple[str, ...], **values: Any) -> None:
    async def work(service: Service) -> None:
        found = await service.find(session)
        await service.operations.message(found, " ".join(text))
        output.talk(f"shown on the desktop of session {found.id}")

    run(options_of(ctx, values), work)
