"""Who is kept from changing an app at the same time, by real locks on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from vizdash.config import Deploy
from vizdash.errors import Refused
from vizdash.images.lease import holder, lease
from vizdash.images.shell import NodeShell
from vizdash.transport.local import LocalRunner


@pytest.fixture
def shell() -> NodeShell:
    return NodeShell(LocalRunner(), Deploy(sudo="never"), here=True)


async def test_where_all_can_write_who_comes_second_is_refused(
    shell: NodeShell, tmp_path: Path
) -> None:
    told: list[str] = []
    mine = holder("deploy", "gedit", version="1.0")
    async with lease(shell, str(tmp_path), "gedit", mine, talk=told.append):
        with pytest.raises(Refused, match=r"deploys gedit 1\.0 from"):
            async with lease(shell, str(tmp_path), "gedit", mine, talk=told.append):
                pass
    assert told == []


async def test_where_the_folder_can_not_be_written_it_is_said(
    shell: NodeShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "file").touch()
    folder = f"{tmp_path}/file/apps"
    told: list[str] = []
    mine = holder("deploy", "gedit")
    async with lease(shell, folder, "gedit", mine, talk=told.append) as left:
        assert left is None
        assert (tmp_path / "state/vizdash/leases/gedit").exists()
    (line,) = told
    assert line.startswith(f"{folder} can't be written by {mine.user}, so nothing keeps other")
    assert "deploy.inventory" in line
