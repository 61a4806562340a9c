"""Reads and merges configuration files; every value knows where it came from."""

from __future__ import annotations

import datetime as dt
import errno
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import platformdirs
import yaml

from vizdash.config import schema
from vizdash.config.explain import BUILT_IN, Explained, explain
from vizdash.config.model import Config
from vizdash.config.readers import Item
from vizdash.errors import ConfigError, UsageError

#: Most values of a file, after its aliases: aliases of aliases grow exponentially.
_MOST = 50_000
#: Most keys, values and lists that are written in a file, and how deep: PyYAML takes some 30 µs for
#: each, and a level of Python's stack.
_MOST_WRITTEN, _DEEPEST = 30_000, 64
#: Most characters of a number or a date: YAML 1.1's ``1:1:1`` takes time by their square.
_LONGEST_NUMBER = 100
_TEXT_TAG = "tag:yaml.org,2002:str"
#: What a scalar can be.
_SCALARS = (str, bytes, int, float, dt.date)


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, which raises yaml.MarkedYAMLError where a file can't be a configuration."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._written = 0
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._written += 1
        if self._written > _MOST_WRITTEN:
            raise yaml.MarkedYAMLError(problem="too many values", problem_mark=mark)
        if self._depth > _DEEPEST:
            raise yaml.MarkedYAMLError(problem="it is nested too deeply", problem_mark=mark)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class Tree:
    """Makes Items of one file's YAML nodes. Its methods raise ConfigError with file and line."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._loader = _Loader("")
        self._count = 0

    def item(self, node: yaml.Node, path: str = "") -> Item:
        """Make the Item of ``node`` at the key ``path``."""
        origin = self._origin(node)
        self._count += 1
        if self._count > _MOST:
            raise ConfigError(f"{origin}: {path}", "too many values", "check the aliases (*name)")
        if isinstance(node, yaml.MappingNode):
            return Item(self._entries(node, path), path, origin)
        if isinstance(node, yaml.SequenceNode):
            items = [self.item(n, f"{path}[{i}]") for i, n in enumerate(node.value)]
            return Item(items, path, origin)
        if node.tag != _TEXT_TAG and len(node.value) > _LONGEST_NUMBER:
            why = f"{node.value!r}: too long for a number or a date"
            raise ConfigError(f"{origin}: {path}", why, "write it in quotes")
        try:
            value: Any = self._loader.construct_object(node)
        except ValueError as e:  # 2024-99-99 looks like a date
            why = f"{node.value!r}: {e}"
            raise ConfigError(f"{origin}: {path}", why, "write it in quotes") from e
        except (KeyError, AttributeError) as e:  # PyYAML's for !!bool and !!timestamp
            why = f"{node.value!r} is no {node.tag.rpartition(':')[2]}"
            raise ConfigError(f"{origin}: {path}", why, "leave out the tag (!!name)") from e
        if value is not None and not isinstance(value, _SCALARS):  # !!map x, !!omap x
            raise ConfigError(f"{origin}: {path}", "a scalar is tagged as a list or a mapping")
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
                raise ConfigError(where, "duplicate key", "remove one of them")
            seen.add(below)
        self._loader.flatten_mapping(node)  # <<: *name; the mapping's own keys win
        return {
            str(key.value): replace(self.item(value, _join(path, key)), origin=self._origin(key))
            for key, value in node.value
        }

    def _origin(self, node: yaml.Node) -> str:
        return f"{self._file}:{node.start_mark.line + 1}"


def _join(path: str, key: yaml.Node) -> str:
    return f"{path}.{key.value}" if path else str(key.value)


__all__ = ["Explained", "config_files", "load", "read_file", "user_file"]

SITE_FILE = Path("/etc/vizdash/config.yaml")
_DEFAULTS = Path(__file__).with_name("defaults.yaml")
#: Most bytes of a file.
_LARGEST = 1 << 20


def user_file() -> Path:
    """The user's file (platformdirs: ~/.config/vizdash/config.yaml on Linux)."""
    return Path(platformdirs.user_config_dir("vizdash")) / "config.yaml"


def config_files(path: str = "", environ: Mapping[str, str] = os.environ) -> tuple[Path, Path]:
    """The site's file and the one used as the user's."""
    own = path or environ.get("VIZDASH_CONFIG", "")
    return SITE_FILE, Path(own).expanduser() if own else user_file()


def load(
    *,
    path: str = "",
    cluster: str = "",
    host: str = "",
    read_only: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> tuple[Config, Callable[[], tuple[Explained, ...]]]:
    """Read every layer; ``path`` (or VIZDASH_CONFIG) replaces the user's file. Returns the
    configuration, and a function that explains where each value comes from.

    Raises ConfigError with file, line, key and fix; UsageError for an unknown cluster.
    """
    merged = _built_in()
    own = path or environ.get("VIZDASH_CONFIG", "")
    for file, needed in ((SITE_FILE, False), (Path(own) if own else user_file(), bool(own))):
        if (layer := read_file(file, needed=needed)) is not None:
            merged = _merge(merged, layer, _locks(merged))
    over: dict[str, tuple[str, str]] = {}
    if wanted := cluster or environ.get("VIZDASH_CLUSTER", ""):
        over["default_cluster"] = (wanted, "--cluster" if cluster else "VIZDASH_CLUSTER")
    login = host or environ.get("VIZDASH_HOST", "")
    config = schema.make_config(merged, wanted, login)
    if login:
        name = config.cluster.name
        over[f"clusters.{name}.host"] = (login, "--host" if host else "VIZDASH_HOST")
    if read_only or environ.get("VIZDASH_READ_ONLY", "") not in {"", "0"}:
        over["read_only"] = ("true", "--read-only" if read_only else "VIZDASH_READ_ONLY")
        config = replace(config, read_only=True)
    return config, partial(explain, merged, config, over)


def read_file(path: Path, *, needed: bool = False) -> Item | None:
    """Read a file as a tree of Items; None for a missing file that is not ``needed``."""
    try:
        source = _read(path.expanduser())
    except FileNotFoundError as e:
        if needed:
            raise UsageError(str(path), "no such config file", "see --config") from e
        if path.is_symlink():
            raise ConfigError(str(path), "it links to a file that is not there") from e
        return None
    except OSError as e:
        raise ConfigError(str(path), e.strerror or str(e)) from e
    except UnicodeDecodeError as e:
        raise ConfigError(str(path), "it is not UTF-8 text", "save it as UTF-8") from e
    except RuntimeError as e:  # ~name of an unknown user
        raise UsageError(str(path), "no such home folder", "see --config") from e
    try:
        root = yaml.compose(source, Loader=_Loader)
        return Item({}, "", str(path)) if root is None else Tree(str(path)).item(root)
    except yaml.reader.ReaderError as e:
        line = source.count("\n", 0, e.position) + 1
        why = f"character {e.character:#x} is not allowed in YAML"
        raise ConfigError(f"{path}:{line}", why, "remove it") from e
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{path}:{line}", e.problem or "not YAML", "check the YAML") from e
    except (ValueError, OverflowError) as e:  # PyYAML's for "\\U00110000"
        why = "an escape (\\x, \\u, \\U) names no character"
        raise ConfigError(str(path), why, "check the YAML") from e
    except RecursionError as e:
        raise ConfigError(str(path), "it is nested too deeply", "check the YAML") from e


def _read(path: Path) -> str:
    """The text of a regular file or /dev/null.

    Raises OSError, UnicodeDecodeError and, for anything else, ConfigError.
    """
    # O_NONBLOCK: a FIFO would wait for a writer.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not (stat.S_ISREG(os.fstat(file.fileno()).st_mode) or path.samefile(os.devnull)):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            raise ConfigError(str(path), "it is not a regular file", "name a YAML file")
        data = file.read(_LARGEST + 1) or b""  # None: nothing is there yet, as in /proc/kmsg
    if len(data) > _LARGEST:
        raise ConfigError(str(path), f"it is larger than {_LARGEST >> 20} MiB", "is it a config?")
    return data.decode()


def _built_in() -> Item:
    # There is no error to explain in a file of ours, and libyaml is several times as fast.
    root = yaml.compose(_read(_DEFAULTS), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert root is not None
    return _renamed(Tree(str(_DEFAULTS)).item(root))


def _renamed(item: Item) -> Item:
    """Set the origin of built-in values."""
    value = item.value
    if isinstance(value, dict):
        value = {key: _renamed(entry) for key, entry in value.items()}
    elif isinstance(value, list):
        value = [_renamed(entry) for entry in value]
    return replace(item, value=value, origin=BUILT_IN)


def _locks(item: Item) -> tuple[Item, ...]:
    locked = item.value.get("locked") if isinstance(item.value, dict) else None
    return tuple(locked.value) if locked and isinstance(locked.value, list) else ()


def _merge(below: Item, above: Item, locks: tuple[Item, ...]) -> Item:
    """Merge ``above`` over ``below``: mappings key by key, everything else whole. A key without a
    value, such as one with all keys below it commented out, changes nothing.
    """
    both = isinstance(below.value, dict) and isinstance(above.value, dict)
    if isinstance(below.value, dict) and above.value is None:
        return below
    for lock in locks:
        # Replacing a mapping whole would remove a locked key in it.
        inside = isinstance(below.value, dict) and not both
        if above.path == lock.value or (inside and str(lock.value).startswith(f"{above.path}.")):
            why = f"{lock.value} is locked by {lock.origin}"
            raise above.error(why, "remove it from your file")
    if not both:
        return above
    value = dict(below.value)
    for key, entry in above.value.items():
        nothing = Item({} if isinstance(entry.value, dict) else None, entry.path, "")
        value[key] = _merge(value.get(key, nothing), entry, locks)
    return Item(value, above.path, above.origin)


_Stamp = tuple[int, int, int]


class ConfigWatch:
    """Loads the configuration again when one of ``files`` has changed."""

    def __init__(self, load: Callable[[], Config], files: Sequence[Path]) -> None:
        self._load = load
        self._files = tuple(files)
        self._stamps = self._stat()

    def changed(self) -> Config | None:
        """Return the new configuration, or None if no file has changed.

        Raises ConfigError or UsageError, once for each change, if it is wrong; the old one stays
        active.
        """
        stamps = self._stat()
        if stamps == self._stamps:
            return None
        self._stamps = stamps
        return self._load()

    def _stat(self) -> tuple[_Stamp | None, ...]:
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: Path) -> _Stamp | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
