"""What a deploy does with what it finds, by the real script in real folders. The copy is a plain
one: tests/integration has rsync.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.unit.images import recorded
from vizdash.config import Deploy
from vizdash.images.deploy import Deployment, Site
from vizdash.images.progress import NodeProgress, Progress
from vizdash.images.shell import NodeShell
from vizdash.images.travel import Cargo, Stop
from vizdash.transport.local import LocalRunner


class Copy:
    """A way for images within this machine."""

    together = False

    def __init__(self, root: Path) -> None:
        self.root = root

    async def prime(
        self, cargo: Cargo, stops: Sequence[Stop], tell: Callable[[str, int], None]
    ) -> None:
        raise AssertionError("nothing goes together here")

    async def send(self, cargo: Cargo, stop: Stop, tell: Callable[[int], None]) -> int:
        part = self.root / cargo.app / cargo.part
        part.write_bytes(Path(cargo.path).read_bytes())
        return cargo.size_bytes


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """This machine as the only node. It is asked whether it has rsync, which nothing runs."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "rsync").touch(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    deploying = Deploy(owner=f"{os.getuid()}:{os.getgid()}")
    root = tmp_path / "root"
    return Site(NodeShell(LocalRunner(), deploying, here=True), str(root), Copy(root))


def folder_of(site: Site, app: str = "gedit") -> Path:
    folder = Path(site.root) / app
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cargo(tmp_path: Path, data: bytes, version: str) -> Cargo:
    file = tmp_path / f"gedit-{version}.sif"
    file.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return Cargo("gedit", version, digest, len(data), str(file))


async def deploy(site: Site, what: Cargo) -> NodeProgress:
    progress = Progress(("n1",), bytes_total=what.size_bytes)
    await Deployment(site, what, progress).run(("n1",))
    return progress.nodes["n1"]


async def test_an_image_without_a_version_in_its_name_is_kept_as_its_labels_say(
    site: Site, tmp_path: Path
) -> None:
    folder = folder_of(site)
    recorded.image(folder, "gedit")  # gedit.sif, whose label says 1.0
    row = await deploy(site, cargo(tmp_path, b"newer", "1.1"))
    assert row.note == "deployed, before: 1.0"
    kept = {file.name for file in folder.glob("*.sif")}
    assert kept == {"gedit-1.0.sif", "gedit-1.1.sif", "gedit.sif"}
