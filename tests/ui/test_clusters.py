"""The dashboards that one vizdash shows after another, and how it ends with them."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partialmethod
from importlib import import_module
from pathlib import Path

import pytest

from tests.ui.drive import AnyPilot, begin
from vizdash.cli import main
from vizdash.ui.app import VizdashApp

Script = Callable[[AnyPilot], Awaitable[None]]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This person's file, with two clusters that are this machine."""
    for name in ("CONFIG", "STATE", "CACHE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("VIZDASH_CONFIG", "VIZDASH_CLUSTER", "VIZDASH_HOST", "VIZDASH_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(import_module("vizdash.config.load"), "SITE_FILE", tmp_path / "none")
    file = tmp_path / "config" / "vizdash" / "config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("clusters: {one: {engine: local}, two: {engine: local}}\n")
    return file


def dashboards(monkeypatch: pytest.MonkeyPatch, *scripts: Script) -> int:
    """vizdash without a terminal: each dashboard in turn is driven by a script. The exit code."""
    left = list(scripts)

    async def drive(pilot: AnyPilot) -> None:
        await left.pop(0)(pilot)

    run = partialmethod(VizdashApp.run_async, headless=True, size=(80, 24), auto_pilot=drive)
    with monkeypatch.context() as patch:
        patch.setattr(VizdashApp, "run_async", run)
        patch.setattr(sys, "argv", ["vizdash"])
        patch.setattr(sys.stdin, "isatty", lambda: True)
        patch.setattr(sys.stdout, "isatty", lambda: True)
        try:
            main()
        except SystemExit as e:
            assert not left
            return int(e.code or 0)
    assert not left
    return 0


async def leave(pilot: AnyPilot) -> None:
    await begin(pilot)
    pilot.app.exit()


def test_who_leaves_ends_well(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dashboards(monkeypatch, leave) == 0


def test_a_dashboard_that_crashed_is_a_failure(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def crash(pilot: AnyPilot) -> None:
        await begin(pilot)
        pilot.app.call_later(lambda: 1 // 0)

    assert dashboards(monkeypatch, crash) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
