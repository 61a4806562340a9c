"""Readers of single values, with an error that says where and how to mend it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from vizdash.errors import ConfigError
from vizdash.units import parse_duration, parse_memory

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Item:
    """A value of a config file (a scalar, ``dict[str, Item]`` or ``list[Item]``), its key's
    path (``clusters.here.route``) and origin (``/etc/vizdash/config.yaml:12``).
    """

    value: Any
    path: str
    origin: str

    def error(self, why: str, mend: str = "") -> ConfigError:
        """The error for this place."""
        return ConfigError(f"{self.origin}: {self.path or 'top level'}", why, mend)


Reader = Callable[[Item], Any]


def text(item: Item) -> str:
    """A text (numbers are taken as they stand, since ``1.0`` is a version too)."""
    if isinstance(item.value, bool) or not isinstance(item.value, str | int | float):
        raise item.error(f"a text is expected, not {_kind(item.value)}")
    return str(item.value)


def integer(item: Item) -> int:
    """A whole number, 0 or more."""
    if isinstance(item.value, bool) or not isinstance(item.value, int) or item.value < 0:
        raise item.error(f"a whole number is expected, not {item.value!r}")
    return item.value


def positive(item: Item) -> int:
    """A whole number, 1 or more."""
    if (number := integer(item)) < 1:
        raise item.error("1 or more is expected")
    return number


def flag(item: Item) -> bool:
    """True or false."""
    if not isinstance(item.value, bool):
        raise item.error(f"true or false is expected, not {item.value!r}")
    return item.value


def memory(item: Item) -> int:
    """An amount such as ``4G`` or ``512M``; a bare number is MiB."""
    return _parsed(item, parse_memory)


def duration(item: Item) -> int:
    """A time such as ``2h``, ``90m`` or Slurm's ``D-HH:MM:SS``."""
    return _parsed(item, parse_duration)


def _parsed(item: Item, parse: Callable[[str], int]) -> int:
    try:
        return parse(text(item))
    except ValueError as e:
        raise item.error(str(e)) from e


def choice(*options: str) -> Callable[[Item], str]:
    """One of ``options``."""

    def read(item: Item) -> str:
        value = text(item)
        if value not in options:
            raise item.error(f"{value!r} is none of {', '.join(options)}", nearest(value, options))
        return value

    return read


def geometry(item: Item) -> str:
    """A desktop's size, such as ``1280x720``."""
    value = text(item)
    if not GEOMETRY.fullmatch(value):
        raise item.error(f"{value!r} is no size", "write WIDTHxHEIGHT, e.g. 1280x720")
    return value


GEOMETRY = re.compile(r"[1-9]\d{2,4}x[1-9]\d{2,4}")


def ports(item: Item) -> tuple[int, int]:
    """An inclusive range such as ``6080-6099``."""
    match = re.fullmatch(r"(\d+)-(\d+)", text(item))
    low, high = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1024 <= low <= high <= 65535:
        raise item.error(f"{item.value!r} is no range of ports", "write e.g. 6080-6099")
    return low, high


def texts(item: Item) -> tuple[str, ...]:
    """A list of texts."""
    if not isinstance(item.value, list):
        raise item.error(f"a list is expected, not {_kind(item.value)}")
    return tuple(text(entry) for entry in item.value)


def text_map(item: Item) -> dict[str, str]:
    """Names and texts, such as environment variables."""
    return {name: text(entry) for name, entry in entries(item).items()}


def entries(item: Item) -> dict[str, Item]:
    """A mapping's entries; an empty value is an empty mapping."""
    if item.value is None:
        return {}
    if not isinstance(item.value, dict):
        raise item.error(f"names and values are expected, not {_kind(item.value)}")
    return item.value


def mapping(item: Item, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """A mapping with known keys only. Raises ConfigError naming the nearest key."""
    found: dict[str, Any] = {}
    for key, entry in entries(item).items():
        if key not in readers:
            raise entry.error("no such key", nearest(key, tuple(readers)))
        found[key] = readers[key](entry)
    return found


def nearest(word: str, options: tuple[str, ...]) -> str:
    """``did you mean X?`` or the list of what there is."""
    close = difflib.get_close_matches(word, options, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(options))}"


def _kind(value: object) -> str:
    names = {dict: "a mapping", list: "a list", bool: "true/false", type(None): "nothing"}
    return names.get(type(value), repr(value))
