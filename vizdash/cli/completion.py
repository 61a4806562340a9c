"""``vizdash completion SHELL``: the script that a shell reads."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import get_completion_class

from vizdash import output
from vizdash.cli.common import cli, common
from vizdash.cli.complete import VARIABLE


@cli.command()
@common
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, /, shell: str, **values: Any) -> None:
    """Print a shell's completion script: verbs, apps, sessions, nodes, versions."""
    kind = get_completion_class(shell)
    assert kind is not None
    output.write(kind(cli, {}, "vizdash", VARIABLE).source())
