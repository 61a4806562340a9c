"""config.example.yaml documents every key there is, and no other."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from vizdash.config import Config, load, schema
from vizdash.config.example import write_example
from vizdash.config.key_declaration import find_key, keys_of
from vizdash.config.model import ConfigFile

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"
#: A line that sets something; every other line is prose also when its "# " is taken away.
_SETTING = re.compile(r"# ( *[\w-]+:(?: .*)?)")


@pytest.fixture
def uncommented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(import_module("vizdash.config.load"), "SITE_FILE", tmp_path / "none")
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    text = "\n".join(m[1] if (m := _SETTING.fullmatch(line)) else line for line in lines)
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def pattern(key: str) -> str:
    """``clusters.viz.route`` -> ``clusters.*.route``, as schema.key_paths writes it."""
    words = key.split(".")
    if words[0] in {"clusters", "apps"}:
        words[1] = "*"
    if NAMED.intersection(words):
        words[next(i for i, w in enumerate(words) if w in NAMED) + 1] = "*"
    return ".".join(words)


NAMED = {"presets", "environment", "arguments", "keys"}


def test_it_is_written_from_the_declared_keys() -> None:
    """After a change of a key: python -m vizdash.config.example >config.example.yaml."""
    assert EXAMPLE.read_text(encoding="utf-8") == write_example()


def test_every_key_has_a_help() -> None:
    for path in schema.key_paths():
        found = find_key(keys_of(ConfigFile), path)
        assert found is not None and found.help.endswith("."), path


def test_it_loads(uncommented: Path) -> None:
    config, _ = load(path=str(uncommented), environ={})
    assert config.cluster.name == "viz"
    assert config.cluster.ports == (6080, 6099)
    assert config.apps["old-gedit"].kind == "legacy"


def test_every_key_stands_in_it(uncommented: Path) -> None:
    rows = load(path=str(uncommented), environ={})[1]()
    here = {pattern(row.key) for row in rows if row.origin.startswith(str(uncommented))}
    assert set(schema.key_paths()) - here == set()


def test_as_it_comes_it_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("vizdash.config.load"), "SITE_FILE", tmp_path / "none")
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    configs: list[Config] = [load(path=str(p), environ={})[0] for p in (EXAMPLE, empty)]
    assert configs[0] == configs[1]


def test_the_defaults_it_names_are_the_defaults(uncommented: Path) -> None:
    """Where the example shows a default as its value, the code must agree."""
    shown, _ = load(path=str(uncommented), environ={})
    default = load(path=str(EXAMPLE), environ={})[0].cluster
    for name in ("engine", "route", "ports", "image_root", "audit_log", "job_scripts"):
        assert getattr(shown.cluster, name) == getattr(default, name), name
    assert shown.cluster.deploy == default.deploy
    assert shown.cluster.build.resources == default.build.resources
    assert (shown.cluster.refresh_s, shown.cluster.ready_timeout_s) == (
        default.refresh_s,
        default.ready_timeout_s,
    )
