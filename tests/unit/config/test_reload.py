"""A changed config is noticed once, and a wrong one reported once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vizdash.config import load
from vizdash.config.load import ConfigWatch, config_files
from vizdash.errors import ConfigError


def test_a_change_is_seen_once(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("ui: {theme: dark}\n")
    watch = ConfigWatch(lambda: load(path=str(file), environ={})[0], (file,))
    assert watch.changed() is None
    file.write_text("ui: {theme: light, keys: {stop: [X, f9], sort: []}}\n")
    config = watch.changed()
    assert config is not None
    assert config.ui.theme == "light"
    assert config.ui.keys == {"stop": ("X", "f9"), "sort": ()}
    assert watch.changed() is None


def test_a_wrong_config_is_reported_once_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("")
    watch = ConfigWatch(lambda: load(path=str(file), environ={})[0], (file,))
    file.write_text("ui:\n  theem: dark\n")
    with pytest.raises(ConfigError, match=r"config\.yaml:2: ui\.theem: no such key .*'theme'"):
        watch.changed()
    assert watch.changed() is None


def test_a_file_that_comes_and_goes(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    loaded = []
    config = load(environ={"VIZDASH_CONFIG": os.devnull})[0]
    watch = ConfigWatch(lambda: loaded.append(1) or config, (file,))  # type: ignore[func-returns-value]
    file.write_text("{}")
    assert watch.changed()
    file.unlink()
    assert watch.changed()
    assert len(loaded) == 2


def test_the_files_that_are_watched(tmp_path: Path) -> None:
    site, own = config_files(str(tmp_path / "x.yaml"), {})
    assert (str(site), own) == ("/etc/vizdash/config.yaml", tmp_path / "x.yaml")
    assert config_files("", {"VIZDASH_CONFIG": "/y.yaml"})[1] == Path("/y.yaml")
