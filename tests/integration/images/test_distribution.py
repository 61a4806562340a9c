"""A first copy from node to node, by the real scripts, to nodes that are folders."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.images.folder_nodes import FolderNodes, deploy, sif_like_bytes, write_image
from tests.integration.images.operators import Operator
from vizdash.images.progress import ChangeProgress

MIB = 1 << 20
ONE = sif_like_bytes(6 * MIB, 1)
#: Shell words that give the file that dd(1) writes.
PART = "for w; do case $w in of=*) f=${w#of=} ;; esac; done"
NODES = ("n1", "n2", "n3", "n4", "n5", "n6")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderNodes:
    made = FolderNodes(tmp_path, monkeypatch)
    made.add(*NODES)
    return made


def outcomes(progress: ChangeProgress) -> dict[str, str]:
    print([(row.node, row.phase, row.note) for row in progress.nodes.values()])
    return {row.node: str(row.phase) for row in progress.nodes.values()}


def has_it(cluster: FolderNodes, *nodes: str) -> None:
    for node in nodes:
        assert (cluster.root(node) / "gedit/gedit.sif").read_bytes() == ONE
        left = {name for name in cluster.files(node) if name.startswith(".")}
        assert left == {".lock", ".journal"}, "nothing of the copy is left"


def started_by(cluster: FolderNodes) -> list[str]:
    """What runs in the name of these nodes."""
    found = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    return [line for line in found.stdout.splitlines() if f"{cluster.folder}/n" in line]


def wait_nothing_runs(cluster: FolderNodes) -> None:
    deadline = time.monotonic() + 180
    while left := started_by(cluster):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


async def test_each_node_feeds_the_next(cluster: FolderNodes, tmp_path: Path) -> None:
    (cluster.folder / "n2/noise").touch()
    one = write_image(tmp_path, ONE, "1.0")
    progress = await deploy(cluster.site(), one, *NODES)
    assert set(outcomes(progress).values()) == {"done"}
    has_it(cluster, *NODES)
    log = cluster.log()
    assert "--server" not in log, "rsync had nothing to do"
    assert [row.bytes_sent for row in progress.nodes.values()] == [len(ONE)] * len(NODES)
    wait_nothing_runs(cluster)


async def test_an_image_is_read_once_while_it_arrives_and_switched_with_the_same_command(
    cluster: FolderNodes, tmp_path: Path
) -> None:
    for node in NODES:
        cluster.tool(
            node, "openssl", f'echo read >>{tmp_path}/{node}.reads; exec /usr/bin/openssl "$@"'
        )
    progress = await deploy(cluster.site(), write_image(tmp_path, ONE, "1.0"), *NODES)
    assert set(outcomes(progress).values()) == {"done"}
    has_it(cluster, *NODES)
    for node in NODES:
        assert (tmp_path / f"{node}.reads").read_text() == "read\n"
        verbs = [line for line in cluster.log().splitlines() if line.startswith(f"{node}: ")]
        assert not [line for line in verbs if " switch " in line]


async def test_what_changes_after_it_has_arrived_is_read_again(
    cluster: FolderNodes, tmp_path: Path
) -> None:
    """The digest that was read while it arrived is that of another file then."""
    flip = f"printf x | /bin/dd of=$2 bs=1 seek={MIB} conv=notrunc status=none"
    cluster.tool("n2", "find", f'/usr/bin/find "$@"; case $2 in /proc/*) {flip} ;; esac')
    progress = await deploy(cluster.site(), write_image(tmp_path, ONE, "1.0"), *NODES)
    assert set(outcomes(progress).values()) == {"done"}
    assert "from the image host: the copy had digest" in progress.nodes["n2"].note
    has_it(cluster, *NODES)


async def test_few_nodes_and_new_versions_are_rsyncs(cluster: FolderNodes, tmp_path: Path) -> None:
    await deploy(cluster.site(), write_image(tmp_path, ONE, "1.0"), "n1", "n2", "n3")
    assert cluster.log().count("--server") == 3
    assert "chain" not in cluster.log() and ".part " not in cluster.log().replace("rsync", "")
    await deploy(cluster.site(method="chain"), write_image(tmp_path, ONE, "1.0"), "n4", "n5")
    assert cluster.log().count("--server") == 3
    two = write_image(tmp_path, ONE[:MIB] + b"x" * 1000 + ONE[MIB:], "1.1")
    progress = await deploy(cluster.site(), two, "n1", "n2", "n3", "n4", "n5")
    assert set(outcomes(progress).values()) == {"done"}
    assert all(row.bytes_sent < 0.1 * len(ONE) for row in progress.nodes.values())


async def test_nodes_that_may_not_reach_each_other_get_it_by_rsync(
    cluster: FolderNodes, tmp_path: Path
) -> None:
    for node in NODES:
        (cluster.folder / node / "alone").touch()
    progress = await deploy(cluster.site(), write_image(tmp_path, ONE, "1.0"), *NODES)
    assert set(outcomes(progress).values()) == {"done"}
    has_it(cluster, *NODES)
    notes = {row.node: row.note for row in progress.nodes.values() if "can't reach" in row.note}
    assert len(notes) >= len(NODES) - 2, "each says why it came from the image host"
    assert all("Permission denied (publickey)" in note for note in notes.values())


async def test_a_node_that_is_gone_is_named_and_harms_no_other(
    cluster: FolderNodes, tmp_path: Path
) -> None:
    cluster.tool("n3", "bash", 'case "$*" in *MARK*) exit 1 ;; esac; exec /bin/bash "$@"')
    progress = await deploy(cluster.site(), write_image(tmp_path, ONE, "1.0"), "gone", *NODES)
    found = outcomes(progress)
    assert found.pop("gone") == "failed" and set(found.values()) == {"done"}
    assert "No route to host" in progress.nodes["gone"].note
    has_it(cluster, *NODES)


async def test_a_node_that_takes_nothing_comes_last_and_harms_no_other(
    cluster: FolderNodes, tmp_path: Path
) -> None:
    cluster.tool("n2", "dd", "exec cat >/dev/null")
    progress = await deploy(cluster.site(), write_image(tmp_path, ONE, "1.0"), *NODES)
    assert set(outcomes(progress).values()) == {"done"}
    assert "can't reach it: the data sent did not arrive" in progress.nodes["n2"].note
    assert "from the image host" not in "".join(
        row.note for row in progress.nodes.values() if row.node != "n2"
    )
    has_it(cluster, *NODES)
    wait_nothing_runs(cluster)


async def test_bytes_that_came_wrong_come_again_from_the_image_host(
    cluster: FolderNodes, tmp_path: Path
) -> None:
    """Also on the nodes that this one fed."""
    # As many bytes, however often it gets another feeder.
    cluster.tool("n6", "dd", f"{PART}; exec tr '\\000' '\\001' >>\"$f\"")
    progress = await deploy(cluster.site(), write_image(tmp_path, ONE, "1.0"), *NODES)
    assert set(outcomes(progress).values()) == {"done"}
    assert "from the image host: the copy had digest" in progress.nodes["n6"].note
    has_it(cluster, *NODES)
    assert all(cluster.files(node) == cluster.files("n1") for node in NODES), "nothing is left"


async def test_bytes_that_come_wrong_again_are_thrown_away(
    cluster: FolderNodes, tmp_path: Path
) -> None:
    cluster.tool("n6", "openssl", "echo 00112233445566778899aabbccddeeff | /usr/bin/sha256sum")
    progress = await deploy(cluster.site(), write_image(tmp_path, ONE, "1.0"), *NODES)
    found = outcomes(progress)
    assert found.pop("n6") == "failed", "only the digest decides"
    assert set(found.values()) == {"done"}
    assert "it was removed" in progress.nodes["n6"].note
    assert not {name for name in cluster.files("n6") if "gedit" in name}
    cluster.usual("n6", "openssl")
    again = await deploy(cluster.site(), write_image(tmp_path, ONE, "1.0"), *NODES)
    assert set(outcomes(again).values()) == {"done"}
    has_it(cluster, *NODES)


async def test_a_part_that_is_too_long_is_thrown_away(cluster: FolderNodes, tmp_path: Path) -> None:
    one = write_image(tmp_path, ONE, "1.0")
    for node in NODES[:2]:
        (cluster.root(node) / "gedit").mkdir(parents=True)
        (cluster.root(node) / "gedit" / one.part).write_bytes(ONE + b"X")
    progress = await deploy(cluster.site(), one, *NODES)
    assert set(outcomes(progress).values()) == {"done"}
    has_it(cluster, *NODES)


def test_killed_midway_nothing_is_sent_again(cluster: FolderNodes, tmp_path: Path) -> None:
    """SIGKILL when some nodes have a part of it: the next run sends the rest, and ends what ran."""
    one = write_image(tmp_path, ONE, "1.0")
    come = 2 * MIB
    for node in NODES:
        word = "for w; do case $w in of=*) f=${w#of=} ;; esac; done"
        cluster.tool(node, "dd", f'{word}; head -c {come} >>"$f"; exec cat >/dev/null')
    script = f"""
import asyncio
from pathlib import Path
import pytest
from tests.integration.images.folder_nodes import ROOT, deploy
from vizdash.config import Deploy
from vizdash.images.deploy import DeploySite
from vizdash.images.distribution import choose_copy_method
from vizdash.images.node_script import NodeShell
from vizdash.images.copy import SourceImage
from vizdash.transport.local import LocalRunner
shell = NodeShell(LocalRunner(), Deploy(owner="{os.getuid()}:{os.getgid()}"))
asyncio.run(deploy(DeploySite(shell, ROOT, choose_copy_method(shell, ROOT)), {one!r}, *{NODES!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    parts = [cluster.root(node) / "gedit" / one.part for node in NODES]
    deadline = time.monotonic() + 120
    while sum(part.exists() and part.stat().st_size >= come for part in parts) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_nothing_runs(cluster)
    sizes = {
        node: part.stat().st_size if part.exists() else 0
        for node, part in zip(NODES, parts, strict=True)
    }
    for node in NODES:
        cluster.usual(node, "dd")
    again = asyncio.run(deploy(cluster.site(), one, *NODES))
    assert set(outcomes(again).values()) == {"done"}
    assert {n: len(ONE) - row.bytes_sent for n, row in again.nodes.items()} == sizes
    has_it(cluster, *NODES)


def test_nodes_for_which_open_files_do_not_suffice_get_it_by_rsync(
    cluster: FolderNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(cluster.folder / "state"))
    nodes = tuple(f"n{at}" for at in range(1, 15))
    cluster.add(*(set(nodes) - set(NODES)))
    operator = Operator(cluster.folder, nodes)
    operator.build("1.0")
    module = "tests.integration.images.operators"
    words = (str(cluster.folder), ",".join(nodes), "deploy", "1.0", "", "0")
    subprocess.run(
        [sys.executable, "-m", module, *words],
        check=True,
        # Too few for a connection to each of them at once, also where root may open more.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (46, 46)),
    )
    events = {e.node: e for e in operator.history() if e.outcome != "began"}
    assert {node: events[node].outcome for node in nodes} == dict.fromkeys(nodes, "ok"), events
    assert all("from the image host: 46 open files" in e.detail for e in events.values())
