"""Rollbacks by each node's own journal, with the real script on folders as nodes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

import pytest

from tests.integration.images.folder_nodes import (
    ROOT,
    FolderNodes,
    deploy,
    sif_like_bytes,
    write_image,
)
from vizdash.errors import NotFound, VizdashError
from vizdash.images import rollback, switch_and_prune
from vizdash.images.progress import ChangeProgress, Phase
from vizdash.images.rollback import RollbackPlan
from vizdash.images.survey import survey_nodes

KIB = 1 << 10
NODES = ("n1", "n2", "n3")


def image(version: str) -> bytes:
    return sif_like_bytes(64 * KIB, sum(version.encode()))


async def bring(cluster: FolderNodes, version: str, *nodes: str) -> None:
    what = write_image(cluster.folder, image(version), version)
    progress = await deploy(cluster.site(), what, *(nodes or NODES))
    assert not progress.failed, [row.note for row in progress.failed]


async def fail_on(cluster: FolderNodes, version: str, node: str) -> None:
    """A deploy whose smoke test fails: the image is there, and was never current."""

    async def smoke(node: str) -> str:
        raise VizdashError(node, "the smoke test failed")

    what = write_image(cluster.folder, image(version), version)
    progress = await deploy(cluster.site(), what, node, smoke=smoke)
    assert progress.failed


async def plan(cluster: FolderNodes, *nodes: str, to: str = "") -> RollbackPlan:
    matrix = await survey_nodes(cluster.shell(), nodes or NODES, ROOT, asked=True)
    return rollback.plan_rollback(matrix, "gedit", to)


async def roll_back(cluster: FolderNodes, *nodes: str, to: str = "") -> ChangeProgress:
    made = await plan(cluster, *nodes, to=to)
    progress = ChangeProgress(made.versions)
    await switch_and_prune.switch_version(cluster.site(), progress, "gedit", made.versions)
    return progress


def current(cluster: FolderNodes, *nodes: str) -> list[str]:
    links = (cluster.root(node) / "gedit/gedit.sif" for node in nodes or NODES)
    return [os.readlink(link).removeprefix("gedit-").removesuffix(".sif") for link in links]


async def test_an_image_that_failed_its_smoke_test_is_never_rolled_back_to(
    cluster: FolderNodes,
) -> None:
    await bring(cluster, "1.0")
    await fail_on(cluster, "1.1", "n2")
    await bring(cluster, "1.2")
    await roll_back(cluster)
    assert current(cluster) == ["1.0", "1.0", "1.0"]
    progress = await roll_back(cluster, to="1.1")
    assert "1.1 was never current there" in progress.nodes["n2"].note
    assert "it has no gedit 1.1" in progress.nodes["n1"].note
    assert current(cluster) == ["1.0", "1.0", "1.0"]


async def test_a_version_that_was_left_by_a_rollback_is_not_rolled_back_to(
    cluster: FolderNodes,
) -> None:
    await bring(cluster, "1.0")
    await bring(cluster, "1.1")
    await roll_back(cluster)
    await bring(cluster, "1.2")
    await roll_back(cluster)
    assert current(cluster) == ["1.0", "1.0", "1.0"]
    with pytest.raises(NotFound, match=r"no earlier version is recorded before 1\.0"):
        await plan(cluster)


async def test_each_node_rolls_back_to_its_own(cluster: FolderNodes) -> None:
    await bring(cluster, "1.0", "n1", "n3")
    await bring(cluster, "0.9", "n2")
    await bring(cluster, "2.0", "n1", "n2")
    made = await plan(cluster)
    assert made.undone == "2.0"
    assert dict(made.versions) == {"n1": "1.0", "n2": "0.9"}
    assert dict(made.staying) == {"n3": "1.0"}, "it was down when 2.0 came"
    await roll_back(cluster)
    assert current(cluster) == ["1.0", "0.9", "1.0"]


async def test_what_is_left_of_a_rollback_does_not_take_the_others_further(
    cluster: FolderNodes,
) -> None:
    await bring(cluster, "0.9")
    await bring(cluster, "1.0")
    await bring(cluster, "1.1")
    await roll_back(cluster, "n1", "n3")
    assert current(cluster) == ["1.0", "1.1", "1.0"]
    await roll_back(cluster)
    assert current(cluster) == ["1.0", "1.0", "1.0"]
    await roll_back(cluster)
    assert current(cluster) == ["0.9", "0.9", "0.9"]


async def test_damage_is_found_before_the_switch(cluster: FolderNodes) -> None:
    for version in ("0.9", "1.0", "1.1"):
        await bring(cluster, version, "n1")
    file = cluster.root("n1") / "gedit/gedit-1.0.sif"
    with file.open("r+b") as opened:
        opened.seek(40 * KIB)
        opened.write(b"flipped")
    os.utime(file, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    progress = await roll_back(cluster, "n1")
    assert progress.nodes["n1"].phase is Phase.FAILED
    assert "gedit-1.0.sif is damaged" in progress.nodes["n1"].note
    assert current(cluster, "n1") == ["1.1"]
    # From now on it is known, and passed over.
    assert dict((await plan(cluster, "n1")).versions) == {"n1": "0.9"}


@pytest.mark.parametrize("size", [0, 60 * KIB])
async def test_a_truncated_file_is_skipped(cluster: FolderNodes, size: int) -> None:
    for version in ("0.9", "1.0", "1.1"):
        await bring(cluster, version, "n1")
    os.truncate(cluster.root("n1") / "gedit/gedit-1.0.sif", size)
    await roll_back(cluster, "n1")
    assert current(cluster, "n1") == ["0.9"]


async def test_a_copy_made_by_hand_that_was_interrupted(cluster: FolderNodes) -> None:
    """It has a valid name, and somebody even made it current for a while."""
    await bring(cluster, "1.0", "n1")
    folder = cluster.root("n1") / "gedit"
    (folder / "gedit-1.1.sif").write_bytes(image("1.1")[: 30 * KIB])
    (folder / "gedit.sif").unlink()
    (folder / "gedit.sif").symlink_to("gedit-1.1.sif")
    await bring(cluster, "1.2", "n1")
    assert dict((await plan(cluster, "n1")).versions) == {"n1": "1.0"}
    progress = await roll_back(cluster, "n1", to="1.1")
    assert "it has 30720 bytes" in progress.nodes["n1"].note
    assert current(cluster, "n1") == ["1.2"]


async def test_a_link_that_was_set_by_hand_is_written_down(cluster: FolderNodes) -> None:
    await bring(cluster, "1.0", "n1")
    folder = cluster.root("n1") / "gedit"
    (folder / "gedit-hand.sif").write_bytes(image("hand"))
    (folder / "gedit.sif").unlink()
    (folder / "gedit.sif").symlink_to(folder / "gedit-hand.sif")
    await bring(cluster, "1.2", "n1")
    await roll_back(cluster, "n1")
    assert current(cluster, "n1") == ["hand"]
    await roll_back(cluster, "n1")
    assert current(cluster, "n1") == ["1.0"]


async def test_the_image_of_before_vizdash_can_be_rolled_back_to(cluster: FolderNodes) -> None:
    folder = cluster.root("n1") / "gedit"
    folder.mkdir(parents=True)
    (folder / "gedit.sif").write_bytes(image("0"))
    await bring(cluster, "1.0", "n1")
    await roll_back(cluster, "n1")
    assert current(cluster, "n1") == ["legacy"]
    assert (folder / "gedit.sif").read_bytes() == image("0")


async def test_a_switch_that_was_cut_off_before_its_line_is_found(cluster: FolderNodes) -> None:
    for version in ("1.0", "1.1"):
        await bring(cluster, version, "n1")
    journal = cluster.root("n1") / "gedit/.journal"
    lines = journal.read_text().splitlines(keepends=True)
    assert [line.split()[1:3] for line in lines] == [
        ["deploy", "gedit-1.0.sif"],
        ["deploy", "gedit-1.1.sif"],
    ]
    journal.write_text(lines[0])
    await bring(cluster, "1.2", "n1")
    await roll_back(cluster, "n1")
    assert current(cluster, "n1") == ["1.1"]


async def test_the_journal_does_not_grow_for_ever(cluster: FolderNodes) -> None:
    await bring(cluster, "1.0", "n1")
    journal = cluster.root("n1") / "gedit/.journal"
    journal.write_text(journal.read_text() * 500)
    await bring(cluster, "1.1", "n1")
    assert len(journal.read_text().splitlines()) == 200
    await roll_back(cluster, "n1")
    assert current(cluster, "n1") == ["1.0"]


async def test_without_a_journal_nothing_is_guessed(cluster: FolderNodes) -> None:
    for version in ("1.0", "1.1"):
        await bring(cluster, version, "n1")
    (cluster.root("n1") / "gedit/.journal").unlink()
    with pytest.raises(NotFound, match=r"vizdash rollback gedit --to VERSION"):
        await plan(cluster, "n1")
    await roll_back(cluster, "n1", to="1.0")
    assert current(cluster, "n1") == ["1.0"]


async def test_nodes_whose_clocks_differ_are_compared(cluster: FolderNodes) -> None:
    """The clock of n1 is two days fast, so its switch to 1.1 looks like the last one."""
    cluster.tool("n1", "date", 'exec /usr/bin/date -d "+2 days" "$@"')
    await bring(cluster, "1.0")
    await bring(cluster, "1.1", "n1")
    before = int(time.time())
    wait = asyncio.Event()
    while int(time.time()) == before:  # journals have seconds
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wait.wait(), 0.05)
    await bring(cluster, "1.2", "n2", "n3")
    made = await plan(cluster)
    assert (made.undone, dict(made.versions)) == ("1.2", {"n2": "1.0", "n3": "1.0"})


@pytest.mark.parametrize("cut", [1, 40])
async def test_a_journal_whose_last_line_is_incomplete(cluster: FolderNodes, cut: int) -> None:
    for version in ("1.0", "1.1"):
        await bring(cluster, version, "n1")
    journal = cluster.root("n1") / "gedit/.journal"
    journal.write_text(journal.read_text()[:-cut])
    await bring(cluster, "1.2", "n1")
    await roll_back(cluster, "n1")
    assert current(cluster, "n1") == ["1.1"]


async def test_where_the_journal_cannot_be_written_nothing_is_switched(
    cluster: FolderNodes,
) -> None:
    for version in ("1.0", "1.1"):
        await bring(cluster, version, "n1")
    journal = cluster.root("n1") / "gedit/.journal"
    journal.unlink()
    journal.mkdir()
    what = write_image(cluster.folder, image("1.2"), "1.2")
    progress = await deploy(cluster.site(), what, "n1")
    note = progress.nodes["n1"].note
    assert note.startswith("can't update") and note.endswith(".journal: nothing was switched")
    assert current(cluster, "n1") == ["1.1"]


async def test_an_app_folder_that_is_a_link(cluster: FolderNodes) -> None:
    """Sites keep images on another file system."""
    elsewhere = cluster.folder / "data/images"
    elsewhere.mkdir(parents=True)
    cluster.root("n1").mkdir()
    (cluster.root("n1") / "gedit").symlink_to(elsewhere)
    for version in ("1.0", "1.1"):
        await bring(cluster, version, "n1")
    await roll_back(cluster, "n1")
    assert current(cluster, "n1") == ["1.0"]
