"""The keys of a deploy: how images get to nodes, and who may bring them."""

from pathlib import Path

import pytest

from vizdash.config import Config, load
from vizdash.errors import ConfigError


def of(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "config.yaml"
    file.write_text(f"clusters:\n  viz:\n    deploy: {text}\n")
    return load(path=str(file), environ={})[0]


def test_values(tmp_path: Path) -> None:
    found = of(tmp_path, "{method: chain, user: vizadmin, owner: viz:viz, at_once: 3}")
    deploy = found.cluster.deploy
    assert (deploy.method, deploy.user, deploy.owner, deploy.at_once) == (
        "chain",
        "vizadmin",
        "viz:viz",
        3,
    )


@pytest.mark.parametrize("written", ["0640", "'0640'", "'640'"])
def test_a_mode_means_the_same_with_and_without_quotes(tmp_path: Path, written: str) -> None:
    mode = of(tmp_path, f"{{mode: {written}}}").cluster.deploy.mode
    assert int(mode, 8) == 0o640


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{mode: rw}", "not a file mode"),
        ("{mode: true}", "not a file mode"),
        ("{owner: root}", "write USER:GROUP"),
        ("{owner: '$(id):x'}", "not an owner"),
        ("{method: ftp}", "none of auto, rsync, chain, shared"),
        ("{at_once: 0}", "1 or more"),
        ("{metod: rsync}", "did you mean 'method'"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as error:
        of(tmp_path, text)
    assert "config.yaml:3" in error.value.line
