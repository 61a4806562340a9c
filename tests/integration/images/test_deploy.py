"""Deploys with the real script, rsync and flock, to nodes that are folders of this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.images.nodes import ROOT, Cluster, cargo, deploy, sif
from vizdash.errors import VizdashError
from vizdash.images import change
from vizdash.images.progress import Phase, Progress
from vizdash.model import Matrix, Session, SessionState

MIB = 1 << 20
ONE = sif(4 * MIB, 1)
FILES = {".journal", ".lock", "gedit-1.0.sif", "gedit-1.0.sif.sha256", "gedit.sif"}
#: The same with 100 KB put in near the beginning, as a package more would.
TWO = ONE[:MIB] + sif(100_000, 2) + ONE[MIB:]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(tmp_path, monkeypatch)
    made.add("n1", "n2", "n3")
    return made


def phases(progress: Progress) -> dict[str, str]:
    print([(row.node, row.phase, row.note) for row in progress.nodes.values()])
    return {row.node: str(row.phase) for row in progress.nodes.values()}


async def test_a_first_copy(cluster: Cluster, tmp_path: Path) -> None:
    one = cargo(tmp_path, ONE, "1.0")
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
        place, images = await cluster.seen(node)
        assert images["gedit-1.0.sif"].digest == one.digest and place.strays == ()
    assert progress.bytes_sent > 3 * len(ONE)


async def test_the_next_version_sends_what_differs(cluster: Cluster, tmp_path: Path) -> None:
    await deploy(cluster.site(), cargo(tmp_path, ONE, "1.0"), "n1")
    old = (cluster.root("n1") / "gedit/gedit-1.0.sif").stat()
    progress = await deploy(cluster.site(), cargo(tmp_path, TWO, "1.1"), "n1")
    row = progress.nodes["n1"]
    assert row.phase is Phase.DONE and row.note == "deployed, before: 1.0"
    assert row.bytes_sent < 0.05 * len(TWO)
    folder = cluster.root("n1") / "gedit"
    assert (folder / "gedit.sif").read_bytes() == TWO
    now = (folder / "gedit-1.0.sif").stat()
    assert (folder / "gedit-1.0.sif").read_bytes() == ONE
    assert (now.st_ino, now.st_mtime_ns, now.st_nlink) == (old.st_ino, old.st_mtime_ns, 1)


async def test_again_sends_nothing(cluster: Cluster, tmp_path: Path) -> None:
    one = cargo(tmp_path, ONE, "1.0")
    await deploy(cluster.site(), one, "n1")
    progress = await deploy(cluster.site(), one, "n1")
    assert (progress.bytes_sent, progress.nodes["n1"].note) == (0, "it had it")


async def test_one_node_that_fails_harms_no_other(cluster: Cluster, tmp_path: Path) -> None:
    cluster.tool("n2", "sync", "echo 'sync: error syncing: Input/output error' >&2; exit 1")
    progress = await deploy(cluster.site(), cargo(tmp_path, ONE, "1.0"), "n1", "n2", "gone", "n3")
    assert phases(progress) == {"n1": "done", "n2": "failed", "gone": "failed", "n3": "done"}
    assert "No route to host" in progress.nodes["gone"].note
    assert "gedit-1.0.sif" not in cluster.files("n2")
    assert "gedit.sif" not in cluster.files("n2")
    assert [row.node for row in progress.failed] == ["n2", "gone"]


async def test_a_full_disk_is_told_with_figures(cluster: Cluster, tmp_path: Path) -> None:
    # stat -f: free blocks, all blocks, size of a block.
    few = (
        'case "$*" in *%b*) echo 1 9 4096 ;; -f*) echo 1 4096 ;; *) exec /usr/bin/stat "$@" ;; esac'
    )
    cluster.tool("n1", "stat", few)
    progress = await deploy(cluster.site(), cargo(tmp_path, ONE, "1.0"), "n1", "n2")
    assert phases(progress) == {"n1": "failed", "n2": "done"}
    assert "no room: it needs 4 MiB" in progress.nodes["n1"].note
    assert cluster.files("n1") == {".lock"}


async def test_a_disk_that_fills_up_on_the_way(cluster: Cluster, tmp_path: Path) -> None:
    cluster.tool("n1", "rsync", "ulimit -f 1024; trap '' XFSZ; exec /usr/bin/rsync \"$@\"")
    one = cargo(tmp_path, ONE, "1.0")
    progress = await deploy(cluster.site(), one, "n1", "n2")
    assert phases(progress) == {"n1": "failed", "n2": "done"}
    assert "File too large" in progress.nodes["n1"].note
    assert "gedit-1.0.sif" not in cluster.files("n1")
    cluster.usual("n1", "rsync")
    again = await deploy(cluster.site(), one, "n1", "n2")
    assert set(phases(again).values()) == {"done"}
    assert 0 < again.nodes["n1"].bytes_sent < 0.9 * len(ONE), "it went on from what had arrived"
    assert again.nodes["n2"].bytes_sent == 0


async def test_what_arrives_wrong_is_thrown_away(cluster: Cluster, tmp_path: Path) -> None:
    one = cargo(tmp_path, ONE, "1.0")
    Path(one.path).write_bytes(ONE[:-1] + b"X")  # changed since it was read
    progress = await deploy(cluster.site(), one, "n1")
    assert phases(progress) == {"n1": "failed"}
    assert "thrown away" in progress.nodes["n1"].note
    assert cluster.files("n1") == {".lock"}


async def test_a_version_is_never_another(cluster: Cluster, tmp_path: Path) -> None:
    await deploy(cluster.site(), cargo(tmp_path, ONE, "1.0"), "n1")
    progress = await deploy(cluster.site(), cargo(tmp_path, TWO, "1.0"), "n1", "n2")
    assert phases(progress) == {"n1": "failed", "n2": "done"}
    assert "another content" in progress.nodes["n1"].note
    assert "build it as a new one" in progress.nodes["n1"].note
    assert (cluster.root("n1") / "gedit/gedit.sif").read_bytes() == ONE


async def test_a_flipped_bit_is_mended_beside_those_who_run_it(
    cluster: Cluster, tmp_path: Path
) -> None:
    one = cargo(tmp_path, ONE, "1.0")
    await deploy(cluster.site(), one, "n1")
    file = cluster.root("n1") / "gedit/gedit-1.0.sif"
    with file.open("r+b") as opened:
        opened.seek(2 * MIB)
        opened.write(bytes([ONE[2 * MIB] ^ 1]))
    inode = file.stat().st_ino
    progress = await deploy(cluster.site(), one, "n1")
    assert progress.nodes["n1"].note == "mended"
    assert file.read_bytes() == ONE
    assert file.stat().st_ino != inode, "who runs from it keeps the old one"
    assert 0 < progress.bytes_sent < 0.05 * len(ONE)


async def test_a_canary_that_fails_keeps_the_others_as_they_are(
    cluster: Cluster, tmp_path: Path
) -> None:
    async def smoke(node: str) -> str:
        raise VizdashError(node, "the smoke test failed: no desktop")

    await deploy(cluster.site(), cargo(tmp_path, ONE, "1.0"), "n1", "n2")
    two = cargo(tmp_path, TWO, "1.1")
    progress = await deploy(cluster.site(), two, "n1", "n2", canary="n2", smoke=smoke)
    assert phases(progress) == {"n1": "not tried", "n2": "failed"}
    assert "no desktop" in progress.nodes["n2"].note
    assert cluster.files("n1") == FILES
    # The canary has the image by its name, but nobody starts it.
    assert os.readlink(cluster.root("n2") / "gedit/gedit.sif") == "gedit-1.0.sif"


async def test_a_canary_that_goes_well_is_followed(cluster: Cluster, tmp_path: Path) -> None:
    order: list[str] = []

    async def smoke(node: str) -> str:
        order.append(node)
        return "llvmpipe"

    one = cargo(tmp_path, ONE, "1.0")
    progress = await deploy(cluster.site(), one, "n1", "n2", "n3", canary="n3", smoke=smoke)
    assert set(phases(progress).values()) == {"done"}
    assert order[0] == "n3" and sorted(order) == ["n1", "n2", "n3"]
    assert progress.nodes["n3"].note == "deployed; llvmpipe"


async def test_cancelled_it_leaves_no_image_and_goes_on_later(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.stalls("n1")
    one = cargo(tmp_path, ONE, "1.0")
    progress = Progress(("n1", "n2"), bytes_total=one.size_bytes)
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
    cluster: Cluster, tmp_path: Path
) -> None:
    """A broken-off copy of a version that is half like the last one: nothing is sent twice."""
    await deploy(cluster.site(), cargo(tmp_path, ONE, "1.0"), "n1")
    new = sif(3 * MIB, 7)
    half = cargo(tmp_path, new + ONE[MIB:], "1.1")
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


async def test_leftovers_of_killed_deploys_are_swept(cluster: Cluster, tmp_path: Path) -> None:
    folder = cluster.root("n1") / "gedit"
    folder.mkdir(parents=True)
    for name in (".gedit-0.9.sif.0123456789ab.part", ".gedit.sif.new.77", "x.sif.sha256.new.1"):
        (folder / name).write_text("left")
    (folder / ".gedit-0.9.sif.0123456789ab.basis").mkdir()
    await deploy(cluster.site(), cargo(tmp_path, ONE, "1.0"), "n1")
    assert cluster.files("n1") == FILES


async def test_two_deploys_at_once_do_no_harm(cluster: Cluster, tmp_path: Path) -> None:
    one = cargo(tmp_path, ONE, "1.0")
    found = await asyncio.gather(
        deploy(cluster.site(), one, "n1"),
        deploy(cluster.site(), one, "n1"),
    )
    assert {"done"} <= {phase for progress in found for phase in phases(progress).values()}
    assert (cluster.root("n1") / "gedit/gedit.sif").read_bytes() == ONE
    assert not [n for n in cluster.files("n1") if n.endswith(".part")]


async def test_an_image_without_a_version_is_kept(cluster: Cluster, tmp_path: Path) -> None:
    folder = cluster.root("n1") / "gedit"
    folder.mkdir(parents=True)
    (folder / "gedit.sif").write_bytes(sif(MIB, 9))
    progress = await deploy(cluster.site(), cargo(tmp_path, ONE, "1.0"), "n1")
    assert progress.nodes["n1"].note == "deployed, before: legacy"
    assert (folder / "gedit-legacy.sif").read_bytes() == sif(MIB, 9)
    assert (folder / "gedit.sif").read_bytes() == ONE


async def test_a_node_of_another_kind_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    from dataclasses import replace

    cluster.tool("n1", "uname", "echo riscv64")
    one = replace(cargo(tmp_path, ONE, "1.0"), arch="amd64")
    progress = await deploy(cluster.site(), one, "n1", "n2")
    assert "for amd64, the node is riscv64" in progress.nodes["n1"].note
    assert cluster.files("n1") == set()


async def test_without_rights_nothing_is_tried(cluster: Cluster, tmp_path: Path) -> None:
    cluster.tool("n1", "sudo", "echo 'sudo: a password is required' >&2; exit 1")
    site = cluster.site(sudo="always")
    progress = await deploy(site, cargo(tmp_path, ONE, "1.0"), "n1")
    assert "a password is required" in progress.nodes["n1"].note
    assert "deploy as root" in progress.nodes["n1"].note
    assert not cluster.root("n1").exists()


def test_killed_in_the_middle(cluster: Cluster, tmp_path: Path) -> None:
    """SIGKILL: nothing can clean up, and nothing half-written is taken for an image."""
    one = cargo(tmp_path, ONE, "1.0")
    cluster.stalls("n1")
    script = f"""
import asyncio
from pathlib import Path
from tests.integration.images.nodes import ROOT, deploy
from vizdash.config import Deploy
from vizdash.images.deploy import Site
from vizdash.images.shell import NodeShell
from vizdash.images.distribution import travel
from vizdash.images.travel import Cargo
from vizdash.transport.local import LocalRunner
shell = NodeShell(LocalRunner(), Deploy(owner="{os.getuid()}:{os.getgid()}"))
asyncio.run(deploy(Site(shell, ROOT, travel(shell, ROOT)), {one!r}, "n1"))
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    part = cluster.root("n1") / "gedit" / one.part
    while not (part.exists() and part.stat().st_size > MIB):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not [name for name in cluster.files("n1") if name.startswith("gedit-1.0")]
    _, images = asyncio.run(cluster.seen("n1"))
    assert images == {}
    cluster.usual("n1", "rsync")
    again = asyncio.run(deploy(cluster.site(), one, "n1"))
    assert phases(again) == {"n1": "done"}
    assert again.bytes_sent < 0.8 * len(ONE)
    assert (cluster.root("n1") / "gedit/gedit.sif").read_bytes() == ONE


# ---------------------------------------------------------------- prune


async def two_versions(cluster: Cluster, tmp_path: Path, *nodes: str) -> None:
    await deploy(cluster.site(), cargo(tmp_path, ONE, "1.0"), *nodes)
    await deploy(cluster.site(), cargo(tmp_path, TWO, "1.1"), *nodes)


async def matrix(cluster: Cluster, *nodes: str) -> Matrix:
    from vizdash.images.matrix import collect

    return await collect(cluster.shell(), nodes, ROOT, full=True)


async def test_prune_keeps_what_is_current_open_or_claimed(
    cluster: Cluster, tmp_path: Path
) -> None:
    await two_versions(cluster, tmp_path, "n1", "n2", "n3")
    progress = Progress(("n3",))
    await change.switch(cluster.site(), progress, "gedit", {"n3": "1.0"})
    nodes = ("n1", "n2", "n3")
    held = (cluster.root("n1") / "gedit/gedit-1.0.sif").open("rb")
    with held:
        seen = await matrix(cluster, *nodes)
        claims = Session("i", "1", "gedit", "a", SessionState.READY, node="n2", image_version="1.0")
        going, staying = change.prunable(seen, "gedit", 1, ())
        assert {old.node for old in going} == {"n2"}
        assert {old.node: why for old, why in staying} == {
            "n1": "a process runs from it",
            "n3": "it is the current one",
        }
        going, staying = change.prunable(seen, "gedit", 1, (claims,))
        assert going == () and len(staying) == 3
        # A node looks again itself, since the look is older than the deed.
        old = [change.Old(n, "gedit", "gedit-1.0.sif", "1.0", len(ONE)) for n in nodes]
        progress = Progress(nodes)
        await change.prune(cluster.site(), progress, {o.node: [o] for o in old})
    assert "a process runs from it" in progress.nodes["n1"].note
    assert progress.nodes["n2"].note == "removed 1.0: 4 MiB"
    assert "it is the current one" in progress.nodes["n3"].note
    assert "gedit-1.0.sif" not in cluster.files("n2")
    assert "gedit-1.0.sif.sha256" not in cluster.files("n2")
    assert "gedit-1.0.sif" in cluster.files("n1") and "gedit-1.0.sif" in cluster.files("n3")
