"""Turns merged configuration files into a Config, with the chosen cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vizdash.config import key_declaration
from vizdash.config.model import HERE, Cluster, Config, ConfigFile
from vizdash.config.readers import HOST, Item, nearest
from vizdash.errors import UsageError


def key_paths() -> Iterator[str]:
    """The path of every key that holds a value: ``clusters.*.deploy.mode``."""
    return key_declaration.key_paths(key_declaration.keys_of(ConfigFile))


def make_config(item: Item, cluster: str = "", host: str = "") -> Config:
    """Read the merged files, and choose ``cluster`` (empty: the default one), reached by SSH at
    ``host`` if that is given.

    Raises ConfigError for a bad value and UsageError for an unknown cluster.
    """
    file = ConfigFile(**key_declaration.read_values(item, ConfigFile))
    clusters = dict(file.clusters) or {HERE: Cluster(HERE)}
    default = file.default_cluster or next(iter(clusters))
    if host:
        clusters, cluster = _choose_by_host(clusters, cluster, default, host)
    wanted = cluster or default
    if wanted not in clusters:
        why, hint = f"cluster {wanted!r}", nearest(wanted, tuple(clusters))
        if not cluster:
            raise item.value["default_cluster"].error(f"{why} is not in the config", hint)
        raise UsageError(why, "not in the config", hint)
    return Config(
        cluster=clusters[wanted],
        clusters=clusters,
        apps=file.apps,
        read_only=file.read_only,
        ui=file.ui,
    )


def _choose_by_host(
    clusters: dict[str, Cluster], cluster: str, default: str, host: str
) -> tuple[dict[str, Cluster], str]:
    """Return the clusters and the name of the one for ``--host``: the named one, one with this
    host, the default one if it has none, or a new one.
    """
    if not HOST.fullmatch(host):
        raise UsageError(
            f"host {host!r}", "that is not a host name", "write e.g. me@login.example.org"
        )
    same = (name for name, one in clusters.items() if one.host == host)
    name = cluster or next(same, "")
    if not name and default in clusters and default != HERE and not clusters[default].host:
        name = default
    if not name:
        name = host.rpartition("@")[2]
        name = name[1:-1] if name.endswith("]") else name
        clusters = {**clusters, name: Cluster(name)}
    if name in clusters:
        clusters = {**clusters, name: replace(clusters[name], host=host)}
    return clusters, name
