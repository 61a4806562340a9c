"""Readers of single values. Their errors name file, line, key and the fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vizdash.errors import ConfigError
from vizdash.util.units import parse_duration, parse_memory

#: Names that an error lists at most.
_MOST_LISTED = 40


@dataclass(frozen=True, slots=True)
class Item:
    """A value of a configuration file: a scalar, ``dict[str, Item]`` or ``list[Item]``.

    ``path`` is its key (``clusters.here.route``), ``origin`` its file and line
    (``/etc/vizdash/config.yaml:12``), and ``written`` a scalar's text in the file.
    """

    value: Any
    path: str
    origin: str
    written: str = ""

    def error(self, why: str, fix: str = "") -> ConfigError:
        """Return an error that names this value's file, line and key."""
        return ConfigError(f"{self.origin}: {self.path or 'top level'}", why, fix)


Reader = Callable[[Item], Any]


def text(item: Item) -> str:
    """A text. What YAML 1.1 reads as a number or a date keeps its text in the file, since ``1.10``
    may be a version and ``1:30:00`` a time.
    """
    if isinstance(item.value, str):
        return item.value
    if isinstance(item.value, bool):
        raise item.error("a text is expected, not true/false", f"write '{item.written}' in quotes")
    if item.value is None or isinstance(item.value, dict | list):
        raise item.error(f"a text is expected, not {_kind(item.value)}")
    return item.written


def integer(item: Item) -> int:
    """A whole number, 0 or more, in decimal (YAML 1.1 also reads ``010`` as 8)."""
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
    """A time with its unit, since sbatch reads a bare number as minutes and others as seconds."""
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
        raise item.error(f"{value!r} is not a size", "write WIDTHxHEIGHT, e.g. 1280x720")
    return value


GEOMETRY = re.compile(r"[1-9][0-9]{2,4}x[1-9][0-9]{2,4}")


def ports(item: Item) -> tuple[int, int]:
    """An inclusive range such as ``6080-6099``."""
    match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", text(item))
    low, high = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1024 <= low <= high <= 65535:
        raise item.error(f"{item.written!r} is not a port range", "write e.g. 6080-6099")
    return low, high


def folder(item: Item) -> str:
    """An absolute path without characters that a shell or rsync would interpret."""
    value = text(item)
    if not re.fullmatch(r"/[A-Za-z0-9._+@/-]+", value) or ".." in value:
        raise item.error(f"{value!r} is not a plain absolute path", "e.g. /opt/apptainers/apps")
    return value


def state_dir(item: Item) -> str:
    """A folder per user: an absolute path with ``%u`` for the user name; or empty."""
    value = text(item)
    plain = re.fullmatch(r"/[A-Za-z0-9._+@/%-]+", value) and ".." not in value.split("/")
    if value and (not plain or "%" in value.replace("%u", "") or "%u" not in value):
        why = "is not an absolute path with %u for the user name"
        raise item.error(f"{value!r} {why}", "e.g. /scratch/%u/vizdash")
    return value.rstrip("/")


def url_path(item: Item) -> str:
    """The path of a page, with its query and fragment."""
    value = text(item)
    if not re.fullmatch(r"/(?!/)[A-Za-z0-9._~%!$&'()*+,;=:@/?#{}-]*", value):
        raise item.error(f"{value!r} is not the path of a page", "e.g. /lab")
    return value


def texts(item: Item) -> tuple[str, ...]:
    """A list of texts."""
    if not isinstance(item.value, list):
        raise item.error(f"a list is expected, not {_kind(item.value)}")
    return tuple(text(entry) for entry in item.value)


def text_map(item: Item) -> dict[str, str]:
    """Names and texts."""
    return {name: text(entry) for name, entry in entries(item).items()}


def environment(item: Item) -> dict[str, str]:
    """Environment variables with names that a shell can export (POSIX, 8.1)."""
    for name, entry in entries(item).items():
        if not _VARIABLE.fullmatch(name):
            raise entry.error("not a name of an environment variable", "letters, digits and '_'")
    return text_map(item)


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def entries(item: Item) -> dict[str, Item]:
    """A mapping's entries; an empty value is an empty mapping."""
    if item.value is None:
        return {}
    if not isinstance(item.value, dict):
        raise item.error(f"names and values are expected, not {_kind(item.value)}")
    return item.value


_OWNER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*:[A-Za-z_][A-Za-z0-9_.-]*")
_MODE = re.compile(r"0?[4-7][0-7][0-7]")


def owner(item: Item) -> str:
    """A file's owner and group, such as ``root:root``."""
    if not _OWNER.fullmatch(value := text(item)):
        raise item.error(f"{value!r} is not an owner and group", "write USER:GROUP, e.g. root:root")
    return value


def mode(item: Item) -> str:
    """A file mode in octal. YAML 1.1 reads ``0644`` as a number: that means the same."""
    value = f"{item.value:04o}" if isinstance(item.value, int) else text(item)
    if isinstance(item.value, bool) or not _MODE.fullmatch(value):
        raise item.error(f"{item.value!r} is not a file mode", "write e.g. '0644'")
    return value


_IPV6 = r"[0-9a-fA-F]*:[0-9a-fA-F]*:[0-9a-fA-F:.]*(?:%[A-Za-z0-9_.-]+)?"
#: ``[user@]host[:port]``. A host that begins with a dash would be an option of ssh(1). An IPv6
#: address is in brackets, or, as for ssh(1), bare and without a port.
HOST = re.compile(
    r"(?:[^\s@:/-][^\s@:/]*@)?"
    rf"(?:(?:[^\s@:/\[-][^\s@:/]*|\[{_IPV6}\])(?::\d{{1,5}})?|{_IPV6})"
)


def host(item: Item) -> str:
    """A login host."""
    value = text(item)
    if not HOST.fullmatch(value):
        raise item.error(f"{value!r} is not a host name", "write e.g. me@login.example.org")
    return value


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


def named_entries(item: Item, what: str) -> dict[str, Item]:
    """The entries of a mapping whose names are the user's. They become part of file names, job
    comments and paths of keys, so few characters are allowed; ``what`` is "a cluster" or the like.
    """
    named = entries(item)
    for name, entry in named.items():
        if not _NAME.fullmatch(name):
            raise entry.error(f"{what}'s name is made of letters, digits, '_' and '-'")
    return named


def one_or_more(item: Item) -> dict[str, tuple[str, ...]]:
    """Names, each with a text or a list of texts."""
    return {
        name: texts(entry) if isinstance(entry.value, list) else (text(entry),)
        for name, entry in entries(item).items()
    }


def nearest(word: str, options: tuple[str, ...]) -> str:
    """Suggest a fix for an unknown word: ``did you mean X?``, or the list of ``options``."""
    close = difflib.get_close_matches(word, options, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    first = sorted(options)[:_MOST_LISTED]
    more = f" and {len(options) - _MOST_LISTED} more" if len(options) > _MOST_LISTED else ""
    return f"there are: {', '.join(first)}{more}"


def _kind(value: object, written: str = "") -> str:
    names = {dict: "a mapping", list: "a list", bool: "true/false", type(None): "nothing"}
    return names.get(type(value), repr(written) if written else repr(value))
