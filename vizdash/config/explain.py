"""Each value in force and where it came from, for ``vizdash config --explain``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vizdash.config import schema
from vizdash.config.fields import Item
from vizdash.config.model import Config

BUILT_IN = "built-in"


@dataclass(frozen=True, slots=True)
class Explained:
    """One value and where it came from."""

    key: str
    value: str
    origin: str


def explain(
    merged: Item, config: Config, over: Mapping[str, tuple[str, str]]
) -> tuple[Explained, ...]:
    """What the files say, then the defaults of keys that none of them names. ``over`` are keys
    with a value and origin that no file gave: flags and the environment.
    """
    rows = {row.key: row for row in _of_files(merged)}
    # Names of the user's choice (an environment, presets) stand one by one, or not at all.
    above = {key[:i] for key in rows for i, char in enumerate(key) if char == "."}
    for key, value in _defaults(config):
        if key not in above:
            rows.setdefault(key, Explained(key, value, BUILT_IN))
    rows |= {key: Explained(key, *found) for key, found in over.items()}
    return tuple(rows[key] for key in sorted(rows))


def _of_files(item: Item) -> Iterator[Explained]:
    value = item.value
    if isinstance(value, dict) and value:
        for entry in value.values():
            yield from _of_files(entry)
    elif item.path:
        if item.path.endswith(".vnc_password"):
            shown = "(hidden)"
        elif isinstance(value, list):
            shown = ", ".join(entry.written for entry in value)
        else:
            shown = item.written
        yield Explained(item.path, shown, item.origin)


def _defaults(config: Config) -> Iterator[tuple[str, str]]:
    """The values of the typed configuration, in the config's own terms."""
    tops: dict[str, Mapping[str, Any]] = {"clusters": config.clusters, "apps": config.apps}
    for pattern in schema.key_paths():
        top, _, rest = pattern.partition(".*.")
        if not rest:
            if pattern == "default_cluster":
                yield pattern, config.cluster.name
            elif pattern == "read_only":
                yield pattern, "false"
            elif pattern == "locked":
                yield pattern, ""
            elif pattern.startswith("ui.") and "*" not in pattern:
                yield pattern, _written(config.ui, pattern.removeprefix("ui."))
        else:
            plain, named, _ = rest.partition(".*")
            for name, thing in tops[top].items():
                yield f"{top}.{name}.{plain}", "" if named else _written(thing, rest)


def _written(thing: Any, path: str) -> str:
    """An attribute's value; the unit in the attribute's name, if it has one, goes to the value."""
    *above, last = path.split(".")
    for name in above:
        thing = getattr(thing, name)
    for suffix, unit in (("_s", "s"), ("_mib", "M")):
        if hasattr(thing, f"{last}{suffix}"):
            return f"{getattr(thing, last + suffix)}{unit}"
    value = getattr(thing, last)
    if last == "ports":
        return f"{value[0]}-{value[1]}"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
