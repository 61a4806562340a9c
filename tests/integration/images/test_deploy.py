"""Deploys with the real script, rsync and flock, to nodes that are folders of this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.images.folder_nodes import (
    ROOT,
    FolderNodes,
    deploy,
    sif_like_bytes,
    write_image,
)
from vizdash.errors import VizdashError
from vizdash.images import copy, switch_and_prune
from vizdash.images.copy import CopyTarget, RsyncCopy
from vizdash.images.node_script import NodeShell
from vizdash.images.progress import ChangeProgress, Phase
from vizdash.model import Matrix, Session, SessionState
from vizdash.transport.local import LocalRunner

MIB = 1 << 20
ONE = sif_like_bytes(4 * MIB, 1)
FILES = {".journal", ".lock", "gedit-1.0.sif", "gedit-1.0.sif.sha256", "gedit.sif"}
#: The same with 100 KB put in near the beginning, as a package more would.
TWO = ONE[:MIB] + sif_like_bytes(100_000, 2) + ONE[MIB:]


def phases(progress: ChangeProgress) -> dict[str, str]:
    print([(row.node, row.phase, row.note) for row in progress.nodes.values()])
    return {row.node: str(row.phase) for row in progress.nodes.values()}


async def test_a_first_copy(cluster: FolderNodes, tmp_path: Path) -> None:
    one = write_image(tmp_path, ONE, "1.0")
    progress = await deploy(cluster.site(), one, "n1", "n2", "n3")
    assert set(phases(progress).values()) == {"done"}
    for node in ("n1", "n2", "n3"):
        assert (cluster.root(node) / "gedit/gedit.sif").read_bytes() == ONE
        assert os.readlink(cluster.root(node) / "gedit/gedit.sif") == "gedit-1.0.sif"
        assert cluster.files(node) == {
            ".journal",
            ".lock",
            "gedit-1.0.sif",
            "gedit-1.0.sif.sha256",
            "gedit.sif",
        }
        assert (cluster.root(node) / "gedit/gedit-1.0.sif").stat().st_mode & 0o777 == 0o644
        place, images = await cluster.survey(node)
        assert images["gedit-1.0.sif"].digest == one.digest and place.strays == ()
    assert progress.bytes_sent > 3 * len(ONE)


async def test_the_next_version_sends_what_differs(cluster: FolderNodes, tmp_path: Path) -> None:
    await deploy(cluster.site(), write_image(tmp_path, ONE, "1.0"), "n1")
    old = (cluster.root("n1") / "gedit/gedit-1.0.sif").stat()
    progress = await deploy(cluster.site(), write_image(tmp_path, TWO, "1.1"), "n1")
    row = progress.nodes["n1"]
    assert row.phase is Phase.DONE and row.note == "deployed, before: 1.0"
    assert row.bytes_sent < 0.05 * len(TWO)
    folder = cluster.root("n1") / "gedit"
    assert (folder / "gedit.sif").read_bytes() == TWO
    now = (folder / "gedit-1.0.sif").stat()
    assert (folder / "gedit-1.0.sif").read_bytes() == ONE
    assert (now.st_ino, now.st_mtime_ns, now.st_nlink) == (old.st_ino, old.st_mtime_ns, 1)


async def test_again_sends_nothing(cluster: FolderNodes, tmp_path: Path) -> None:
    one = write_image(tmp_path, ONE, "1.0")
    await deploy(cluster.site(), one, "n1")
    progress = await deploy(cluster.site(), one, "n1")
    assert (progress.bytes_sent, progress.nodes["n1"].note) == (0, "already there")


async def test_one_node_that_fails_harms_no_other(cluster: FolderNodes, tmp_path: Path) -> None:
    cluster.tool("n2", "sync", "echo 'sync: error syncing: Input/output error' >&2; exit 1")
    progress = await deploy(
        cluster.site(), write_image(tmp_path, ONE, "1.0"), "n1", "n2", "gone", "n3"
    )
    assert phases(progress) == {"n1": "done", "n2": "failed", "gone": "failed", "n3": "done"}
    assert "No route to host" in progress.nodes["gone"].note
    assert "gedit-1.0.sif" not in cluster.files("n2")
    assert "gedit.sif" not in cluster.files("n2")
    assert [row.node for row in progress.failed] == ["n2", "gone"]


async def test_a_full_disk_is_reported_with_figures(cluster: FolderNodes, tmp_path: Path) -> None:
    # stat -f: free blocks, all blocks, size of a block.
    few = (
        'case "$*" in *%b*) echo 1 9 4096 ;; -f*) echo 1 4096 ;; *) exec /usr/bin/stat "$@" ;; esac'
    )
    cluster.tool("n1", "stat", few)
    progress = await deploy(cluster.site(), write_image(tmp_path, ONE, "1.0"), "n1", "n2")
    assert phases(progress) == {"n1": "failed", "n2": "done"}
    assert "not enough space: it needs <0.1 GiB" in progress.nodes["n1"].note
    assert cluster.files("n1") == {".lock"}


async def test_a_disk_that_fills_up_during_the_copy(cluster: FolderNodes, tmp_path: Path) -> None:
    cluster.tool("n1", "rsync", "ulimit -f 1024; trap '' XFSZ; exec /usr/bin/rsync \"$@\"")
    one = write_image(tmp_path, ONE, "1.0")
    progress = await deploy(cluster.site(), one, "n1", "n2")
    assert phases(progress) == {"n1": "failed", "n2": "done"}
    assert "File too large" in progress.nodes["n1"].note
    assert "gedit-1.0.sif" not in cluster.files("n1")
    cluster.usual("n1", "rsync")
    again = await deploy(cluster.site(), one, "n1", "n2")
    assert set(phases(again).values()) == {"done"}
    assert 0 < again.nodes["n1"].bytes_sent < 0.9 * len(ONE), "it went on from what had arrived"
    assert again.nodes["n2"].bytes_sent == 0


async def test_what_arrives_wrong_is_thrown_away(cluster: FolderNodes, tmp_path: Path) -> None:
    one = write_image(tmp_path, ONE, "1.0")
    Path(one.path).write_bytes(ONE[:-1] + b"X")  # changed since it was read
    progress = await deploy(cluster.site(), one, "n1")
    assert phases(progress) == {"n1": "failed"}
    assert "it was removed" in progress.nodes["n1"].note
    assert cluster.files("n1") == {".lock"}


async def test_a_version_is_never_another(cluster: FolderNodes, tmp_path: Path) -> None:
    await deploy(cluster.site(), write_image(tmp_path, ONE, "1.0"), "n1")
    progress = await deploy(cluster.site(), write_image(tmp_path, TWO, "1.0"), "n1", "n2")
    assert phases(progress) == {"n1": "failed", "n2": "done"}
    assert "a different gedit-1.0.sif" in progress.nodes["n1"].note
    assert "build a new version" in progress.nodes["n1"].note
    assert (cluster.root("n1") / "gedit/gedit.sif").read_bytes() == ONE


async def test_a_flipped_bit_is_repaired_beside_those_who_run_it(
    cluster: FolderNodes, tmp_path: Path
) -> None:
    one = write_image(tmp_path, ONE, "1.0")
    await deploy(cluster.site(), one, "n1")
    file = cluster.root("n1") / "gedit/gedit-1.0.sif"
    with file.open("r+b") as opened:
        opened.seek(2 * MIB)
        opened.write(bytes([ONE[2 * MIB] ^ 1]))
    inode = file.stat().st_ino
    progress = await deploy(cluster.site(), one, "n1")
    assert progress.nodes["n1"].note == "fixed"
    assert file.read_bytes() == ONE
    assert file.stat().st_ino != inode, "who runs from it keeps the old one"
    assert 0 < progress.bytes_sent < 0.05 * len(ONE)


async def test_a_canary_that_fails_keeps_the_others_as_they_are(
    cluster: FolderNodes, tmp_path: Path
) -> None:
    async def smoke(node: str) -> str:
        raise VizdashError(node, "the smoke test failed: no desktop")

    await deploy(cluster.site(), write_image(tmp_path, ONE, "1.0"), "n1", "n2")
    two = write_image(tmp_path, TWO, "1.1")
    progress = await deploy(cluster.site(), two, "n1", "n2", canary="n2", smoke=smoke)
    assert phases(progress) == {"n1": "not tried", "n2": "failed"}
    assert "no desktop" in progress.nodes["n2"].note
    assert cluster.files("n1") == FILES
    # The canary has the image by its name, but nobody starts it.
    assert os.readlink(cluster.root("n2") / "gedit/gedit.sif") == "gedit-1.0.sif"


async def test_a_canary_that_goes_well_is_followed(cluster: FolderNodes, tmp_path: Path) -> None:
    order: list[str] = []

    async def smoke(node: str) -> str:
        order.append(node)
        return "llvmpipe"

    one = write_image(tmp_path, ONE, "1.0")
    progress = await deploy(cluster.site(), one, "n1", "n2", "n3", canary="n3", smoke=smoke)
    assert set(phases(progress).values()) == {"done"}
    assert order[0] == "n3" and sorted(order) == ["n1", "n2", "n3"]
    assert progress.nodes["n3"].note == "deployed; llvmpipe"


async def test_a_cancelled_deploy_leaves_no_image_and_continues_later(
    cluster: FolderNodes, tmp_path: Path
) -> None:
    cluster.stalls("n1")
    one = write_image(tmp_path, ONE, "1.0")
    progress = ChangeProgress(("n1", "n2"), bytes_total=one.size_bytes)
    from vizdash.images.deploy import Deployment

    task = asyncio.create_task(Deployment(cluster.site(), one, progress).run(("n1", "n2")))
    part = cluster.root("n1") / "gedit" / one.part
    while not (part.exists() and part.stat().st_size > MIB):
        assert not task.done()
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert progress.nodes["n1"].phase is Phase.CANCELLED
    assert not [name for name in cluster.files("n1") if name.startswith("gedit-1.0")]
    cluster.usual("n1", "rsync")
    again = await deploy(cluster.site(), one, "n1", "n2")
    assert set(phases(again).values()) == {"done"}
    assert again.nodes["n1"].bytes_sent < 0.8 * len(ONE)
    assert (cluster.root("n1") / "gedit/gedit.sif").read_bytes() == ONE


async def test_what_arrived_and_what_is_like_it_are_both_used(
    cluster: FolderNodes, tmp_path: Path
) -> None:
    """A broken-off copy of a version that is half like the last one: nothing is sent twice."""
    await deploy(cluster.site(), write_image(tmp_path, ONE, "1.0"), "n1")
    new = sif_like_bytes(3 * MIB, 7)
    half = write_image(tmp_path, new + ONE[MIB:], "1.1")
    folder = cluster.root("n1") / "gedit"
    (folder / half.part).write_bytes((new + ONE[MIB:])[: 2 * MIB])
    progress = await deploy(cluster.site(), half, "n1")
    assert progress.nodes["n1"].phase is Phase.DONE
    assert MIB * 0.9 < progress.bytes_sent < MIB * 1.2, "only the third MiB was on neither"
    assert cluster.files("n1") == {
        ".journal",
        ".lock",
        "gedit-1.0.sif",
        "gedit-1.0.sif.sha256",
        "gedit-1.1.sif",
        "gedit-1.1.sif.sha256",
        "gedit.sif",
    }


async def test_leftovers_of_killed_deploys_are_swept(cluster: FolderNodes, tmp_path: Path) -> None:
    folder = cluster.root("n1") / "gedit"
    folder.mkdir(parents=True)
    for name in (".gedit-0.9.sif.0123456789ab.part", ".gedit.sif.new.77", "x.sif.sha256.new.1"):
        (folder / name).write_text("left")
    (folder / ".gedit-0.9.sif.0123456789ab.basis").mkdir()
    await deploy(cluster.site(), write_image(tmp_path, ONE, "1.0"), "n1")
    assert cluster.files("n1") == FILES


async def test_two_deploys_at_once_do_no_harm(cluster: FolderNodes, tmp_path: Path) -> None:
    one = write_image(tmp_path, ONE, "1.0")
    found = await asyncio.gather(
        deploy(cluster.site(), one, "n1"),
        deploy(cluster.site(), one, "n1"),
    )
    assert {"done"} <= {phase for progress in found for phase in phases(progress).values()}
    assert (cluster.root("n1") / "gedit/gedit.sif").read_bytes() == ONE
    assert not [n for n in cluster.files("n1") if n.endswith(".part")]


async def test_a_folder_that_is_just_unlocked_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by what a verb of images.sh started, which ends a moment after it."""
    one = write_image(tmp_path, ONE, "1.0")
    folder = tmp_path / "root/gedit"
    folder.mkdir(parents=True)
    method = RsyncCopy(NodeShell(LocalRunner(), here=True), str(tmp_path / "root"))
    held = ["flock", "-F", str(folder / ".lock"), "sh", "-c", "echo; exec sleep $0"]
    for seconds in (1, 1000):
        with subprocess.Popen([*held, str(seconds)], stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            try:
                if seconds == 1:
                    await method.copy(one, CopyTarget("n1"), lambda _: None)
                else:
                    monkeypatch.setattr(copy, "_LOCK_S", 1)
                    with pytest.raises(VizdashError, match="another deploy is writing there"):
                        await method.copy(one, CopyTarget("n1"), lambda _: None)
            finally:
                holder.kill()
    assert (folder / one.part).read_bytes() == ONE


async def test_an_image_without_a_version_is_kept(cluster: FolderNodes, tmp_path: Path) -> None:
    folder = cluster.root("n1") / "gedit"
    folder.mkdir(parents=True)
    (folder / "gedit.sif").write_bytes(sif_like_bytes(MIB, 9))
    progress = await deploy(cluster.site(), write_image(tmp_path, ONE, "1.0"), "n1")
    assert progress.nodes["n1"].note == "deployed, before: legacy"
    assert (folder / "gedit-legacy.sif").read_bytes() == sif_like_bytes(MIB, 9)
    assert (folder / "gedit.sif").read_bytes() == ONE


async def test_a_node_of_another_kind_is_refused(cluster: FolderNodes, tmp_path: Path) -> None:
    from dataclasses import replace

    cluster.tool("n1", "uname", "echo riscv64")
    one = replace(write_image(tmp_path, ONE, "1.0"), arch="amd64")
    progress = await deploy(cluster.site(), one, "n1", "n2")
    assert "for amd64, the node is riscv64" in progress.nodes["n1"].note
    assert cluster.files("n1") == set()


async def test_without_rights_nothing_is_tried(cluster: FolderNodes, tmp_path: Path) -> None:
    cluster.tool("n1", "sudo", "echo 'sudo: a password is required' >&2; exit 1")
    site = cluster.site(sudo="always")
    progress = await deploy(site, write_image(tmp_path, ONE, "1.0"), "n1")
    assert "a password is required" in progress.nodes["n1"].note
    assert "deploy as root" in progress.nodes["n1"].note
    assert not cluster.root("n1").exists()


def test_killed_in_the_middle(cluster: FolderNodes, tmp_path: Path) -> None:
    """SIGKILL: nothing can clean up, and nothing half-written is taken for an image."""
    one = write_image(tmp_path, ONE, "1.0")
    cluster.stalls("n1")
    script = f"""
import asyncio
from pathlib import Path
from tests.integration.images.folder_nodes import ROOT, deploy
from vizdash.config import Deploy
from vizdash.images.deploy import DeploySite
from vizdash.images.node_script import NodeShell
from vizdash.images.distribution import choose_copy_method
from vizdash.images.copy import SourceImage
from vizdash.transport.local import LocalRunner
shell = NodeShell(LocalRunner(), Deploy(owner="{os.getuid()}:{os.getgid()}"))
asyncio.run(deploy(DeploySite(shell, ROOT, choose_copy_method(shell, ROOT)), {one!r}, "n1"))
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    part = cluster.root("n1") / "gedit" / one.part
    while not (part.exists() and part.stat().st_size > MIB):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not [name for name in cluster.files("n1") if name.startswith("gedit-1.0")]
    _, images = asyncio.run(cluster.survey("n1"))
    assert images == {}
    cluster.usual("n1", "rsync")
    again = asyncio.run(deploy(cluster.site(), one, "n1"))
    assert phases(again) == {"n1": "done"}
    assert again.bytes_sent < 0.8 * len(ONE)
    assert (cluster.root("n1") / "gedit/gedit.sif").read_bytes() == ONE


# ---------------------------------------------------------------- prune


async def two_versions(cluster: FolderNodes, tmp_path: Path, *nodes: str) -> None:
    await deploy(cluster.site(), write_image(tmp_path, ONE, "1.0"), *nodes)
    await deploy(cluster.site(), write_image(tmp_path, TWO, "1.1"), *nodes)


async def query_matrix(cluster: FolderNodes, *nodes: str) -> Matrix:
    from vizdash.images.survey import survey_nodes

    return await survey_nodes(cluster.shell(), nodes, ROOT, full=True, asked=True)


async def test_prune_keeps_what_is_current_open_or_claimed(
    cluster: FolderNodes, tmp_path: Path
) -> None:
    await two_versions(cluster, tmp_path, "n1", "n2", "n3")
    progress = ChangeProgress(("n3",))
    await switch_and_prune.switch_version(cluster.site(), progress, "gedit", {"n3": "1.0"})
    nodes = ("n1", "n2", "n3")
    held = (cluster.root("n1") / "gedit/gedit-1.0.sif").open("rb")
    with held:
        seen = await query_matrix(cluster, *nodes)
        claims = Session("i", "1", "gedit", "a", SessionState.READY, node="n2", image_version="1.0")
        going, staying = switch_and_prune.find_prunable(seen, "gedit", 1, ())
        assert {old.node for old in going} == {"n2"}
        assert {old.node: why for old, why in staying} == {
            "n1": "a process runs from it",
            "n3": "it is current",
        }
        going, staying = switch_and_prune.find_prunable(seen, "gedit", 1, (claims,))
        assert going == () and len(staying) == 3
        # A node looks again itself, since the look is older than the deed.
        old = [
            switch_and_prune.OldImage(n, "gedit", "gedit-1.0.sif", "1.0", len(ONE)) for n in nodes
        ]
        progress = ChangeProgress(nodes)
        await switch_and_prune.prune_images(cluster.site(), progress, {o.node: [o] for o in old})
    assert "a process runs from it" in progress.nodes["n1"].note
    assert progress.nodes["n2"].note == "removed 1.0: <0.1 GiB"
    assert "it is current" in progress.nodes["n3"].note
    assert "gedit-1.0.sif" not in cluster.files("n2")
    assert "gedit-1.0.sif.sha256" not in cluster.files("n2")
    assert "gedit-1.0.sif" in cluster.files("n1") and "gedit-1.0.sif" in cluster.files("n3")
