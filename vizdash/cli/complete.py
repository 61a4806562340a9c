"""What the shell completes: apps, sessions, nodes, versions and clusters.

A shell waits while it asks: nothing here prompts, logs in to another host or takes long, and
whatever goes wrong completes nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem, shell_complete

from vizdash import nodesets
from vizdash.config import Config, load
from vizdash.connect import connect
from vizdash.errors import Unreachable
from vizdash.images import inventory
from vizdash.model.link import Prompt
from vizdash.service import Service

#: The variable that a completion script sets.
VARIABLE = "_VIZDASH_COMPLETE"
#: Seconds that a cluster has to answer.
_ANSWER_S = 3.0

#: A completion and what there is to say of it.
Found = Iterable[tuple[str, str]]


class _Nobody:
    """A Prompter without a person."""

    async def ask(self, prompt: Prompt) -> tuple[str, ...] | None:
        raise Unreachable(prompt.title, "a shell completes a word")

    def show(self, title: str, lines: tuple[str, ...]) -> None:
        return

    async def wait(self, title: str, lines: tuple[str, ...]) -> None:
        raise Unreachable(title, "a shell completes a word")


async def _sessions(service: Service, app: str) -> Found:
    found = [s for s in await service.sessions() if s.live]
    return [(s.id, " ".join(filter(None, (s.app, str(s.state), s.node)))) for s in found]


async def _nodes(service: Service, app: str) -> Found:
    return [(n.name, n.state_words) for n in await service.engine.nodes()]


async def _versions(service: Service, app: str) -> Found:
    shell = service.images.shell
    known = await inventory.read(shell, inventory.path_of(service.config.cluster))
    found: dict[str, list[str]] = {}
    for node, (_, images) in known.nodes.items():
        for image in images:
            if image.version and app in {"", image.app}:
                found.setdefault(image.version, []).append(node)
    return [(version, f"on {nodesets.fold(nodes)}") for version, nodes in found.items()]


def _apps(config: Config) -> Found:
    return [(app.name, app.title) for app in config.apps.values()]


def _clusters(config: Config) -> Found:
    return [(name, cluster.host) for name, cluster in config.clusters.items()]


_OF_CONFIG: dict[str, Callable[[Config], Found]] = {"app": _apps, "cluster": _clusters}
_OF_CLUSTER: dict[str, Callable[[Service, str], Awaitable[Found]]] = {
    "session": _sessions,
    "sessions": _sessions,
    "node": _nodes,
    "nodeset": _nodes,
    "canary": _nodes,
    "version": _versions,
    "image": _versions,
}
#: Parameters (of any verb) whose values are names that can be looked up.
NAMES = (*_OF_CONFIG, *_OF_CLUSTER)


class Name(click.types.StringParamType):
    """A text that the shell completes as ``kind``, one of NAMES."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that begin so."""
        try:
            values = _values(ctx)
            # Behind an option without its value click has set no argument yet.
            values.setdefault("app", next(iter(ctx.args), ""))
            found = [*_look_up(self.kind, values)]
        except Exception:  # noqa: BLE001 (a shell has no place for a message)
            return []
        return [CompletionItem(n, help=h) for n, h in found if n.startswith(incomplete)]


def _values(ctx: click.Context) -> dict[str, Any]:
    """What was typed so far, before the verb and after it."""
    above = _values(ctx.parent) if ctx.parent is not None else {}
    return {**above, **{key: value for key, value in ctx.params.items() if value}}


def _look_up(kind: str, values: dict[str, Any]) -> Found:
    config, _ = load(
        path=values.get("config_path", ""),
        cluster="" if kind == "cluster" else values.get("cluster", ""),
        host=values.get("host", ""),
    )
    if kind in _OF_CONFIG:
        return _OF_CONFIG[kind](config)
    if config.cluster.host:
        return []  # a login may ask, and takes its time
    return asyncio.run(_ask(config, kind, str(values.get("app", ""))))


async def _ask(config: Config, kind: str, app: str) -> Found:
    async with asyncio.timeout(_ANSWER_S):
        service = await connect(config, _Nobody())
        try:
            return await _OF_CLUSTER[kind](service, app)
        finally:
            await service.close()


def answer(cli: click.Command) -> int | None:
    """Answer a shell's completion script, where one is asking. Returns the exit code, else None."""
    asked = os.environ.get(VARIABLE, "")
    return shell_complete(cli, {}, "vizdash", VARIABLE, asked) if asked else None
