"""Two changes to one app exclude each other, by real locks on this machine."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.unit.transport.stopped_processes import only_root_may_kill_stopped
from vizdash.config import Deploy
from vizdash.errors import Refused
from vizdash.images.change_lock import LockHolder, hold_lock, new_holder
from vizdash.images.node_script import NodeShell
from vizdash.transport.local import LocalRunner


@pytest.fixture
def shell() -> NodeShell:
    return NodeShell(LocalRunner(), Deploy(sudo="never"), here=True)


async def test_where_all_can_write_who_comes_second_is_refused(
    shell: NodeShell, tmp_path: Path
) -> None:
    messages: list[str] = []
    mine = new_holder("deploy", "gedit", version="1.0")
    async with hold_lock(shell, str(tmp_path), "gedit", mine, notify=messages.append):
        with pytest.raises(Refused, match=r"deploys gedit 1\.0 from"):
            async with hold_lock(shell, str(tmp_path), "gedit", mine, notify=messages.append):
                pass
    assert messages == []


async def test_a_sites_time_limit_for_idle_shells_does_not_release_it(
    shell: NodeShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TMOUT is also the limit of bash's ``read``."""
    monkeypatch.setenv("TMOUT", "1")
    mine = new_holder("deploy", "gedit", version="1.0")
    async with hold_lock(shell, str(tmp_path), "gedit", mine, notify=print):
        await asyncio.sleep(2.5)
        with pytest.raises(Refused, match=r"deploys gedit 1\.0 from"):
            async with hold_lock(shell, str(tmp_path), "gedit", mine, notify=print):
                pass
    async with hold_lock(shell, str(tmp_path), "gedit", mine, notify=print) as interrupted:
        assert interrupted is None


async def test_a_folder_that_cannot_be_written_is_reported(
    shell: NodeShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "file").touch()
    folder = f"{tmp_path}/file/apps"
    messages: list[str] = []
    mine = new_holder("deploy", "gedit")
    async with hold_lock(shell, folder, "gedit", mine, notify=messages.append) as interrupted:
        assert interrupted is None
        assert (tmp_path / "state/vizdash/leases/gedit").exists()
    (line,) = messages
    assert line.startswith(f"{mine.user} can't write in {folder}, so other accounts may")
    assert "deploy.inventory" in line


async def test_a_sudo_that_hangs_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped sudo(8) is root's: the user who started it cannot end it."""
    sudo = tmp_path / "bin/sudo"
    sudo.parent.mkdir()
    sudo.write_text("#!/bin/sh\nkill -STOP $$\n")
    sudo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sudo.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("vizdash.images.change_lock.os.geteuid", lambda: 1000)
    monkeypatch.setattr("vizdash.images.change_lock._ANSWER_S", 15.0)
    (tmp_path / "file").touch()
    folder = f"{tmp_path}/file/apps"
    shell = NodeShell(LocalRunner(), Deploy(), here=True)
    messages: list[str] = []
    mine = new_holder("deploy", "gedit")
    async with (
        asyncio.timeout(240),
        only_root_may_kill_stopped(monkeypatch),
        hold_lock(shell, folder, "gedit", mine, notify=messages.append),
    ):
        assert (tmp_path / "state/vizdash/leases/gedit").exists()
    assert len(messages) == 1


def test_the_text_of_a_lock_names_its_holder() -> None:
    mine = new_holder("deploy", "gedit", version="1.0", run="ab12", nodes="viz-node[001-002]")
    assert LockHolder.parse(json.dumps(asdict(mine))) == mine


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"verb": "deploy", "app": "gedit"}',
        '{"verb": "deploy", "app": 1, "since": 1790000000}',
        '{"verb": "deploy", "app": "gedit", "since": 1790000000, "newer": ""}',
        '{"verb": "deploy", "app": "gedit", "since": 1790000000.0}',
        '{"verb": "deploy", "app": "gedit", "since": 18446744073709551616}',
        '{"verb": "deploy", "app": "gedit", "since": -100000000000000000}',
    ],
)
def test_any_other_text_names_nobody(text: str) -> None:
    """A time that no clock has would be an error where the holder is shown."""
    assert LockHolder.parse(text) is None
