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
#: As many names as fit into an error's line.
_NAMED = 40


@dataclass(frozen=True, slots=True)
class Item:
    """A value of a config file (a scalar, ``dict[str, Item]`` or ``list[Item]``), its key's
    path (``clusters.here.route``) and origin (``/etc/vizdash/config.yaml:12``); ``written`` is
    a scalar as it stands in the file.
    """

    value: Any
    path: str
    origin: str
    written: str = ""

    def error(self, why: str, mend: str = "") -> ConfigError:
        """The error for this place."""
        return ConfigError(f"{self.origin}: {self.path or 'top level'}", why, mend)


Reader = Callable[[Item], Any]


def text(item: Item) -> str:
    """A text. What YAML 1.1 takes for a number or a date is taken as it stands, since ``1.10``
    is a version, and ``1:30:00`` a time, too.
    """
    if isinstance(item.value, str):
        return item.value
    if isinstance(item.value, bool):
        raise item.error("a text is expected, not true/false", f"write '{item.written}' in quotes")
    if item.value is None or isinstance(item.value, dict | list):
        raise item.error(f"a text is expected, not {_kind(item.value)}")
    return item.written


def integer(item: Item) -> int:
    """A whole number, 0 or more (none of YAML 1.1's other writings, such as ``010`` for 8)."""
    if not isinstance(item.value, int) or not re.fullmatch(r"0|[1-9][0-9]{0,8}", item.written):
        raise item.error(f"a whole number is expected, not {_kind(item.value, item.written)}")
    return item.value


def positive(item: Item) -> int:
    """A whole number, 1 or more."""
    if (number := integer(item)) < 1:
        raise item.error("1 or more is expected")
    return number


def flag(item: Item) -> bool:
    """True or false."""
    if not isinstance(item.value, bool):
        raise item.error(f"true or false is expected, not {_kind(item.value, item.written)}")
    return item.value


def memory(item: Item) -> int:
    """An amount such as ``4G`` or ``512M``; a bare number is MiB."""
    return _parsed(item, parse_memory)


def duration(item: Item) -> int:
    """A time such as ``2h``, ``90m`` or Slurm's ``D-HH:MM:SS``; a bare number is minutes."""
    return _parsed(item, parse_duration)


def span(item: Item) -> int:
    """A time with its unit: sbatch's bare minutes would surprise where seconds are usual."""
    if (value := text(item)).strip().isdecimal():
        raise item.error(f"{value} of what?", f"write e.g. {value}s or {value}m")
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


GEOMETRY = re.compile(r"[1-9][0-9]{2,4}x[1-9][0-9]{2,4}")


def ports(item: Item) -> tuple[int, int]:
    """An inclusive range such as ``6080-6099``."""
    match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", text(item))
    low, high = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1024 <= low <= high <= 65535:
        raise item.error(f"{item.written!r} is no range of ports", "write e.g. 6080-6099")
    return low, high


def folder(item: Item) -> str:
    """An absolute path that every shell and every rsync on the way takes as it stands."""
    value = text(item)
    if not re.fullmatch(r"/[A-Za-z0-9._+@/-]+", value) or ".." in value:
        raise item.error(f"{value!r} is no plain absolute path", "e.g. /opt/apptainers/apps")
    return value


def state_dir(item: Item) -> str:
    """A folder of each user's own: an absolute path with ``%u`` for the name; or empty."""
    value = text(item)
    plain = re.fullmatch(r"/[A-Za-z0-9._+@/%-]+", value) and ".." not in value.split("/")
    if value and (not plain or "%" in value.replace("%u", "") or "%u" not in value):
        why = "is no absolute path with %u for the user's name"
        raise item.error(f"{value!r} {why}", "e.g. /scratch/%u/vizdash")
    return value.rstrip("/")


def texts(item: Item) -> tuple[str, ...]:
    """A list of texts."""
    if not isinstance(item.value, list):
        raise item.error(f"a list is expected, not {_kind(item.value)}")
    return tuple(text(entry) for entry in item.value)


def text_map(item: Item) -> dict[str, str]:
    """Names and texts."""
    return {name: text(entry) for name, entry in entries(item).items()}


def environment(item: Item) -> dict[str, str]:
    """Environment variables, whose names are those that a shell can export (POSIX, 8.1)."""
    for name, entry in entries(item).items():
        if not _VARIABLE.fullmatch(name):
            raise entry.error("no name of an environment variable", "letters, digits and '_'")
    return text_map(item)


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


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
    if close:
        return f"did you mean {close[0]!r}?"
    first = sorted(options)[:_NAMED]
    more = f" and {len(options) - _NAMED} more" if len(options) > _NAMED else ""
    return f"there are: {', '.join(first)}{more}"


def _kind(value: object, written: str = "") -> str:
    names = {dict: "a mapping", list: "a list", bool: "true/false", type(None): "nothing"}
    return names.get(type(value), repr(written) if written else repr(value))
