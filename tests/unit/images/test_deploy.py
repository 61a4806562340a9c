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
from vizdash.errors import NotFound, Refused, UsageError
from vizdash.images import origin
from vizdash.images.deploy import Deployment, Site
from vizdash.images.matrix import look_at
from vizdash.images.progress import NodeProgress, Progress
from vizdash.images.shell import NodeShell
from vizdash.images.travel import Arrival, Cargo, Stop
from vizdash.images.verify import verify
from vizdash.model import Image
from vizdash.transport.local import LocalRunner


class Copy:
    """A way for images within this machine."""

    least = 0

    def __init__(self, root: Path) -> None:
        self.root = root

    def together(self, stops: Sequence[Stop]) -> tuple[Stop, ...]:
        return ()

    async def prime(
        self,
        cargo: Cargo,
        stops: Sequence[Stop],
        tell: Callable[[str, int], None],
        over: Callable[[str, Arrival], None],
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


async def damaged(site: Site, what: Cargo) -> Path:
    """It was brought as ``what``, has changed since, and that was found."""
    await deploy(site, what)
    file = folder_of(site) / what.name
    file.write_bytes(b"c0ntent")
    (verdict,) = await verify(site.shell, await images(site, what.name), site.root, sudo=_never)
    assert not verdict.good
    return file


async def images(site: Site, name: str) -> list[Image]:
    _, found = await look_at(site.shell, "", site.root)
    return [i for i in found if i.path.endswith(f"/{name}")]


def _never(node: str) -> bool:
    return False


async def test_a_damaged_image_is_no_origin(site: Site, tmp_path: Path) -> None:
    file = await damaged(site, cargo(tmp_path, b"content", "1.0"))
    stores = (str(tmp_path / "store"), site.root)
    with pytest.raises(NotFound) as none:
        await origin.find(site.shell, "gedit", "1.0", stores)
    assert none.value.line == (
        f"image of gedit 1.0: {file}: damaged: its content is not what was deployed "
        "(there is no other: vizdash build)"
    )
    await deploy(site, cargo(tmp_path, b"older", "0.9"))
    assert (await origin.find(site.shell, "gedit", "", stores)).version == "0.9"
    with pytest.raises(NotFound, match=r"damaged: .* \(there are 0\.9: vizdash build\)"):
        await origin.find(site.shell, "gedit", "1.0", stores)


async def test_damage_is_no_new_content(site: Site, tmp_path: Path) -> None:
    """Given the damaged file itself, what it was brought as and its damage stay told."""
    one = cargo(tmp_path, b"content", "1.0")
    file = await damaged(site, one)
    row = await deploy(site, cargo(tmp_path, file.read_bytes(), "1.0"))
    assert "another content" in row.note, row.note
    (image,) = await images(site, one.name)
    assert "damaged" in image.problem
    assert (await deploy(site, cargo(tmp_path, b"content", "1.0"))).note == "mended"
    (image,) = await images(site, one.name)
    assert (image.problem, image.digest) == ("", one.digest)


async def test_what_was_seen_damaged_is_brought_again(site: Site, tmp_path: Path) -> None:
    """A disk that gives the right content today gave another one the last time."""
    one = cargo(tmp_path, b"content", "1.0")
    file = await damaged(site, one)
    file.write_bytes(b"content")
    assert (await deploy(site, one)).note == "mended"
    assert "damaged" not in (file.parent / f"{file.name}.sha256").read_text()
    assert (await deploy(site, one)).note == "it had it"


async def of_file(site: Site, path: Path, app: str, version: str = "", **kind: bool) -> Cargo:
    image = await origin.of_file(site.shell, app, str(path), version)
    return await origin.cargo_of(site.shell, image, signed=False, **kind)


async def test_an_image_labelled_as_another_is_refused_unless_forced(
    site: Site, tmp_path: Path
) -> None:
    file = recorded.image(tmp_path, "gedit")  # App gedit, Version 1.0
    assert (await of_file(site, file, "gedit")).version == "1.0"
    with pytest.raises(Refused, match=r"its label names app 'gedit', not 'paraview'.*--force"):
        await of_file(site, file, "paraview")
    with pytest.raises(Refused, match=r"its label names version '1\.0', not '2\.0'.*--force"):
        await of_file(site, file, "gedit", "2.0")
    assert (await of_file(site, file, "paraview", "2.0", force=True)).name == "paraview-2.0.sif"


async def test_a_base_images_version_is_not_the_apps(site: Site, tmp_path: Path) -> None:
    """Only vizdash's own label counts, then the file's name."""
    file = recorded.image(tmp_path, "base").rename(tmp_path / "gedit-7.1.sif")
    assert (await of_file(site, file, "gedit")).version == "7.1"
    with pytest.raises(UsageError, match="it tells no version"):
        await of_file(site, recorded.image(tmp_path, "base"), "gedit")
