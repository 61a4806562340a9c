"""An update as one delta, by the real scripts and rsync, to nodes that are folders."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.images.folder_nodes import FolderNodes, deploy, sif_like_bytes, write_image
from vizdash.images import distribution
from vizdash.images.copy import SourceImage
from vizdash.images.progress import ChangeProgress, NodeProgress

MIB = 1 << 20
ONE = sif_like_bytes(6 * MIB, 1)
_DIGEST = hashlib.sha256(ONE).hexdigest()
TWO = ONE[: 2 * MIB] + sif_like_bytes(60_000, 2) + ONE[2 * MIB :]
NODES = ("n1", "n2", "n3", "n4", "n5")
#: A delta is about this long at most.
SMALL = 100_000


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderNodes:
    """Nodes that have 1.0."""
    made = FolderNodes(tmp_path, monkeypatch)
    made.add(*NODES, "new")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    for node in NODES:
        folder = made.root(node) / "gedit"
        folder.mkdir(parents=True)
        (folder / "gedit-1.0.sif").write_bytes(ONE)
        (folder / "gedit-1.0.sif.sha256").write_text(f"{_DIGEST}  gedit-1.0.sif\n")
        (folder / "gedit.sif").symlink_to("gedit-1.0.sif")
    return made


@pytest.fixture
def two(tmp_path: Path) -> SourceImage:
    return write_image(tmp_path, TWO, "1.1")


def done(progress: ChangeProgress) -> dict[str, NodeProgress]:
    """Each node, all of which succeeded."""
    rows = [(row.node, row.phase, row.note) for row in progress.nodes.values()]
    assert {str(row.phase) for row in progress.nodes.values()} == {"done"}, rows
    return progress.nodes


def has_both(cluster: FolderNodes, *nodes: str, old: bytes = ONE, new: bytes = TWO) -> None:
    """The new image is current, the old one is what it was, and nothing else is left."""
    for node in nodes:
        folder = cluster.root(node) / "gedit"
        assert (folder / "gedit.sif").readlink() == Path("gedit-1.1.sif")
        assert (folder / "gedit-1.1.sif").read_bytes() == new
        assert (folder / "gedit-1.0.sif").read_bytes() == old
        left = {name for name in cluster.files(node) if name.startswith(".")}
        assert left == {".lock", ".journal"}, node


def nothing_left(cluster: FolderNodes) -> None:
    """Nothing runs in the name of the nodes, and the image host keeps no delta."""
    deadline = time.monotonic() + 180
    while True:
        found = subprocess.run(
            ["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True
        )
        left = [line for line in found.stdout.splitlines() if f"{cluster.folder}/n" in line]
        left += [str(path) for path in (cluster.folder / "tmp").iterdir()]
        if not left:
            return
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_it_is_made_once_and_sent_to_each(cluster: FolderNodes, two: SourceImage) -> None:
    (cluster.folder / "n1/noise").touch()
    rows = done(asyncio.run(deploy(cluster.site(), two, *NODES)))
    has_both(cluster, *NODES)
    assert cluster.log().count("--server") == 1, "one node's checksums, and no rsync else"
    assert {row.bytes_sent for row in rows.values()} == {rows["n1"].bytes_sent}
    assert 20_000 < rows["n1"].bytes_sent < SMALL
    assert all(row.note == "deployed, before: 1.0" for row in rows.values())
    nothing_left(cluster)


def test_a_large_one_goes_from_node_to_node(
    cluster: FolderNodes, two: SourceImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distribution, "_EACH_BYTES", 0)
    rows = done(asyncio.run(deploy(cluster.site(), two, *NODES)))
    has_both(cluster, *NODES)
    assert cluster.log().count("--server") == 1
    assert all(20_000 < row.bytes_sent < SMALL for row in rows.values())
    assert not any("image host" in row.note for row in rows.values()), rows
    nothing_left(cluster)


def test_of_the_same_size_and_time(cluster: FolderNodes, tmp_path: Path) -> None:
    """Rsync takes such a file for the same one."""
    new = ONE[:MIB] + b"other" + ONE[MIB + 5 :]
    what = write_image(tmp_path, new, "1.1")
    for file in (Path(what.path), *(cluster.root(n) / "gedit/gedit-1.0.sif" for n in NODES)):
        os.utime(file, (1_700_000_000, 1_700_000_000))
    rows = done(asyncio.run(deploy(cluster.site(), what, *NODES)))
    has_both(cluster, *NODES, new=new)
    assert all(row.bytes_sent < SMALL for row in rows.values())
    assert cluster.log().count("--server") == 1


def test_few_nodes_get_it_by_rsync(cluster: FolderNodes, two: SourceImage) -> None:
    done(asyncio.run(deploy(cluster.site(), two, *NODES[:3])))
    has_both(cluster, *NODES[:3])
    assert cluster.log().count("--server") == 3


def test_a_node_without_the_old_version_gets_all_of_it(
    cluster: FolderNodes, two: SourceImage
) -> None:
    rows = done(asyncio.run(deploy(cluster.site(), two, "new", *NODES)))
    has_both(cluster, *NODES)
    assert (cluster.root("new") / "gedit/gedit.sif").read_bytes() == TWO
    assert rows["new"].bytes_sent > len(TWO) - SMALL
    assert all(rows[node].bytes_sent < SMALL for node in NODES)


@pytest.mark.parametrize("node", ["n1", "n3"], ids=["the one that is compared with", "another"])
def test_a_damaged_old_copy_is_named(cluster: FolderNodes, two: SourceImage, node: str) -> None:
    file = cluster.root(node) / "gedit/gedit-1.0.sif"
    damaged = ONE[:1000] + b"X" + ONE[1001:]
    with file.open("r+b") as opened:
        opened.seek(1000)
        opened.write(b"X")
    rows = done(asyncio.run(deploy(cluster.site(), two, *NODES)))
    has_both(cluster, *(set(NODES) - {node}))
    has_both(cluster, node, old=damaged)
    assert "from the image host: gedit-1.0.sif is damaged: its digest is" in rows[node].note
    assert all(row.note == "deployed, before: 1.0" for row in rows.values() if row.node != node)
    assert "# damaged: " in (file.parent / "gedit-1.0.sif.sha256").read_text()
    nothing_left(cluster)


_ONLY_BATCH = 'case "$*" in *--read-batch*) {} ;; esac; exec /usr/bin/rsync "$@"'
_ENOSPC = 'echo "rsync: [receiver] write failed on x: No space left on device (28)" >&2; exit 11'
FAULTS = {
    "it does nothing and exits with 0": ("rsync", "exit 0", "the delta made an image with digest"),
    "it is killed": ("rsync", "ulimit -f 1000", "rsync can't apply the delta"),
    "the disk is full": ("rsync", _ENOSPC, "No space left on device (28)"),
    "the delta is cut off": ("head", "", "the delta arrived incomplete"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_where_it_cannot_be_applied_rsync_brings_it(
    cluster: FolderNodes, two: SourceImage, fault: str
) -> None:
    name, words, why = FAULTS[fault]
    # images.sh reads the delta with head -c, and begins of files too.
    cut = '[ $# -gt 2 ] || exec /usr/bin/head "$1" $(($2 < 50000 ? $2 - 1 : $2))'
    cut += '; exec /usr/bin/head "$@"'
    cluster.tool("n2", name, _ONLY_BATCH.format(words) if name == "rsync" else cut)
    rows = done(asyncio.run(deploy(cluster.site(), two, *NODES)))
    has_both(cluster, *NODES)
    assert ", from the image host: " in rows["n2"].note and why in rows["n2"].note
    assert not any("image host" in row.note for row in rows.values() if row.node != "n2")
    nothing_left(cluster)


def test_where_none_can_be_made_rsync_brings_it_and_gives_the_reason(
    cluster: FolderNodes, two: SourceImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(cluster.folder / "nowhere"))
    rows = done(asyncio.run(deploy(cluster.site(), two, *NODES)))
    has_both(cluster, *NODES)
    assert all("No such file or directory" in row.note for row in rows.values()), rows


def test_killed_while_it_is_applied(cluster: FolderNodes, two: SourceImage, tmp_path: Path) -> None:
    """No name of an image is there before it is whole; the next run does it all."""
    waits = f"until [ -e {tmp_path}/go ]; do sleep 0.1; done; exit 20"
    for node in NODES:
        cluster.tool(node, "rsync", _ONLY_BATCH.format(f"touch {tmp_path}/at-{node}; {waits}"))
    script = f"""
import asyncio, os
from tests.integration.images.folder_nodes import ROOT, deploy
from vizdash.config import Deploy
from vizdash.images.deploy import DeploySite
from vizdash.images.distribution import choose_copy_method
from vizdash.images.node_script import NodeShell
from vizdash.images.copy import SourceImage
from vizdash.transport.local import LocalRunner
shell = NodeShell(LocalRunner(), Deploy(owner="{os.getuid()}:{os.getgid()}"))
asyncio.run(deploy(DeploySite(shell, ROOT, choose_copy_method(shell, ROOT)), {two!r}, *{NODES!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 120
    while not all((tmp_path / f"at-{node}").exists() for node in NODES):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    assert list((tmp_path / "tmp").iterdir()), "the delta is there while it is sent"
    process.send_signal(signal.SIGKILL)
    process.wait()
    for node in NODES:
        images = {name for name in cluster.files(node) if name.endswith(".sif")}
        assert images == {"gedit-1.0.sif", "gedit.sif"}
    (tmp_path / "go").touch()
    nothing_left(cluster)
    for node in NODES:
        cluster.usual(node, "rsync")
    rows = done(asyncio.run(deploy(cluster.site(), two, *NODES)))
    has_both(cluster, *NODES)
    assert all(row.bytes_sent < SMALL for row in rows.values())
    assert not any("image host" in row.note for row in rows.values()), rows
