"""Folders that stand for nodes, for the tests that need no other ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.images.folder_nodes import FolderNodes


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderNodes:
    """The nodes n1 to n3, without images."""
    made = FolderNodes(tmp_path, monkeypatch)
    made.add("n1", "n2", "n3")
    return made
