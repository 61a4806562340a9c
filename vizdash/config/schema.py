"""Which keys there are, and how a merged tree becomes a Config."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from vizdash.config import fields as f
from vizdash.config.fields import Item, Reader
from vizdash.config.model import HERE, App, Build, Cluster, Config, Deploy, Ui
from vizdash.errors import UsageError
from vizdash.model import Resources

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")

_RESOURCES: dict[str, Reader] = {
    "cores": f.positive,
    "memory": f.memory,
    "gpus": f.integer,
    "time": f.duration,
}


def _resources(item: Item) -> dict[str, int]:
    names = {"cores": "cores", "memory": "memory_mib", "gpus": "gpus", "time": "time_s"}
    return {names[key]: value for key, value in f.mapping(item, _RESOURCES).items()}


def _named(item: Item, what: str) -> dict[str, Item]:
    """A mapping's entries; their names stand in file names, comments and paths of keys."""
    found = f.entries(item)
    for name, entry in found.items():
        if not _NAME.fullmatch(name):
            raise entry.error(f"{what}'s name is made of letters, digits, '_' and '-'")
    return found


def _presets(item: Item) -> dict[str, dict[str, int]]:
    return {name: _resources(entry) for name, entry in _named(item, "a preset").items()}


_APP: dict[str, Reader] = {
    "title": f.text,
    "kind": f.choice("vizdash", "legacy"),
    "runtime": f.choice("auto", "apptainer", "host"),
    "image": f.text,
    "command": f.text,
    "host_command": f.text,
    "ends_with": f.choice("process", "windows"),
    "script": f.text,
    "vnc_password": f.text,
    "resources": _resources,
    "presets": _presets,
    "geometry": f.geometry,
    "binds": f.texts,
    "environment": f.environment,
    "modules": f.texts,
}

_BUILD: dict[str, Reader] = {
    "where": f.text,
    "definitions": f.text,
    "arguments": f.text_map,
    "options": f.texts,
    "tmpdir": f.text,
    "resources": _resources,
}


def _build(item: Item) -> Build:
    values: dict[str, Any] = f.mapping(item, _BUILD)
    wanted = values.pop("resources", {})
    return Build(resources=replace(Build().resources, **wanted), **values)


_OWNER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*:[A-Za-z_][A-Za-z0-9_.-]*")
_MODE = re.compile(r"0?[4-7][0-7][0-7]")


def _owner(item: Item) -> str:
    if not _OWNER.fullmatch(value := f.text(item)):
        raise item.error(f"{value!r} is no owner", "write USER:GROUP, e.g. root:root")
    return value


def _mode(item: Item) -> str:
    # YAML 1.1 reads 0644 as an octal number: both writings mean the same.
    value = f"{item.value:04o}" if isinstance(item.value, int) else f.text(item)
    if isinstance(item.value, bool) or not _MODE.fullmatch(value):
        raise item.error(f"{item.value!r} is no file mode", "write e.g. '0644'")
    return value


_DEPLOY: dict[str, Reader] = {
    "method": f.choice("auto", "rsync", "chain", "shared"),
    "user": f.text,
    "sudo": f.choice("auto", "always", "never"),
    "owner": _owner,
    "mode": _mode,
    "at_once": f.positive,
    "signed": f.flag,
    "inventory": f.text,
    "mounted_on": f.text,
    "admins": f.texts,
}


def _deploy(item: Item) -> Deploy:
    return Deploy(**f.mapping(item, _DEPLOY))


def _host(item: Item) -> str:
    """A login host. One that begins with a dash would be an option somewhere."""
    value = f.text(item)
    if not HOST.fullmatch(value):
        raise item.error(f"{value!r} is no host", "write e.g. me@login.example.org")
    return value


HOST = re.compile(
    r"(?:[^\s@:/-][^\s@:/]*@)?(?:[^\s@:/\[-][^\s@:/]*|\[[0-9a-fA-F:.%]+\])(?::\d{1,5})?"
)

_CLUSTER: dict[str, Reader] = {
    "engine": f.choice("auto", "slurm", "local"),
    "host": _host,
    "ssh": f.choice("auto", "openssh", "builtin"),
    "forward_agent": f.flag,
    "tunnel": f.choice("auto", "ssh", "srun", "hop"),
    "partition": f.text,
    "account": f.text,
    "qos": f.text,
    "memory_request": f.choice("mem", "mem-per-cpu", "none"),
    "route": f.choice("tunnel", "direct"),
    "handoff_host": f.text,
    "ports": f.ports,
    "image_root": f.folder,
    "image_store": f.text,
    "audit_log": f.text,
    "build": _build,
    "deploy": _deploy,
    "job_scripts": f.text,
    "state_dir": f.state_dir,
    "ready_timeout": f.span,
    "refresh": f.span,
    "binds": f.texts,
    "environment": f.environment,
    "modules": f.texts,
}


def _app(name: str, item: Item) -> App:
    values: dict[str, Any] = f.mapping(item, _APP)
    resources = Resources(**values.pop("resources", {}))
    presets = {
        preset: Resources(**{**_as_dict(resources), **wanted})
        for preset, wanted in values.pop("presets", {}).items()
    }
    values.setdefault("title", name)
    return App(name=name, resources=resources, presets=presets, **values)


def _as_dict(resources: Resources) -> dict[str, int]:
    return {
        "cores": resources.cores,
        "memory_mib": resources.memory_mib,
        "gpus": resources.gpus,
        "time_s": resources.time_s,
    }


def _apps(item: Item) -> dict[str, App]:
    """``app: false`` takes a built-in app out of the catalogue."""
    return {
        name: _app(name, entry)
        for name, entry in _named(item, "an app").items()
        if entry.value is not False
    }


def _cluster(name: str, item: Item) -> Cluster:
    values: dict[str, Any] = f.mapping(item, _CLUSTER)
    for short in ("ready_timeout", "refresh"):
        if short in values:
            values[f"{short}_s"] = values.pop(short)
    return Cluster(name=name, **values)


def _clusters(item: Item) -> dict[str, Cluster]:
    return {name: _cluster(name, entry) for name, entry in _named(item, "a cluster").items()}


def _locked(item: Item) -> tuple[str, ...]:
    """Paths of keys. One that isn't there would lock nothing."""
    paths = f.texts(item)
    for path, entry in zip(paths, item.value, strict=True):
        below: Mapping[str, Any] = _TOP
        for word in path.split("."):
            if "*" not in below and word not in below:
                raise entry.error(f"no such key: {path}", f.nearest(word, tuple(below)))
            below = _below(below.get(word, below.get("*")))
    return paths


def _keys(item: Item) -> dict[str, tuple[str, ...]]:
    """A key or a list of keys for each action; whether the action is there is told later."""
    return {
        action: f.texts(entry) if isinstance(entry.value, list) else (f.text(entry),)
        for action, entry in f.entries(item).items()
    }


_UI: dict[str, Reader] = {
    "theme": f.choice("dark", "light", "contrast"),
    "bell": f.flag,
    "notify": f.flag,
    "title": f.flag,
    "preview": f.flag,
    "keys": _keys,
}


def _ui(item: Item) -> Ui:
    found = Ui(**f.mapping(item, _UI))
    keys = f.entries(item).get("keys")
    places = {name: entry.origin for name, entry in f.entries(keys).items()} if keys else {}
    return replace(found, keys_from=places)


_TOP: dict[str, Reader] = {
    "clusters": _clusters,
    "default_cluster": f.text,
    "apps": _apps,
    "read_only": f.flag,
    "ui": _ui,
    "locked": _locked,
}

#: What lies below a key; ``*`` stands for names of the user's choice.
_BELOW: dict[Reader, Mapping[str, Any]] = {
    _resources: _RESOURCES,
    _presets: {"*": _RESOURCES},
    _build: _BUILD,
    _deploy: _DEPLOY,
    _apps: {"*": _APP},
    _ui: _UI,
    _keys: {"*": f.texts},
    _clusters: {"*": _CLUSTER},
    f.text_map: {"*": f.text},
    f.environment: {"*": f.text},
}


def _below(reader: Any) -> Mapping[str, Any]:
    """The keys below one: none for a value."""
    return reader if isinstance(reader, Mapping) else _BELOW.get(reader, {})


def key_paths(below: Mapping[str, Any] = _TOP, path: str = "") -> Iterator[str]:
    """The path of every key that holds a value: ``clusters.*.deploy.mode``."""
    for name, reader in below.items():
        here = f"{path}.{name}" if path else name
        if deeper := _below(reader):
            yield from key_paths(deeper, here)
        else:
            yield here


def _reached(
    clusters: dict[str, Cluster], cluster: str, default: str, host: str
) -> tuple[dict[str, Cluster], str]:
    """The clusters and the chosen one for ``--host``: the named one, one of this host, the
    default one if it's this machine's, or a new one.
    """
    if not HOST.fullmatch(host):
        raise UsageError(f"host {host!r}", "that is no host", "write e.g. me@login.example.org")
    same = (name for name, one in clusters.items() if one.host == host)
    name = cluster or next(same, "")
    if not name and default in clusters and default != HERE and not clusters[default].host:
        name = default
    if not name:
        name = host.rpartition("@")[2].strip("[]")
        clusters = {**clusters, name: Cluster(name)}
    if name in clusters:
        clusters = {**clusters, name: replace(clusters[name], host=host)}
    return clusters, name


def config(item: Item, cluster: str = "", host: str = "") -> Config:
    """The typed configuration, with ``cluster`` (or the default one) chosen, reached by SSH at
    ``host`` when that's given.

    Raises ConfigError for a bad value and UsageError for a cluster that isn't there.
    """
    values: dict[str, Any] = f.mapping(item, _TOP)
    clusters: dict[str, Cluster] = values.get("clusters") or {HERE: Cluster(HERE)}
    default = values.get("default_cluster", "") or next(iter(clusters))
    if host:
        clusters, cluster = _reached(clusters, cluster, default, host)
    wanted = cluster or default
    if wanted not in clusters:
        why, hint = f"cluster {wanted!r}", f.nearest(wanted, tuple(clusters))
        if not cluster:
            raise item.value["default_cluster"].error(f"{why} is not in the config", hint)
        raise UsageError(why, "not in the config", hint)
    return Config(
        cluster=clusters[wanted],
        clusters=clusters,
        apps=values.get("apps", {}),
        read_only=values.get("read_only", False),
        ui=values.get("ui", Ui()),
    )
