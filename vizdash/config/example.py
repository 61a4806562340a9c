"""Writes config.example.yaml from the declared keys: ``python -m vizdash.config.example``."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from vizdash.config.key_declaration import Key, keys_of
from vizdash.config.model import ConfigFile
from vizdash.model import Resources

_HEAD = """\
# vizdash configuration: every key with its meaning. Uncomment what you need ("# " at the start of
# its line).
#
# The site's file is /etc/vizdash/config.yaml, yours is ~/.config/vizdash/config.yaml. Both may set
# any key, and yours overrides the site's unless the site has locked it. Mappings are merged key by
# key; lists and values are replaced. `vizdash config --explain` prints each value and where it
# comes from.
#
# Memory is written 4G or 512M (a bare number is MiB). Times are written 2h or 90m, or as in Slurm,
# 1-12:00:00 (a bare number is minutes). Quote text that looks like yes, no or null.
"""
_WIDTH = 100
#: Entries of mappings whose names are the user's: the first one has every key, but for a secret.
_ENTRIES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "clusters": {"viz": {}},
    "apps": {
        "paraview": {},
        "old-gedit": {
            "kind": "legacy",
            "script": "gedit_vnc_job.sh",
            "vnc_password": "password",
        },
        "jupyter": {
            "title": "JupyterLab",
            "kind": "web",
            "path": '"/{id}/lab?reset"',
            "resources": "{cores: 4, memory: 8G, time: 8h}",
        },
        "pvserver": {
            "title": "ParaView server",
            "kind": "pvserver",
            "resources": "{cores: 4, memory: 8G, time: 4h}",
        },
    },
}


def write_example() -> str:
    """The text of config.example.yaml: everything in it is commented out."""
    parts = [_HEAD]
    for name, key in keys_of(ConfigFile).items():
        lines = _comment(key.help, "")
        lines += [f"# {line}" for line in _write_key(name, key, _default(ConfigFile, key), 0)]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _write_key(name: str, key: Key, default: Any, depth: int) -> Iterator[str]:
    """The lines of a key and all keys below it, without its own comment."""
    indent = "  " * depth
    if name in _ENTRIES and key.below:
        yield f"{indent}{name}:"
        for entry, values in _ENTRIES[name].items():
            yield f"{indent}  {entry}:"
            yield from _write_entry(key.below, values, depth + 2)
    elif key.below and not key.named and key.below is not Resources:
        yield f"{indent}{name}:"
        yield from _write_section(key.below, default, depth + 1)
    elif key.named and not key.example.startswith("{"):
        yield f"{indent}{name}:"
        yield f"{indent}  {key.example}"
    else:
        yield f"{indent}{name}: {key.example or _yaml(key, default)}"


def _write_section(owner: type, values: Any, depth: int) -> Iterator[str]:
    for name, key in keys_of(owner).items():
        if not key.secret:
            yield from _comment(key.help, "  " * depth)
            yield from _write_key(name, key, getattr(values, key.attribute), depth)


def _write_entry(owner: type, values: Mapping[str, str], depth: int) -> Iterator[str]:
    if not values:
        yield from _write_section(owner, owner(name=""), depth)
    for name, value in values.items():
        if keys_of(owner)[name].secret:
            yield from _comment(keys_of(owner)[name].help, "  " * depth)
        yield f"{'  ' * depth}{name}: {value}"


def _comment(text: str, indent: str) -> list[str]:
    # Inside of a commented mapping, the comment's own mark follows the first one.
    width = _WIDTH - len(indent) - (2 if indent else 0)
    # What stands in backticks is not broken.
    text = re.sub("`[^`]*`", lambda match: match[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(text, width - 2, break_on_hyphens=False)
    return [f"{indent}# {line}".replace("\0", " ") for line in lines]


def _default(owner: type, key: Key) -> Any:
    declared = next(one for one in fields(owner) if one.name == key.attribute)
    return declared.default


def _yaml(key: Key, value: Any) -> str:
    """A default as YAML."""
    if isinstance(value, tuple) and not value:
        return "[]"
    text = key.write(value)
    return text if re.fullmatch(r"[A-Za-z0-9/.:_-]+", text) else f'"{text}"'


if __name__ == "__main__":
    sys.stdout.write(write_example())
