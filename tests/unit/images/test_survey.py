"""The survey of nodes: real folders, the real script, the node's own tools."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from tests.integration.images.operators import image_bytes
from tests.unit.images import recorded_images
from vizdash.config import Cluster, Deploy
from vizdash.errors import Unreachable, VizdashError
from vizdash.images import drift
from vizdash.images.drift import Inventory
from vizdash.images.node_script import NodeShell
from vizdash.images.survey import survey_node, survey_nodes
from vizdash.images.verify import verify_images
from vizdash.model import Image, ImageRoot, Matrix
from vizdash.transport.base import Command, Result
from vizdash.transport.local import LocalRunner

HERE = NodeShell(LocalRunner(), here=True)
INVENTORY = (
    '{"schema": 1, "wanted": {}, "nodes": {"n": {"seen_at": 1, "free_bytes": 1, '
    '"total_bytes": 1, "strays": [], "images": [%s]}}}'
)


def put(root: Path, name: str, data: bytes = b"an image", current: bool = False) -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    if current:
        link = file.parent / f"{file.parent.name}.sif"
        link.unlink(missing_ok=True)
        link.symlink_to(file.name)
    return file


def survey_root(root: Path, *, full: bool = False) -> tuple[ImageRoot, dict[str, Image]]:
    place, images = asyncio.run(survey_node(HERE, "n1", str(root), full=full))
    return place, {i.path.removeprefix(f"{root}/"): i for i in images}


def read_all(root: Path, *, record: bool = True) -> dict[str, bool]:
    _, images = survey_root(root)
    found = asyncio.run(
        verify_images(HERE, images.values(), str(root), sudo=lambda node: False, record=record)
    )
    return {v.image.path.removeprefix(f"{root}/"): v.good for v in found}


def test_versions_and_the_current_one(tmp_path: Path) -> None:
    put(tmp_path, "gedit/gedit-1.0.sif", b"one")
    put(tmp_path, "gedit/gedit-1.1.sif", b"other", current=True)
    place, images = survey_root(tmp_path)
    assert {name: (i.version, i.current, i.size_bytes) for name, i in images.items()} == {
        "gedit/gedit-1.0.sif": ("1.0", False, 3),
        "gedit/gedit-1.1.sif": ("1.1", True, 5),
        "gedit/gedit.sif": ("", True, 5),
    }
    assert place.exists and place.writable == os.access(tmp_path, os.W_OK)
    assert place.strays == ()
    assert 0 < place.free_bytes <= place.total_bytes
    assert place.arch == os.uname().machine


def test_a_missing_image_root_has_its_free_space(tmp_path: Path) -> None:
    place, images = survey_root(tmp_path / "not" / "there")
    assert not place.exists and place.free_bytes > 0 and images == {}


def test_an_unversioned_image_holds_its_version(tmp_path: Path) -> None:
    (tmp_path / "gedit").mkdir()
    recorded_images.image(tmp_path / "gedit", "gedit")
    _, images = survey_root(tmp_path)
    image = images["gedit/gedit.sif"]
    assert (image.version, image.current, image.problem) == ("1.0", True, "")
    put(tmp_path, "torn/torn.sif", recorded_images.head("gedit")[:2000])
    _, images = survey_root(tmp_path)
    assert "bytes" in images["torn/torn.sif"].problem


def test_what_has_no_business_there(tmp_path: Path) -> None:
    put(tmp_path, "gedit/gedit-1.0.sif", current=True)
    for name in ("notes.txt", "gedit/.gedit-1.1.sif.0123456789ab.part", "gedit/other-1.0.sif"):
        put(tmp_path, name)
    put(tmp_path, "gedit/gone-1.0.sif.sha256")
    put(tmp_path, "gedit/.lock")
    put(tmp_path, ".inventory.json")
    (tmp_path / "gedit" / "broken.sif").symlink_to("nothing")
    place, images = survey_root(tmp_path)
    strays = {s.path.removeprefix(f"{tmp_path}/") for s in place.strays}
    assert strays == {
        "notes.txt",
        "gedit/.gedit-1.1.sif.0123456789ab.part",
        "gedit/other-1.0.sif",
        "gedit/gone-1.0.sif.sha256",
        "gedit/broken.sif",
    }
    assert set(images) == {"gedit/gedit-1.0.sif", "gedit/gedit.sif"}


def test_names_that_try_to_look_like_answers(tmp_path: Path) -> None:
    for name in ("app/app-1\nend.sif", "app/app-\x1b[2J.sif", "app/app-$(touch pwned).sif"):
        put(tmp_path, name)
    _, images = survey_root(tmp_path)
    assert {i.version for i in images.values()} == {"1\nend", "\x1b[2J", "$(touch pwned)"}
    assert not list(tmp_path.rglob("pwned"))


def test_a_digest_is_kept_until_size_time_or_inode_change(tmp_path: Path) -> None:
    file = put(tmp_path, "gedit/gedit-1.0.sif", b"content", current=True)
    assert survey_root(tmp_path)[1]["gedit/gedit-1.0.sif"].digest == ""
    assert read_all(tmp_path) == {"gedit/gedit-1.0.sif": True, "gedit/gedit.sif": True}
    digest = hashlib.sha256(b"content").hexdigest()
    assert survey_root(tmp_path)[1]["gedit/gedit-1.0.sif"].digest == digest
    assert (tmp_path / "gedit/gedit-1.0.sif.sha256").read_text().startswith(f"{digest}  gedit-1")
    before = file.stat()
    file.write_bytes(b"longer content")
    assert survey_root(tmp_path)[1]["gedit/gedit-1.0.sif"].digest == ""  # size
    file.write_bytes(b"content")
    assert survey_root(tmp_path)[1]["gedit/gedit-1.0.sif"].digest == ""  # time
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert survey_root(tmp_path)[1]["gedit/gedit-1.0.sif"].digest == digest
    copy = put(tmp_path, "gedit/copy", b"content")
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    copy.rename(file)
    assert survey_root(tmp_path)[1]["gedit/gedit-1.0.sif"].digest == ""  # inode


def test_one_flipped_bit_is_found_and_stays_reported(tmp_path: Path) -> None:
    file = put(tmp_path, "gedit/gedit-1.0.sif", bytes(100_000), current=True)
    other = put(tmp_path, "gedit/gedit-0.9.sif", b"fine")
    assert all(read_all(tmp_path).values())
    before = file.stat()
    with file.open("r+b") as opened:
        opened.seek(70_001)
        opened.write(b"\x01")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a disk would do it
    assert survey_root(tmp_path)[1]["gedit/gedit-1.0.sif"].problem == ""
    assert read_all(tmp_path)["gedit/gedit-1.0.sif"] is False
    image = survey_root(tmp_path)[1]["gedit/gedit-1.0.sif"]
    assert "damaged" in image.problem
    assert image.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert survey_root(tmp_path)[1][f"gedit/{other.name}"].problem == ""
    assert read_all(tmp_path)["gedit/gedit-1.0.sif"] is False, "it stays damaged"


def test_an_open_image_is_seen(tmp_path: Path) -> None:
    file = put(tmp_path, "gedit/gedit-1.0.sif")
    put(tmp_path, "gedit/gedit-1.1.sif")
    with file.open("rb"):
        _, images = survey_root(tmp_path, full=True)
    assert images["gedit/gedit-1.0.sif"].open
    assert not images["gedit/gedit-1.1.sif"].open


class FolderTreeNodes:
    """Nodes as folders of this machine; one is dead, one never answers, one talks nonsense."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def run(self, command: Command) -> Result:
        if command.argv[0] == "cat":
            return await LocalRunner().run(command)
        assert command.argv[0] == "ssh"
        node, words = command.argv[-2:]
        if node == "dead":
            return Result(255, "", "ssh: connect to host dead port 22: No route to host\n")
        if node == "strange":
            return Result(255, "", "Host key verification failed.\r\n")
        if node == "silent":
            return await LocalRunner().run(Command(("sleep", "60"), timeout_s=0.2))
        if node == "odd":
            return Result(0, "Welcome to odd!\n", "")
        line = words.replace("/ROOT", str(self.folder / node))
        return await LocalRunner().run(Command(("sh", "-c", line), command.input))

    def has(self, program: str) -> bool:
        return True


async def test_a_dead_node_costs_its_row_only(tmp_path: Path) -> None:
    put(tmp_path, "n1/gedit/gedit-1.0.sif", current=True)
    shell = NodeShell(FolderTreeNodes(tmp_path))
    found = await survey_nodes(
        shell,
        ("n1", "dead", "silent", "odd", "strange", "away"),
        "/ROOT",
        skip={"away": "the node is down"},
    )
    failures = {p.node: p.failure for p in found.roots if p.failure}
    assert found.answered == {"n1"}
    assert "No route to host" in failures["dead"]
    assert "0.2 s" in failures["silent"]
    assert failures["odd"] == "the answer is incomplete"
    # What only a user can do stays in the error.
    assert failures["strange"] == (
        "its host key is in neither ~/.ssh/known_hosts nor /etc/ssh/ssh_known_hosts "
        "(run `ssh strange` here once and compare the fingerprint)"
    )
    assert failures["away"] == "the node is down"
    assert {i.node for i in found.images} == {"n1"}


async def test_who_has_no_ssh_sees_the_inventory(tmp_path: Path) -> None:
    put(tmp_path, "n1/gedit/gedit-1.0.sif", current=True)
    put(tmp_path, "n1/stray")
    shell = NodeShell(FolderTreeNodes(tmp_path))
    place, images = await survey_node(shell, "n1", "/ROOT")
    inventory = Inventory().updated([(place, images)], {"gedit": "1.0"})
    as_dead = inventory.to_json().replace('"n1"', '"dead"')
    file = tmp_path / ".inventory.json"
    file.write_text(as_dead)
    known = await drift.read_inventory(shell, str(file))
    found = await survey_nodes(shell, ("dead",), "/ROOT", inventory=known)
    (row,) = found.roots
    assert row.failure and row.known and row.seen_at > 0
    assert row.free_bytes == place.free_bytes and len(row.strays) == 1
    assert found.wanted == (("gedit", "1.0"),)
    assert [(i.path, i.current) for i in found.on("dead")] == [(i.path, i.current) for i in images]


async def test_an_inventory_that_can_not_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    """The empty one would be written over it."""
    assert await drift.query_inventory(HERE, str(tmp_path / "none")) == Inventory()
    with pytest.raises(VizdashError, match="Is a directory"):
        await drift.query_inventory(HERE, str(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"schema": 2}',
        '{"schema": 1, "wanted": [], "nodes": {}}',
        '{"schema": 1, "wanted": {}, "nodes": {"n": {"seen_at": 1}}}',
        INVENTORY % '{"app": 3, "path": "/x"}',
    ],
)
async def test_a_damaged_inventory_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "inventory"
    file.write_text(text)
    assert await drift.read_inventory(HERE, str(file)) == Inventory()
    with pytest.raises(ValueError, match=r"."):
        Inventory.from_json(text)


def test_where_the_inventory_lies() -> None:
    assert drift.inventory_path(Cluster("c", image_root="/r/")) == "/r/.inventory.json"
    shared = Cluster("c", deploy=Deploy(inventory="/nfs/images.json"))
    assert drift.inventory_path(shared) == "/nfs/images.json"


async def test_errors_name_the_node_and_the_cause() -> None:
    class Says:
        def __init__(self, code: int, stderr: str) -> None:
            self.result = Result(code, "", stderr)

        async def run(self, command: Command) -> Result:
            return self.result

        def has(self, program: str) -> bool:
            return True

    with pytest.raises(Unreachable, match="n1: Permission denied"):
        await NodeShell(Says(255, "Permission denied (publickey).\n")).ask("n1", "look", "/r", "0")
    with pytest.raises(VizdashError, match="n1: a password is required"):
        await NodeShell(Says(1, "sudo: a password is required\n")).ask("n1", "look", "/r", "0")


def test_the_routes_to_a_node() -> None:
    shell = NodeShell(LocalRunner(), Deploy(user="images"))
    argv = shell.argv("n1", ("bash", "-s", "--", "look", "/a b"), sudo=True)
    assert argv[0] == "ssh" and argv[-2] == "n1"
    assert argv[-1] == "sudo -n bash -s -- look '/a b'"
    assert argv[argv.index("-l") + 1] == "images"
    assert "BatchMode=yes" in argv, "it never asks"
    assert "ForwardAgent=no" in argv, "whoever is root there could use it"
    assert HERE.argv("n1", ("true",)) == ("true",)


def test_what_an_inventory_lacks_counts_only_where_some_node_has_it() -> None:
    of_old = ImageRoot("n1", failure="no ssh", seen_at=1)
    path = "/r/gedit/gedit.sif"
    assert Matrix((), (of_old,)).without(path) == frozenset()
    assert Matrix((), (ImageRoot("n2"), of_old)).without(path) == {"n2"}
    image = Image("gedit", path, node="n2")
    assert Matrix((image,), (ImageRoot("n2"), of_old)).without(path) == {"n1"}


async def test_a_users_own_image_is_missing_nowhere(tmp_path: Path) -> None:
    put(tmp_path, "gedit/gedit-1.0.sif", current=True)
    matrix = await survey_nodes(HERE, ("n1",), f"{tmp_path}/")
    assert matrix.without(f"{tmp_path}/gedit/gedit.sif") == frozenset()
    assert matrix.without(f"{tmp_path}/gedit/gedit-2.0.sif") == {"n1"}
    assert matrix.without(f"{tmp_path}/paraview/paraview.sif") == {"n1"}
    for path in ("gedit/own.sif", "own.sif", "gedit/old/gedit-1.0.sif", "gedit/.gedit-1.0.sif"):
        assert matrix.without(f"{tmp_path}/{path}") == frozenset()
    assert matrix.without("/home/alice/gedit/gedit.sif") == frozenset()


def test_a_verification_that_records_nothing(tmp_path: Path) -> None:
    """With ``--read-only``, also as root."""
    put(tmp_path, "gedit/gedit-1.0.sif")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert read_all(tmp_path, record=False) == {"gedit/gedit-1.0.sif": True}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    read_all(tmp_path)
    assert (tmp_path / "gedit/gedit-1.0.sif.sha256").exists()


def test_an_image_that_was_copied_in_part_is_seen_without_a_recorded_digest(tmp_path: Path) -> None:
    whole = image_bytes("1.0", size=1 << 20)
    put(tmp_path, "gedit/gedit-1.0.sif", whole)
    put(tmp_path, "gedit/gedit-1.1.sif", whole[: len(whole) - 1])
    _, images = survey_root(tmp_path)
    assert images["gedit/gedit-1.0.sif"].problem == ""
    assert images["gedit/gedit-1.1.sif"].problem == (
        "it has 1048575 bytes, its object 1 ends at 1048576"
    )
