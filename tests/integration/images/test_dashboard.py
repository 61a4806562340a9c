"""The dashboard's deploy, rollback and matrix, on this machine's own image root."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.widgets import Input, Static

from tests.processes import has_ended
from tests.unit.images import recorded_images
from vizdash.cli.prompt import TerminalPrompter
from vizdash.config import load
from vizdash.service.factory import connect
from vizdash.service.image_admin import ImageAdmin
from vizdash.ui.app import VizdashApp
from vizdash.ui.pending_service import ControllerOptions
from vizdash.ui.screens.change_progress import ChangeProgressScreen
from vizdash.ui.screens.confirm import ConfirmScreen
from vizdash.ui.screens.deploy import DeployScreen
from vizdash.ui.screens.image_matrix import ImageMatrixScreen
from vizdash.ui.widgets.chips import Chips

CONFIG = """
clusters:
  here:
    engine: local
    image_root: {folder}/root
    image_store: {folder}/store
    audit_log: {folder}/audit.jsonl
    deploy: {{sudo: never}}
"""


async def until(pilot: object, met: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + 180
    while not met():
        assert asyncio.get_running_loop().time() < deadline
        await pilot.pause(0.1)  # type: ignore[attr-defined]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "store/gedit").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    for version in ("1.0", "1.1"):
        whole = recorded_images.image(tmp_path, "plain").read_bytes()
        file = tmp_path / f"store/gedit/gedit-{version}.sif"
        file.write_bytes(whole + version.encode())
    (tmp_path / "config.yaml").write_text(CONFIG.format(folder=tmp_path))
    return tmp_path


async def app_on(folder: Path) -> VizdashApp:
    config, _ = load(path=str(folder / "config.yaml"))
    service = await connect(config, TerminalPrompter())
    return VizdashApp(service, options=ControllerOptions(image_admin=lambda: ImageAdmin(service)))


def verdict(app: VizdashApp) -> str:
    return str(app.screen.query_one("#deploy-verdict", Static).render())


async def may_change(app: VizdashApp, pilot: object) -> None:
    """Wait until the dashboard is what is seen, and images can be changed from it."""
    dashboard = app.dashboard
    await until(pilot, lambda: app.screen is dashboard and dashboard.image_rights == "")


def keys(app: VizdashApp) -> str:
    return str(app.screen.query_one("#progress-keys", Static).render())


async def choose_gedit(app: VizdashApp, pilot: object) -> None:
    """In the form for a deploy: desktop, gedit, paraview."""
    await until(pilot, lambda: isinstance(app.screen, DeployScreen) and app.focused is not None)
    press = pilot.press  # type: ignore[attr-defined]
    await press("right")
    chips = app.screen.query_one("#deploy-app", Chips)
    await until(pilot, lambda: chips.value == "gedit")


async def begin(app: VizdashApp, pilot: object, version: str) -> None:
    press = pilot.press  # type: ignore[attr-defined]
    await may_change(app, pilot)
    await press("d")
    await choose_gedit(app, pilot)
    app.screen.query_one("#deploy-version", Input).value = version
    await pilot.pause()  # type: ignore[attr-defined]
    await press("enter")
    await until(pilot, lambda: f"gedit {version}" in verdict(app))
    await press("enter")
    await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))  # no node was named
    await press("y")
    await until(pilot, lambda: isinstance(app.screen, ChangeProgressScreen))


async def deploy(app: VizdashApp, pilot: object, version: str) -> None:
    await begin(app, pilot, version)
    press = pilot.press  # type: ignore[attr-defined]
    screen = app.screen
    assert isinstance(screen, ChangeProgressScreen)
    await until(pilot, lambda: bool(screen.table.rows) and screen.table.rows[0].phase.over)
    assert str(screen.table.rows[0].phase) == "done", screen.table.rows[0].note
    # The inventory is written when the nodes are done, and another change begins after that.
    await until(pilot, lambda: not app.controllers.images.busy)
    await press("escape")


async def test_deploy_and_roll_back(folder: Path) -> None:
    app = await app_on(folder)
    async with app.run_test(size=(130, 36)) as pilot:
        await deploy(app, pilot, "1.0")
        await deploy(app, pilot, "1.1")
        link = folder / "root/gedit/gedit.sif"
        assert os.readlink(link) == "gedit-1.1.sif"
        await until(pilot, lambda: len(app.dashboard.images.rows) == 2)
        await may_change(app, pilot)
        await pilot.press("3")
        await until(pilot, lambda: app.focused is app.dashboard.images)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: os.readlink(link) == "gedit-1.0.sif")
        await until(pilot, lambda: isinstance(app.screen, ChangeProgressScreen))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.dashboard)
        await pilot.press("M")
        await until(pilot, lambda: isinstance(app.screen, ImageMatrixScreen))
        matrix = app.screen
        assert isinstance(matrix, ImageMatrixScreen)
        await until(
            pilot,
            lambda: (
                {(f.version, str(f.state)) for r in matrix.table.rows for f in r.findings}
                == {("1.0", "current"), ("1.1", "kept")}
            ),
        )


#: rsync as it is, which then waits for as long as the connection would.
_SLOW = """#!/bin/bash
/usr/bin/rsync "$@" && cd {folder} && echo $$ >rsync.new && mv rsync.new rsync.pid
exec sleep 3600
"""


async def test_an_interrupted_deploy_continues_the_next_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = os.environ["PATH"]
    (folder / "tools").mkdir()
    (folder / "tools/rsync").write_text(_SLOW.format(folder=folder))
    (folder / "tools/rsync").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/tools:{usual}")
    app = await app_on(folder)
    async with app.run_test(size=(130, 36)) as pilot:
        await begin(app, pilot, "1.0")
        await until(pilot, (folder / "rsync.pid").exists)
        assert "x Cancel" in keys(app)
        await pilot.press("x")
        screen = app.screen
        assert isinstance(screen, ChangeProgressScreen)
        await until(pilot, lambda: str(screen.table.rows[0].phase) == "cancelled")
        note = screen.table.rows[0].note
        assert note.startswith("interrupted while copying")
        assert note.endswith("(repeat the command to continue)")
        await until(pilot, lambda: "x Cancel" not in keys(app))
        pid = int((folder / "rsync.pid").read_text())
        await until(pilot, lambda: has_ended(pid))
        there = {f.name for f in (folder / "root/gedit").glob("*.sif")}
        assert there == set()  # nothing has an image's name
        notifications = [note.message for note in app._notifications]
        assert any("interrupted, done on no node, not on" in text for text in notifications), (
            notifications
        )
        await pilot.press("escape")
        monkeypatch.setenv("PATH", usual)
        await deploy(app, pilot, "1.0")
        assert os.readlink(folder / "root/gedit/gedit.sif") == "gedit-1.0.sif"


async def test_an_unknown_version_is_shown_in_the_form(folder: Path) -> None:
    app = await app_on(folder)
    async with app.run_test(size=(80, 24)) as pilot:
        await may_change(app, pilot)
        await pilot.press("d")
        await choose_gedit(app, pilot)
        app.screen.query_one("#deploy-version", Input).value = "9"
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: "there are 1.0, 1.1" in verdict(app))
