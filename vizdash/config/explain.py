"""Each active value and where it comes from, for ``vizdash config --explain``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vizdash.config.key_declaration import find_key, keys_of, write_value
from vizdash.config.model import Config, ConfigFile, UiSettings
from vizdash.config.readers import Item

BUILT_IN = "built-in"


@dataclass(frozen=True, slots=True)
class Explained:
    """One value and where it comes from."""

    key: str
    value: str
    origin: str


def explain(
    merged: Item, config: Config, over: Mapping[str, tuple[str, str]]
) -> tuple[Explained, ...]:
    """The values of the files, and the defaults of all other keys. ``over`` holds value and origin
    of the keys that flags and the environment set.
    """
    rows = {row.key: row for row in _list_file_values(merged)}
    # Names of the user's choice (environment, presets) have a row each, or none.
    above = {key[:i] for key in rows for i, char in enumerate(key) if char == "."}
    active = ConfigFile(
        default_cluster=config.cluster.name,
        ui=config.ui,
        clusters=config.clusters,
        apps=config.apps,
    )
    for key, value in _list_values(ConfigFile, active, ""):
        if key not in above:
            rows.setdefault(key, Explained(key, value, BUILT_IN))
    rows |= {key: Explained(key, *origin) for key, origin in over.items()}
    return tuple(rows[key] for key in sorted(rows))


def _list_file_values(item: Item) -> Iterator[Explained]:
    value = item.value
    if isinstance(value, dict) and value:
        for entry in value.values():
            yield from _list_file_values(entry)
    elif item.path:
        key = find_key(keys_of(ConfigFile), item.path)
        if key is not None and key.secret:
            shown = "(hidden)"
        elif isinstance(value, list):
            shown = write_value(tuple(entry.written for entry in value))
        else:
            shown = item.written
        yield Explained(item.path, shown, item.origin)


def _list_values(owner: type, thing: Any, path: str) -> Iterator[tuple[str, str]]:
    """The path and value of every key that ``owner`` declares, from the typed configuration."""
    for name, key in keys_of(owner).items():
        value, here = getattr(thing, key.attribute), f"{path}{name}"
        if key.named and owner is ConfigFile and key.below:
            for chosen, one in value.items():
                yield from _list_values(key.below, one, f"{here}.{chosen}.")
        elif key.named:
            if owner is not UiSettings:
                yield here, ""
        elif key.below:
            yield from _list_values(key.below, value, f"{here}.")
        else:
            yield here, "(hidden)" if key.secret and value else key.write(value)
