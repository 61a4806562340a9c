"""Where signatures are demanded, what was verified is what travels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from vizdash.errors import Refused
from vizdash.images.origin import sealed
from vizdash.images.shell import NodeShell
from vizdash.images.travel import Cargo
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


def cargo(tmp_path: Path) -> Cargo:
    file = tmp_path / "gedit-1.0.sif"
    file.write_bytes(b"signed")
    return Cargo("gedit", "1.0", hashlib.sha256(b"signed").hexdigest(), 6, str(file))


async def test_a_swap_after_the_check_changes_nothing(tmp_path: Path) -> None:
    what = cargo(tmp_path)
    runner = Swapping(Path(what.path))
    async with sealed(NodeShell(runner), what, str(tmp_path)) as sent:
        assert runner.verified == [b"signed"]
        assert Path(what.path).read_bytes() == b"swapped"
        assert Path(sent.path).read_bytes() == b"signed"
        assert Path(sent.path).parent.stat().st_mode & 0o777 == 0o700
        assert (sent.digest, sent.name) == (what.digest, what.name)
    assert not list(tmp_path.glob("vizdash-signed-*"))


async def test_a_swap_before_the_check_is_refused(tmp_path: Path) -> None:
    what = cargo(tmp_path)
    runner = Swapping(Path(what.path), early=True)
    with pytest.raises(Refused, match="it has changed since it was looked at"):
        async with sealed(NodeShell(runner), what, str(tmp_path)):
            raise AssertionError
    assert runner.verified == []
    assert not list(tmp_path.glob("vizdash-signed-*"))


async def test_what_a_killed_deploy_left_goes(tmp_path: Path) -> None:
    what = cargo(tmp_path)
    (tmp_path / "vizdash-signed-gedit.dead").mkdir()
    (tmp_path / "vizdash-signed-other.live").mkdir()
    async with sealed(NodeShell(Swapping(Path(what.path))), what, str(tmp_path)):
        pass
    assert [p.name for p in tmp_path.glob("vizdash-signed-*")] == ["vizdash-signed-other.live"]
