"""Shell completion of apps, sessions, nodes, versions and clusters.

The user waits for it: nothing here prompts, logs in to another host or takes long, and an error
means no completions.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from vizdash.cli.options import COMPLETION_VARIABLE
from vizdash.config import Config, load
from vizdash.errors import Unreachable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from vizdash.model.connection_status import Prompt
    from vizdash.service.service import Service

#: Seconds to wait for the cluster.
_TIMEOUT_S = 3.0

#: Completions, each with a description.
Completions = Iterable[tuple[str, str]]


class _NoPrompter:
    """A Prompter that refuses every question."""

    async def ask(self, prompt: Prompt) -> tuple[str, ...] | None:
        raise Unreachable(prompt.title, "no login during completion")

    def show(self, title: str, lines: tuple[str, ...]) -> None:
        return

    async def wait(self, title: str, lines: tuple[str, ...]) -> None:
        raise Unreachable(title, "no login during completion")


async def _sessions(service: Service, app: str) -> Completions:
    live = [s for s in await service.sessions.query() if s.live]
    return [(s.id, " ".join(filter(None, (s.app, str(s.state), s.node)))) for s in live]


async def _nodes(service: Service, app: str) -> Completions:
    return [(n.name, n.state_text) for n in await service.engine.nodes()]


async def _versions(service: Service, app: str) -> Completions:
    from vizdash.images import drift
    from vizdash.util import nodesets

    shell = service.images.shell
    known = await drift.read_inventory(shell, drift.inventory_path(service.config.cluster))
    nodes_with: dict[str, list[str]] = {}
    for node, (_, images) in known.nodes.items():
        for image in images:
            if image.version and app in {"", image.app}:
                nodes_with.setdefault(image.version, []).append(node)
    return [(version, f"on {nodesets.fold_nodes(nodes)}") for version, nodes in nodes_with.items()]


def _apps(config: Config) -> Completions:
    return [(app.name, app.title) for app in config.apps.values()]


def _clusters(config: Config) -> Completions:
    return [(name, cluster.host) for name, cluster in config.clusters.items()]


_OF_CONFIG: dict[str, Callable[[Config], Completions]] = {"app": _apps, "cluster": _clusters}
_OF_CLUSTER: dict[str, Callable[[Service, str], Awaitable[Completions]]] = {
    "session": _sessions,
    "sessions": _sessions,
    "node": _nodes,
    "nodeset": _nodes,
    "canary": _nodes,
    "version": _versions,
    "image": _versions,
}
#: Parameters (of any verb) whose values can be completed.
NAMES = (*_OF_CONFIG, *_OF_CLUSTER)


class Name(click.types.StringParamType):
    """A string that is completed as ``kind``, one of NAMES."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that begin with ``incomplete``."""
        from click.shell_completion import CompletionItem

        try:
            values = _values(ctx)
            # After an option without its value, click has set no argument yet.
            values.setdefault("app", next(iter(ctx.args), ""))
            names = [*_look_up(self.kind, values)]
        except Exception:  # noqa: BLE001 (a shell cannot show a message)
            return []
        return [CompletionItem(n, help=h) for n, h in names if n.startswith(incomplete)]


def _values(ctx: click.Context) -> dict[str, Any]:
    """The parameters typed so far, before and after the verb."""
    above = _values(ctx.parent) if ctx.parent is not None else {}
    return {**above, **{key: value for key, value in ctx.params.items() if value}}


def _look_up(kind: str, values: dict[str, Any]) -> Completions:
    config, _ = load(
        path=values.get("config_path", ""),
        cluster="" if kind == "cluster" else values.get("cluster", ""),
        host=values.get("host", ""),
    )
    if kind in _OF_CONFIG:
        return _OF_CONFIG[kind](config)
    if config.cluster.host:
        return []  # a login may ask questions, and takes long
    return asyncio.run(_query(config, kind, str(values.get("app", ""))))


async def _query(config: Config, kind: str, app: str) -> Completions:
    from vizdash.service.factory import connect

    async with asyncio.timeout(_TIMEOUT_S):
        service = await connect(config, _NoPrompter())
        try:
            return await _OF_CLUSTER[kind](service, app)
        finally:
            await service.close()


def complete(cli: click.Command) -> int:
    """Complete for the completion script that called us. Returns the exit code."""
    from click.shell_completion import shell_complete

    variable = COMPLETION_VARIABLE
    return shell_complete(cli, {}, "vizdash", variable, os.environ.get(variable, ""))
