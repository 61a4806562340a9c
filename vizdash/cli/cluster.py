"""Verbs about the cluster and the installation: nodes, apps, config, completion."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from vizdash.actions import REGISTRY
from vizdash.cli import output
from vizdash.cli.common import cli, common, options_of, run
from vizdash.cli.options import COMPLETION_VARIABLE
from vizdash.config import BUILT_IN, Config, Explained
from vizdash.util.text import plural
from vizdash.util.units import format_memory

if TYPE_CHECKING:
    from vizdash.service.service import Service


@cli.command()
@common
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def nodes(ctx: click.Context, /, as_json: bool, **values: Any) -> None:
    """List the nodes of the partition: state, cores, memory, GRES, load, reason."""

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
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def apps(ctx: click.Context, /, as_json: bool, **values: Any) -> None:
    """List the apps that can be started, with their default size and presets."""
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
            f"{plural(app.resources.cores, 'core')}, {format_memory(app.resources.memory_mib)}",
            ", ".join(app.presets),
        )
        for app in config.apps.values()
    ]
    output.write(output.table(("APP", "TITLE", "SIZE", "PRESETS"), table))


@cli.command("config")
@common
@click.option("--explain", is_flag=True, help="Show where each value comes from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def config_(ctx: click.Context, /, explain: bool, as_json: bool, **values: Any) -> None:
    """Check the configuration and print it."""
    config, explained_rows = options_of(ctx, values).load()
    explained = _with_keys(config, explained_rows())
    if as_json:
        output.write_json("config", [asdict(row) for row in explained], config.cluster.name)
        return
    headers = ("KEY", "VALUE", "FROM") if explain else ("KEY", "VALUE")
    rows = [(e.key, e.value, e.origin) if explain else (e.key, e.value) for e in explained]
    output.write(output.table(headers, rows))


def _with_keys(config: Config, explained: tuple[Explained, ...]) -> tuple[Explained, ...]:
    """The rows, with the keys of every action. Raises ConfigError for wrong keys of the user."""
    if config.ui.keys:
        from vizdash.ui.key_bindings import configured_actions

        configured_actions(config)
    rows = {row.key: row for row in explained}
    for action in REGISTRY:
        row = Explained(f"ui.keys.{action.id}", ", ".join(action.keys), BUILT_IN)
        rows.setdefault(row.key, row)
    return tuple(rows[key] for key in sorted(rows))


@cli.command()
@common
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, /, shell: str, **values: Any) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    output.write(kind(cli, {}, "vizdash", COMPLETION_VARIABLE).source())
