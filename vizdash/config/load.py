"""Reads and merges configuration files; every value knows where it came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import platformdirs
import yaml

from vizdash.config import schema
from vizdash.config.fields import Item
from vizdash.config.model import Config
from vizdash.errors import ConfigError, UsageError

SITE_FILE = Path("/etc/vizdash/config.yaml")
_DEFAULTS = Path(__file__).with_name("defaults.yaml")


@dataclass(frozen=True, slots=True)
class Explained:
    """One value and where it came from, for ``vizdash config --explain``."""

    key: str
    value: str
    origin: str


def user_file() -> Path:
    """The user's own file (platformdirs: ~/.config/vizdash/config.yaml on Linux)."""
    return Path(platformdirs.user_config_dir("vizdash")) / "config.yaml"


def load(
    *,
    path: str = "",
    cluster: str = "",
    read_only: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> tuple[Config, tuple[Explained, ...]]:
    """Read every layer. ``path`` (or VIZDASH_CONFIG) stands in for the user's own file.

    Raises ConfigError naming file, line, key and the mend; UsageError for an unknown cluster.
    """
    merged = _built_in()
    own = path or environ.get("VIZDASH_CONFIG", "")
    for file, needed in ((SITE_FILE, False), (Path(own) if own else user_file(), bool(own))):
        if (layer := read_file(file, needed=needed)) is not None:
            merged = _merge(merged, layer, _locks(merged))
    config = schema.config(merged, cluster or environ.get("VIZDASH_CLUSTER", ""))
    if read_only or environ.get("VIZDASH_READ_ONLY", "") not in {"", "0"}:
        config = replace(config, read_only=True)
    return config, tuple(_explain(merged))


def read_file(path: Path, *, needed: bool = False) -> Item | None:
    """One file as an Item tree; None when it isn't there and needn't be."""
    try:
        source = path.expanduser().read_text(encoding="utf-8")
    except FileNotFoundError as e:
        if needed:
            raise UsageError(str(path), "no such config file", "see --config") from e
        return None
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(str(path), str(e)) from e
    try:
        root = yaml.compose(source, Loader=yaml.SafeLoader)
        if root is None:
            return Item({}, "", str(path))
        return _item(root, "", str(path), yaml.SafeLoader(""))
    except yaml.MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 1
        raise ConfigError(f"{path}:{line}", e.problem or "not YAML", "check the YAML") from e
    except (yaml.YAMLError, ValueError) as e:
        raise ConfigError(str(path), " ".join(str(e).split()), "check the YAML") from e


def _item(node: yaml.Node, path: str, file: str, loader: yaml.SafeLoader) -> Item:
    origin = f"{file}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Item] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            below = f"{path}.{key}" if path else key
            if key in found:
                line = key_node.start_mark.line + 1
                raise ConfigError(f"{file}:{line}: {below}", "this key stands twice")
            found[key] = replace(
                _item(value_node, below, file, loader),
                origin=f"{file}:{key_node.start_mark.line + 1}",
            )
        return Item(found, path, origin)
    if isinstance(node, yaml.SequenceNode):
        items = [_item(n, f"{path}[{i}]", file, loader) for i, n in enumerate(node.value)]
        return Item(items, path, origin)
    value: Any = loader.construct_object(node)
    return Item(value, path, origin)


def _built_in() -> Item:
    item = read_file(_DEFAULTS, needed=True)
    assert item is not None
    return _renamed(item)


def _renamed(item: Item) -> Item:
    """Give built-in values an origin for people."""
    value = item.value
    if isinstance(value, dict):
        value = {key: _renamed(entry) for key, entry in value.items()}
    elif isinstance(value, list):
        value = [_renamed(entry) for entry in value]
    return Item(value, item.path, "built-in")


def _locks(item: Item) -> tuple[Item, ...]:
    locked = item.value.get("locked") if isinstance(item.value, dict) else None
    return tuple(locked.value) if locked and isinstance(locked.value, list) else ()


def _merge(below: Item, above: Item, locks: tuple[Item, ...]) -> Item:
    """``above`` over ``below``: mappings key by key, everything else whole."""
    for lock in locks:
        if above.path == lock.value:
            raise above.error(f"locked by {lock.origin}", "remove it from your file")
    if not (isinstance(below.value, dict) and isinstance(above.value, dict)):
        return above
    value = dict(below.value)
    for key, entry in above.value.items():
        base = value.get(key, Item(None, entry.path, entry.origin))
        value[key] = _merge(base, entry, locks)
    return Item(value, above.path, above.origin)


def _explain(item: Item) -> list[Explained]:
    if isinstance(item.value, dict) and item.value:
        return [row for entry in item.value.values() for row in _explain(entry)]
    value = item.value
    if isinstance(value, list):
        value = [entry.value for entry in value]
    if item.path.endswith("vnc_password"):
        value = "(hidden)"
    return [Explained(item.path, str(value), item.origin)] if item.path else []
