"""How a configuration key is declared: reader, default and help as field metadata.

A key is declared once: its reader, default and help. What reads a file, explains values, checks
``locked``, and writes config.example.yaml, follows the declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from typing import Any

from vizdash.config.readers import Item, Reader, entries, nearest


def write_value(value: Any) -> str:
    """A value as ``vizdash config --explain`` prints it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass(eq=False, repr=False)  # neither is used, and each costs time at start-up
class Key:
    """One key of a configuration file.

    ``read`` makes the value of an Item and raises ConfigError. ``help`` is the comment above the
    key in config.example.yaml, and ``example`` its YAML there (empty: the default). ``write`` makes
    the text for ``--explain``, which never prints a ``secret``. ``name`` is the key in the file and
    ``attribute`` the field that holds the value; they differ by the unit (``refresh``,
    ``refresh_s``). ``below`` is the class that declares the keys below this one; with ``named``,
    names of the user's choice come between.
    """

    read: Reader
    help: str
    example: str = ""
    write: Callable[[Any], str] = write_value
    secret: bool = False
    name: str = ""
    attribute: str = ""
    below: type | None = None
    named: bool = False


def key(
    default: Any = MISSING,
    read: Reader | None = None,
    help: str = "",  # noqa: A002 (what it is called everywhere)
    *,
    factory: Any = MISSING,
    **options: Any,
) -> Any:
    """Declare a key as a dataclass field, with its default (or the ``factory`` of one).

    Without ``read`` it is a section: the default's class declares the keys below it.
    """
    if read is None:
        options |= {"read": lambda item: read_section(item, default), "below": type(default)}
    else:
        options["read"] = read
    metadata = {"key": Key(help=help, **options)}
    repr_ = not options.get("secret", False)
    return field(default=default, default_factory=factory, repr=repr_, metadata=metadata)


#: Keys of classes that the configuration does not define itself.
_DECLARED: dict[type, Mapping[str, Key]] = {}


def declare(owner: type, **keys: Key) -> None:
    """Declare the keys of a class of another package, by attribute."""
    _DECLARED[owner] = {
        one.name or attribute: replace(one, attribute=attribute) for attribute, one in keys.items()
    }


@cache
def keys_of(owner: type) -> Mapping[str, Key]:
    """The keys that a class declares, by their name in the file."""
    if owner in _DECLARED:
        return _DECLARED[owner]
    declared = ((one.name, one.metadata["key"]) for one in fields(owner) if "key" in one.metadata)
    return {one.name or attribute: replace(one, attribute=attribute) for attribute, one in declared}


def read_values(item: Item, owner: type) -> dict[str, Any]:
    """Read a mapping by the keys of ``owner``; returns values by attribute.

    Raises ConfigError; for an unknown key it names the nearest one.
    """
    keys = keys_of(owner)
    values: dict[str, Any] = {}
    for name, entry in entries(item).items():
        if name not in keys:
            raise entry.error("no such key", nearest(name, tuple(keys)))
        values[keys[name].attribute] = keys[name].read(entry)
    return values


def read_section(item: Item, default: Any) -> Any:
    """Read a mapping over the values of ``default``. Raises ConfigError."""
    return replace(default, **read_values(item, type(default)))


def keys_below(one: Key) -> Mapping[str, Key]:
    """The keys below one, ``*`` standing for names of the user's choice; none below a value."""
    if one.named:
        return {"*": replace(one, named=False)}
    return keys_of(one.below) if one.below else {}


def key_paths(keys: Mapping[str, Key], path: str = "") -> Iterator[str]:
    """The path of every key that holds a value: ``clusters.*.deploy.mode``."""
    for name, one in keys.items():
        here = f"{path}.{name}" if path else name
        if deeper := keys_below(one):
            yield from key_paths(deeper, here)
        else:
            yield here


def find_key(keys: Mapping[str, Key], path: str) -> Key | None:
    """The key at a path of a file, ``apps.gedit.title``; None where there is none."""
    declared: Key | None = None
    for word in path.split("."):
        declared = keys.get(word) or keys.get("*")
        if declared is None:
            return None
        keys = keys_below(declared)
    return declared
