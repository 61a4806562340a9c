"""A YAML document as Items, each with its place in the file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml

from vizdash.config.fields import Item
from vizdash.errors import ConfigError

#: More than any honest file holds; aliases of aliases grow without end.
_MOST = 50_000


class Tree:
    """Makes Items of one file's nodes. Every method raises ConfigError with file and line."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._loader = yaml.SafeLoader("")
        self._count = 0

    def item(self, node: yaml.Node, path: str = "") -> Item:
        """The Item of ``node``, whose key's path is ``path``."""
        origin = self._origin(node)
        self._count += 1
        if self._count > _MOST:
            raise ConfigError(f"{origin}: {path}", "too many values", "check the aliases (*name)")
        if isinstance(node, yaml.MappingNode):
            return Item(self._entries(node, path), path, origin)
        if isinstance(node, yaml.SequenceNode):
            items = [self.item(n, f"{path}[{i}]") for i, n in enumerate(node.value)]
            return Item(items, path, origin)
        try:
            value: Any = self._loader.construct_object(node)
        except ValueError as e:  # 2024-99-99 has the form of a date
            why = f"{node.value!r}: {e}"
            raise ConfigError(f"{origin}: {path}", why, "write it in quotes") from e
        return Item(value, path, origin, written=str(node.value))

    def _entries(self, node: yaml.MappingNode, path: str) -> dict[str, Item]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                where = f"{self._origin(key)}: {path or 'top level'}"
                raise ConfigError(where, "a key is expected, not a list or a mapping", "name it")
            below = _join(path, key)
            if below in seen:
                where = f"{self._origin(key)}: {below}"
                raise ConfigError(where, "this key stands twice", "keep one of them")
            seen.add(below)
        self._loader.flatten_mapping(node)  # <<: *name; what stands here itself wins
        return {
            str(key.value): replace(self.item(value, _join(path, key)), origin=self._origin(key))
            for key, value in node.value
        }

    def _origin(self, node: yaml.Node) -> str:
        return f"{self._file}:{node.start_mark.line + 1}"


def _join(path: str, key: yaml.Node) -> str:
    return f"{path}.{key.value}" if path else str(key.value)
