from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.unit.cli.console_script import Vizdash


@pytest.fixture
def vizdash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Vizdash:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "VIZDASH_CONFIG", "VIZDASH_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr("vizdash.util.command_log._LAST_S", 60.0)
    monkeypatch.setattr(import_module("vizdash.config.load"), "SITE_FILE", tmp_path / "none")
    return Vizdash(tmp_path, capsys)
