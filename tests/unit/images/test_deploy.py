"""What a deploy does with what nodes hold, by the real script in real folders.

Files are copied plainly here; tests/integration copies with rsync.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.unit.images import recorded_images
from vizdash.config import Deploy
from vizdash.errors import NotFound, Refused, UsageError
from vizdash.images import deploy_source
from vizdash.images.copy import CopyOutcome, CopyTarget, SourceImage
from vizdash.images.deploy import Deployment, DeploySite
from vizdash.images.node_script import NodeShell
from vizdash.images.progress import ChangeProgress, NodeProgress
from vizdash.images.survey import survey_node
from vizdash.images.verify import verify_images
from vizdash.model import Image
from vizdash.transport.local import LocalRunner


class Copy:
    """A way for images within this machine."""

    min_nodes = 0

    def __init__(self, root: Path) -> None:
        self.root = root

    def distributable(self, stops: Sequence[CopyTarget]) -> tuple[CopyTarget, ...]:
        return ()

    async def distribute(
        self,
        cargo: SourceImage,
        stops: Sequence[CopyTarget],
        on_bytes: Callable[[str, int], None],
        on_end: Callable[[str, CopyOutcome], None],
    ) -> None:
        raise AssertionError("nothing goes together here")

    async def copy(
        self, cargo: SourceImage, stop: CopyTarget, on_bytes: Callable[[int], None]
    ) -> int:
        part = self.root / cargo.app / cargo.part
        part.write_bytes(Path(cargo.path).read_bytes())
        return cargo.size_bytes


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DeploySite:
    """This machine as the only node. It is asked whether it has rsync, which nothing runs."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "rsync").touch(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    deploying = Deploy(owner=f"{os.getuid()}:{os.getgid()}")
    root = tmp_path / "root"
    return DeploySite(NodeShell(LocalRunner(), deploying, here=True), str(root), Copy(root))


def folder_of(site: DeploySite, app: str = "gedit") -> Path:
    folder = Path(site.root) / app
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cargo(tmp_path: Path, data: bytes, version: str) -> SourceImage:
    file = tmp_path / f"gedit-{version}.sif"
    file.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return SourceImage("gedit", version, digest, len(data), str(file))


async def deploy(site: DeploySite, what: SourceImage) -> NodeProgress:
    progress = ChangeProgress(("n1",), bytes_total=what.size_bytes)
    await Deployment(site, what, progress).run(("n1",))
    return progress.nodes["n1"]


async def test_an_image_without_a_version_in_its_name_is_kept_as_its_labels_say(
    site: DeploySite, tmp_path: Path
) -> None:
    folder = folder_of(site)
    recorded_images.image(folder, "gedit")  # gedit.sif, whose label says 1.0
    row = await deploy(site, cargo(tmp_path, b"newer", "1.1"))
    assert row.note == "deployed, before: 1.0"
    kept = {file.name for file in folder.glob("*.sif")}
    assert kept == {"gedit-1.0.sif", "gedit-1.1.sif", "gedit.sif"}


async def damaged(site: DeploySite, what: SourceImage) -> Path:
    """It was brought as ``what``, has changed since, and that was found."""
    await deploy(site, what)
    file = folder_of(site) / what.name
    file.write_bytes(b"c0ntent")
    (verdict,) = await verify_images(
        site.shell, await images(site, what.name), site.root, sudo=_never
    )
    assert not verdict.good
    return file


async def images(site: DeploySite, name: str) -> list[Image]:
    _, found = await survey_node(site.shell, "", site.root)
    return [i for i in found if i.path.endswith(f"/{name}")]


def _never(node: str) -> bool:
    return False


async def test_a_damaged_image_is_no_origin(site: DeploySite, tmp_path: Path) -> None:
    file = await damaged(site, cargo(tmp_path, b"content", "1.0"))
    stores = (str(tmp_path / "store"), site.root)
    with pytest.raises(NotFound) as none:
        await deploy_source.find_image(site.shell, "gedit", "1.0", stores)
    assert none.value.line == (
        f"image of gedit 1.0: {file}: damaged: its content differs from what was deployed "
        "(there is no other: vizdash build)"
    )
    await deploy(site, cargo(tmp_path, b"older", "0.9"))
    assert (await deploy_source.find_image(site.shell, "gedit", "", stores)).version == "0.9"
    with pytest.raises(NotFound, match=r"damaged: .* \(there are 0\.9: vizdash build\)"):
        await deploy_source.find_image(site.shell, "gedit", "1.0", stores)


async def test_damage_is_no_new_content(site: DeploySite, tmp_path: Path) -> None:
    """Given the damaged file itself, its name and its damage stay reported."""
    one = cargo(tmp_path, b"content", "1.0")
    file = await damaged(site, one)
    row = await deploy(site, cargo(tmp_path, file.read_bytes(), "1.0"))
    assert "a different gedit-1.0.sif" in row.note, row.note
    (image,) = await images(site, one.name)
    assert "damaged" in image.problem
    assert (await deploy(site, cargo(tmp_path, b"content", "1.0"))).note == "fixed"
    (image,) = await images(site, one.name)
    assert (image.problem, image.digest) == ("", one.digest)


async def test_what_was_seen_damaged_is_brought_again(site: DeploySite, tmp_path: Path) -> None:
    """A disk that gives the right content today gave another one the last time."""
    one = cargo(tmp_path, b"content", "1.0")
    file = await damaged(site, one)
    file.write_bytes(b"content")
    assert (await deploy(site, one)).note == "fixed"
    assert "damaged" not in (file.parent / f"{file.name}.sha256").read_text()
    assert (await deploy(site, one)).note == "already there"


async def of_file(
    site: DeploySite, path: Path, app: str, version: str = "", **kind: bool
) -> SourceImage:
    image = await deploy_source.describe_file(site.shell, app, str(path), version)
    return await deploy_source.prepare_source(site.shell, image, signed=False, **kind)


async def test_an_image_labelled_as_another_is_refused_unless_forced(
    site: DeploySite, tmp_path: Path
) -> None:
    file = recorded_images.image(tmp_path, "gedit")  # App gedit, Version 1.0
    assert (await of_file(site, file, "gedit")).version == "1.0"
    with pytest.raises(Refused, match=r"its label names app 'gedit', not 'paraview'.*--force"):
        await of_file(site, file, "paraview")
    with pytest.raises(Refused, match=r"its label names version '1\.0', not '2\.0'.*--force"):
        await of_file(site, file, "gedit", "2.0")
    assert (await of_file(site, file, "paraview", "2.0", force=True)).name == "paraview-2.0.sif"


async def test_a_base_images_version_is_not_the_apps(site: DeploySite, tmp_path: Path) -> None:
    """Only vizdash's own label counts, then the file's name."""
    file = recorded_images.image(tmp_path, "base").rename(tmp_path / "gedit-7.1.sif")
    assert (await of_file(site, file, "gedit")).version == "7.1"
    with pytest.raises(UsageError, match="it names no version"):
        await of_file(site, recorded_images.image(tmp_path, "base"), "gedit")
