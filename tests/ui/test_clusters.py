"""Switching between the dashboards of several clusters, and what ends with each."""

from __future__ import annotations

import gc
import sys
from collections.abc import Awaitable, Callable
from functools import partialmethod
from importlib import import_module
from pathlib import Path
from typing import cast

import pytest
from textual.widgets import OptionList

from tests.ui.pilot import AnyPilot, begin, press, sees, settled, toasts, until
from vizdash.cli.program import main
from vizdash.ui.app import VizdashApp
from vizdash.ui.screens.clusters import ClustersScreen

#: The toast after a change of the config.
ACTIVE = "the changed config is active"
Script = Callable[[AnyPilot], Awaitable[None]]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's file, with two clusters that are this machine."""
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

    async def act(pilot: AnyPilot) -> None:
        await left.pop(0)(pilot)

    run = partialmethod(VizdashApp.run_async, headless=True, size=(80, 24), auto_pilot=act)
    with monkeypatch.context() as patch:
        patch.setattr(VizdashApp, "run_async", run)
        patch.setattr(sys, "argv", ["vizdash"])
        patch.setattr(sys.stdin, "isatty", lambda: True)
        patch.setattr(sys.stdout, "isatty", lambda: True)
        try:
            main()
        except SystemExit as e:
            assert gc.isenabled()
            assert not left
            return int(e.code or 0)
    assert gc.isenabled()
    assert not left
    return 0


async def reload(pilot: AnyPilot, config: Path, text: str, expected: str = ACTIVE) -> None:
    """Change the config, and wait for its toast."""
    config.write_text(text)
    cast("VizdashApp", pilot.app).controllers.config.check()
    await until(pilot, lambda: expected in toasts(pilot), expected)
    await settled(pilot)


async def go(pilot: AnyPilot, name: str) -> None:
    """To another cluster of the config."""
    await press(pilot, "at")
    await until(pilot, lambda: isinstance(pilot.app.screen, ClustersScreen))
    names = pilot.app.screen.query_one(OptionList)
    names.highlighted = names.get_option_index(name)
    await pilot.press("enter")


async def quit_app(pilot: AnyPilot) -> None:
    await begin(pilot)
    pilot.app.exit()


def test_who_leaves_ends_well(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dashboards(monkeypatch, quit_app) == 0


def test_a_dashboard_that_crashed_is_a_failure(
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    logged: list[str],
) -> None:
    async def crash(pilot: AnyPilot) -> None:
        await begin(pilot)
        for _ in range(50):  # one alone it survives
            pilot.app.call_later(lambda: 1 // 0)

    assert dashboards(monkeypatch, crash) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert all("ZeroDivisionError" in entry for entry in logged)
    logged.clear()


def test_a_cluster_that_was_added_meanwhile_can_be_gone_to(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def add(pilot: AnyPilot) -> None:
        await begin(pilot)
        await reload(pilot, config, "clusters: {one: {engine: local}, new: {engine: local}}\n")
        await go(pilot, "new")

    async def there(pilot: AnyPilot) -> None:
        await begin(pilot)
        await until(pilot, lambda: sees(pilot, "new"))
        pilot.app.exit()

    assert dashboards(monkeypatch, add, there) == 0


def test_what_was_changed_at_one_cluster_holds_at_the_others(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def to_two(pilot: AnyPilot) -> None:
        await begin(pilot)
        await go(pilot, "two")

    async def reload_and_switch(pilot: AnyPilot) -> None:
        await begin(pilot)
        new = "{one: {engine: slurm, image_root: /new}, two: {engine: local}}"
        await reload(pilot, config, f"clusters: {new}\n")
        await go(pilot, "one")

    async def back(pilot: AnyPilot) -> None:
        await begin(pilot)
        cluster = cast("VizdashApp", pilot.app).service.config.cluster
        assert (cluster.name, cluster.image_root, cluster.engine) == ("one", "/new", "local")
        message = f"{ACTIVE}, except clusters.one.engine (restart vizdash)"
        assert toasts(pilot) == [message]
        pilot.app.exit()

    assert dashboards(monkeypatch, to_two, reload_and_switch, back) == 0


def test_a_start_reports_no_changed_config(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(pilot: AnyPilot) -> None:
        await begin(pilot)
        cast("VizdashApp", pilot.app).controllers.config.check()
        await settled(pilot)
        assert not [note for note in toasts(pilot) if "config" in note]
        pilot.app.exit()

    assert dashboards(monkeypatch, start) == 0


def test_a_cluster_that_is_gone_from_the_config_stays_on_the_screen(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rename(pilot: AnyPilot) -> None:
        await begin(pilot)
        message = f"{ACTIVE}, except clusters.one (restart vizdash)"
        await reload(pilot, config, "clusters: {two: {engine: local}}\n", message)
        await press(pilot, "at")
        assert sees(pilot, "● one", "two")
        await press(pilot, "escape")
        await go(pilot, "two")

    assert dashboards(monkeypatch, rename, quit_app) == 0


def test_a_cluster_removed_while_it_is_chosen_is_reported(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def choose(pilot: AnyPilot) -> None:
        await begin(pilot)
        await press(pilot, "at")
        await reload(pilot, config, "clusters: {one: {engine: local}}\n")
        await press(pilot, "down", "enter")
        assert "the config has no cluster two any more" in toasts(pilot)
        pilot.app.exit()

    assert dashboards(monkeypatch, choose) == 0
