"""Built-in, site, user, environment, flags: which layer wins, may be set, and is named."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from vizdash.config import Config, Explained, load
from vizdash.errors import ConfigError, UsageError

# vizdash.config has a function of the module's name.
module = import_module("vizdash.config.load")
Layers = Callable[..., tuple[Config, dict[str, Explained]]]


@pytest.fixture
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layers:
    """Load with a site's file and a user's."""
    site, user = tmp_path / "site.yaml", tmp_path / "user.yaml"
    monkeypatch.setattr(module, "SITE_FILE", site)
    monkeypatch.setattr(module, "user_file", lambda: user)

    def read(
        of_site: str = "", of_user: str = "", **flags: Any
    ) -> tuple[Config, dict[str, Explained]]:
        site.write_text(of_site)
        user.write_text(of_user)
        config, rows = load(**{"environ": {}, **flags})
        return config, {row.key: row for row in rows()}

    return read


SITE = """\
clusters:
  viz: {partition: viz, route: direct}
  old: {partition: vis, engine: slurm}
default_cluster: viz
"""


def test_the_users_value_wins_and_the_rest_stays(layers: Layers) -> None:
    config, _ = layers(SITE, "clusters: {viz: {account: physics}}\n")
    assert (config.cluster.partition, config.cluster.account) == ("viz", "physics")
    assert set(config.clusters) == {"viz", "old"}
    assert "desktop" in config.apps


def test_every_layer_is_named_by_explain(layers: Layers, tmp_path: Path) -> None:
    _, rows = layers(SITE, "\nclusters: {viz: {account: physics}}\n", read_only=True)
    assert rows["clusters.viz.partition"].origin == f"{tmp_path}/site.yaml:2"
    assert rows["clusters.viz.account"].origin == f"{tmp_path}/user.yaml:2"
    assert rows["read_only"] == Explained("read_only", "true", "--read-only")
    assert rows["apps.desktop.title"].origin == "built-in"
    # Also what no file names: the active value, in the config's own terms.
    assert rows["clusters.viz.refresh"] == Explained("clusters.viz.refresh", "10s", "built-in")
    assert rows["clusters.viz.ports"].value == "6080-6099"
    assert rows["apps.desktop.resources.gpus"].value == "0"
    assert list(rows) == sorted(rows)


def test_explain_knows_every_value_of_a_bare_config(layers: Layers) -> None:
    config, rows = layers()
    assert rows["default_cluster"].value == config.cluster.name == "here"
    assert rows["clusters.here.route"].value == "tunnel"
    # Tables with names of the user's choice are shown too while they are empty.
    assert rows["clusters.here.environment"].value == rows["apps.gedit.presets"].value == ""
    assert "locked" in rows
    assert "apps.desktop.presets" not in rows
    assert rows["apps.desktop.presets.small.cores"].value == "1"


def test_passwords_are_not_explained(layers: Layers) -> None:
    _, rows = layers("", "apps: {old: {kind: legacy, vnc_password: tops3cret}}\n")
    assert "tops3cret" not in str(rows)


def test_environment_below_flags(layers: Layers) -> None:
    environ = {"VIZDASH_CLUSTER": "old", "VIZDASH_READ_ONLY": "1"}
    config, rows = layers(SITE, "", environ=environ)
    assert (config.cluster.name, config.read_only) == ("old", True)
    assert rows["default_cluster"] == Explained("default_cluster", "old", "VIZDASH_CLUSTER")
    config, rows = layers(SITE, "", environ=environ, cluster="viz")
    assert config.cluster.name == "viz"
    assert rows["default_cluster"].origin == "--cluster"


@pytest.mark.parametrize("value", ["", "0"])
def test_read_only_is_off(layers: Layers, value: str) -> None:
    assert layers(environ={"VIZDASH_READ_ONLY": value})[0].read_only is False


def test_another_file_replaces_the_users_but_not_the_sites(layers: Layers, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("clusters: {viz: {qos: high}}\n")
    config, _ = layers(SITE, "clusters: {viz: {account: physics}}\n", path=str(other))
    assert (config.cluster.qos, config.cluster.account) == ("high", "")
    assert config.cluster.partition == "viz"


def test_a_missing_named_file_is_wrong_use(layers: Layers) -> None:
    with pytest.raises(UsageError, match="no such config file"):
        layers(path="/nonexistent/config.yaml")
    with pytest.raises(UsageError, match="no such home folder"):
        layers(path="~nobody-of-this-name/config.yaml")


def test_an_unknown_cluster_names_the_nearest(layers: Layers) -> None:
    with pytest.raises(UsageError, match="did you mean 'viz'"):
        layers(SITE, cluster="viiz")
    with pytest.raises(ConfigError, match=r"user.yaml:2: default_cluster: .*mean 'viz'"):
        layers(SITE, "\ndefault_cluster: viiz\n")


def test_a_built_in_app_can_be_taken_out(layers: Layers) -> None:
    assert "gedit" not in layers("", "apps: {gedit: false}\n")[0].apps


@pytest.mark.parametrize("empty", ["apps:\n", "apps:\n  gedit:\n", "clusters:\n"])
def test_a_key_whose_values_are_commented_out_takes_nothing_away(
    layers: Layers, empty: str
) -> None:
    assert "gedit" in layers(SITE, empty)[0].apps
    assert layers(SITE, empty)[0].cluster.partition == "viz"


@pytest.mark.parametrize(
    ("locked", "user"),
    [
        ("clusters.viz.route", "clusters: {viz: {route: tunnel}}"),
        ("clusters.viz.account", "clusters: {viz: {account: x}}"),  # not even set by the site
        ("clusters.viz", "clusters: {viz: {account: x}}"),
        ("clusters", "clusters: {mine: {}}"),
        ("apps.desktop.binds", "apps: {desktop: {binds: [/]}}"),
        ("apps.desktop.binds", "apps: {desktop: false}"),
        ("clusters.viz.route", "clusters: false"),
        ("clusters.viz.deploy.mode", "clusters: {viz: {deploy: {mode: '0777'}}}"),
        ("locked", "locked: []"),
        ("read_only", "read_only: false"),
    ],
)
def test_a_locked_key_stays(layers: Layers, locked: str, user: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        layers(SITE + f"locked: [{locked}]\n", f"\n{user}\n")
    assert f"{tmp_path}/user.yaml:2" in error.value.line
    assert f"{locked} is locked by {tmp_path}/site.yaml:5" in error.value.line
    assert "(remove it from your file)" in error.value.line


def test_a_lock_leaves_other_keys_alone(layers: Layers) -> None:
    site = SITE + "locked: [clusters.viz.route]\n"
    user = "clusters: {viz: {account: physics}, mine: {route: tunnel}}\nlocked: []\n"
    assert layers(site, user)[0].cluster.account == "physics"


@pytest.mark.parametrize(
    ("locked", "hint"),
    [("clusters.viz.rout", "did you mean 'route'"), ("cluster.viz", "did you mean 'clusters'")],
)
def test_a_lock_on_nothing_is_refused(layers: Layers, locked: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        layers(SITE + f"locked: [{locked}]\n")


def test_the_users_own_file_is_where_the_platform_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/x")
    assert module.user_file() == Path("/x/vizdash/config.yaml")
