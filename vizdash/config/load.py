"""Reads and merges configuration files; every value knows where it came from."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import platformdirs
import yaml

from vizdash.config import schema
from vizdash.config.explain import BUILT_IN, Explained, explain
from vizdash.config.fields import Item
from vizdash.config.model import Config
from vizdash.config.tree import Tree
from vizdash.errors import ConfigError, UsageError

__all__ = ["Explained", "config_files", "load", "read_file", "user_file"]

SITE_FILE = Path("/etc/vizdash/config.yaml")
_DEFAULTS = Path(__file__).with_name("defaults.yaml")
#: Bytes: more than any honest file has.
_LARGEST = 4 << 20


def user_file() -> Path:
    """The user's own file (platformdirs: ~/.config/vizdash/config.yaml on Linux)."""
    return Path(platformdirs.user_config_dir("vizdash")) / "config.yaml"


def config_files(path: str = "", environ: Mapping[str, str] = os.environ) -> tuple[Path, Path]:
    """The site's file and the one that counts as the user's own."""
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
    """Read every layer. ``path`` (or VIZDASH_CONFIG) stands in for the user's own file. The second
    of what it returns explains where each value came from.

    Raises ConfigError naming file, line, key and the mend; UsageError for an unknown cluster.
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
    config = schema.config(merged, wanted, login)
    if login:
        name = config.cluster.name
        over[f"clusters.{name}.host"] = (login, "--host" if host else "VIZDASH_HOST")
    if read_only or environ.get("VIZDASH_READ_ONLY", "") not in {"", "0"}:
        over["read_only"] = ("true", "--read-only" if read_only else "VIZDASH_READ_ONLY")
        config = replace(config, read_only=True)
    return config, partial(explain, merged, config, over)


def read_file(path: Path, *, needed: bool = False) -> Item | None:
    """One file as an Item tree; None when it isn't there and needn't be."""
    try:
        source = _read(path.expanduser())
    except FileNotFoundError as e:
        if needed:
            raise UsageError(str(path), "no such config file", "see --config") from e
        return None
    except OSError as e:
        raise ConfigError(str(path), e.strerror or str(e)) from e
    except UnicodeDecodeError as e:
        raise ConfigError(str(path), "it is not UTF-8 text", "save it as UTF-8") from e
    except RuntimeError as e:  # ~name of nobody
        raise UsageError(str(path), "no such home folder", "see --config") from e
    try:
        root = yaml.compose(source, Loader=yaml.SafeLoader)
        return Item({}, "", str(path)) if root is None else Tree(str(path)).item(root)
    except yaml.reader.ReaderError as e:
        line = source.count("\n", 0, e.position) + 1
        why = f"character {e.character:#x} may not stand in YAML"
        raise ConfigError(f"{path}:{line}", why, "take it out") from e
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{path}:{line}", e.problem or "not YAML", "check the YAML") from e
    except RecursionError as e:
        raise ConfigError(str(path), "it is nested too deeply", "check the YAML") from e


def _read(path: Path) -> str:
    """The text of a regular file or /dev/null.

    Raises OSError, UnicodeDecodeError and, for anything else, ConfigError.
    """
    # A FIFO would be waited for.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not (stat.S_ISREG(os.fstat(file.fileno()).st_mode) or path.samefile(os.devnull)):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            raise ConfigError(str(path), "it is no regular file", "name a YAML file")
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ConfigError(str(path), f"it is larger than {_LARGEST >> 20} MiB", "is it a config?")
    return data.decode()


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
    return replace(item, value=value, origin=BUILT_IN)


def _locks(item: Item) -> tuple[Item, ...]:
    locked = item.value.get("locked") if isinstance(item.value, dict) else None
    return tuple(locked.value) if locked and isinstance(locked.value, list) else ()


def _merge(below: Item, above: Item, locks: tuple[Item, ...]) -> Item:
    """``above`` over ``below``: mappings key by key, everything else whole. A key without a
    value (all below it is commented out) says nothing.
    """
    both = isinstance(below.value, dict) and isinstance(above.value, dict)
    if isinstance(below.value, dict) and above.value is None:
        return below
    for lock in locks:
        # A mapping that is replaced whole takes away what is locked in it.
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
