"""Where signatures are required, the verified file is the file that is copied."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.unit.images import recorded_images
from vizdash.errors import Refused, VizdashError
from vizdash.images.copy import SourceImage
from vizdash.images.deploy_source import prepare_source, sealed_copy
from vizdash.images.node_script import NodeShell
from vizdash.model import Image
from vizdash.transport.base import Command, Result
from vizdash.transport.local import LocalRunner


class Swapping:
    """Runs commands here; ``apptainer verify`` says yes, and the image is another one then."""

    def __init__(self, image: Path, *, early: bool = False) -> None:
        self.image = image
        self.early = early
        self.verified: list[bytes] = []

    async def run(self, command: Command) -> Result:
        if self.early and command.argv[0] == "sh":
            self.image.write_bytes(b"swapped")
        if command.argv[0] != "apptainer":
            return await LocalRunner().run(command)
        self.verified.append(Path(command.argv[-1]).read_bytes())
        self.image.write_bytes(b"swapped")
        return Result(0, "", "")

    def has(self, program: str) -> bool:
        return True


def cargo(tmp_path: Path) -> SourceImage:
    file = tmp_path / "gedit-1.0.sif"
    file.write_bytes(b"signed")
    return SourceImage("gedit", "1.0", hashlib.sha256(b"signed").hexdigest(), 6, str(file))


async def test_a_swap_after_the_check_changes_nothing(tmp_path: Path) -> None:
    what = cargo(tmp_path)
    runner = Swapping(Path(what.path))
    async with sealed_copy(NodeShell(runner), what, str(tmp_path)) as sent:
        assert runner.verified == [b"signed"]
        assert Path(what.path).read_bytes() == b"swapped"
        assert Path(sent.path).read_bytes() == b"signed"
        assert Path(sent.path).parent.stat().st_mode & 0o777 == 0o700
        assert (sent.digest, sent.name) == (what.digest, what.name)
    assert not list(tmp_path.glob("vizdash-signed-*"))


async def test_a_swap_before_the_check_is_refused(tmp_path: Path) -> None:
    what = cargo(tmp_path)
    runner = Swapping(Path(what.path), early=True)
    with pytest.raises(Refused, match="it has changed since it was checked"):
        async with sealed_copy(NodeShell(runner), what, str(tmp_path)):
            raise AssertionError
    assert runner.verified == []
    assert not list(tmp_path.glob("vizdash-signed-*"))


async def test_a_folder_where_others_could_exchange_it_is_refused(tmp_path: Path) -> None:
    what = cargo(tmp_path)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(VizdashError, match="anyone can rename files in"):
        async with sealed_copy(NodeShell(Swapping(Path(what.path))), what, str(shared)):
            raise AssertionError
    assert not list(shared.iterdir())
    shared.chmod(0o1777)
    async with sealed_copy(NodeShell(Swapping(Path(what.path))), what, str(shared)) as sent:
        assert Path(sent.path).is_relative_to(shared)


class Verifying:
    """Runs commands here; ``apptainer verify`` accepts the signed bytes alone. Right after it has
    read the file that is to be deployed, and before its digest is computed, the file is another.
    """

    def __init__(self, image: Path, other: bytes) -> None:
        self.image, self.signed, self.other = image, image.read_bytes(), other
        self.ran: list[str] = []

    async def run(self, command: Command) -> Result:
        self.ran.append(command.argv[0])
        if command.argv[0] != "apptainer":
            return await LocalRunner().run(command)
        file = Path(command.argv[-1])
        good = file.read_bytes() == self.signed
        if file == self.image:
            file.write_bytes(self.other)
        return Result(0, "", "") if good else Result(255, "", "FATAL: signature not found")

    def has(self, program: str) -> bool:
        return True


async def test_a_swap_between_the_check_and_the_digest_is_refused(tmp_path: Path) -> None:
    file = recorded_images.image(tmp_path, "gedit")
    size = file.stat().st_size
    runner = Verifying(file, file.read_bytes()[:-1] + b"?")
    shell = NodeShell(runner, here=True)
    source = await prepare_source(shell, Image("gedit", str(file), "1.0", size), signed=True)
    assert runner.ran[-2:] == ["apptainer", "sha256sum"]
    assert source.digest == hashlib.sha256(runner.other).hexdigest()
    with pytest.raises(Refused, match="it has no signature"):
        async with sealed_copy(shell, source, str(tmp_path)):
            raise AssertionError
    assert not list(tmp_path.glob("vizdash-signed-*"))


async def test_what_a_killed_deploy_left_goes(tmp_path: Path) -> None:
    what = cargo(tmp_path)
    (tmp_path / "vizdash-signed-gedit.dead").mkdir()
    (tmp_path / "vizdash-signed-other.live").mkdir()
    async with sealed_copy(NodeShell(Swapping(Path(what.path))), what, str(tmp_path)):
        pass
    assert [p.name for p in tmp_path.glob("vizdash-signed-*")] == ["vizdash-signed-other.live"]
