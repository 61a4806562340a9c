"""The dashboards that one vizdash shows after another, and how it ends with them."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partialmethod
from importlib import import_module
from pathlib import Path
from typing import cast

import pytest
from textual.widgets import OptionList

from tests.ui.drive import AnyPilot, begin, press, sees, settled, toasts, until
from vizdash.cli import main
from vizdash.ui.app import VizdashApp
from vizdash.ui.screens.clusters import ClustersScreen

#: What is told of a changed config.
IN_FORCE = "the changed config is in force"
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


async def reload(pilot: AnyPilot, config: Path, text: str, told: str = IN_FORCE) -> None:
    """Change the config, and wait until that is told."""
    config.write_text(text)
    cast("VizdashApp", pilot.app)._look_at_config()
    await until(pilot, lambda: told in toasts(pilot), told)
    await settled(pilot)


async def go(pilot: AnyPilot, name: str) -> None:
    """To another cluster of the config."""
    await press(pilot, "at")
    await until(pilot, lambda: isinstance(pilot.app.screen, ClustersScreen))
    names = pilot.app.screen.query_one(OptionList)
    names.highlighted = names.get_option_index(name)
    await pilot.press("enter")


async def leave(pilot: AnyPilot) -> None:
    await begin(pilot)
    pilot.app.exit()


def test_who_leaves_ends_well(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dashboards(monkeypatch, leave) == 0


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

    async def change(pilot: AnyPilot) -> None:
        await begin(pilot)
        new = "{one: {engine: slurm, image_root: /new}, two: {engine: local}}"
        await reload(pilot, config, f"clusters: {new}\n")
        await go(pilot, "one")

    async def back(pilot: AnyPilot) -> None:
        await begin(pilot)
        cluster = cast("VizdashApp", pilot.app)._service.config.cluster
        assert (cluster.name, cluster.image_root, cluster.engine) == ("one", "/new", "local")
        told = f"{IN_FORCE}, but for clusters.one.engine (start vizdash anew)"
        assert toasts(pilot) == [told]
        pilot.app.exit()

    assert dashboards(monkeypatch, to_two, change, back) == 0


def test_a_cluster_that_is_gone_from_the_config_stays_on_the_screen(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rename(pilot: AnyPilot) -> None:
        await begin(pilot)
        told = f"{IN_FORCE}, but for clusters.one (start vizdash anew)"
        await reload(pilot, config, "clusters: {two: {engine: local}}\n", told)
        await press(pilot, "at")
        assert sees(pilot, "● one", "two")
        await press(pilot, "escape")
        await go(pilot, "two")

    assert dashboards(monkeypatch, rename, leave) == 0


def test_a_cluster_that_went_while_it_was_chosen_is_told(
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
