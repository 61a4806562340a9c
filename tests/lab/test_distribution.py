"""An image from node to node over real sshd while one node fails, and its update as one delta.

The links are so slow that everything is in the middle for a long time, and at full speed again once
that has been interrupted.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.images.operators import image_bytes
from tests.lab import Host, Lab, recipe
from tests.lab.gedit_builds import ADMIN, HOME
from tests.lab.verbs import run_vizdash

ROOT = "/opt/apptainers/apps"
FOLDER = f"{ROOT}/gedit"
STORE = f"{HOME}/store/gedit"
NODES = recipe.NODES
MIB = 1 << 20
SIZE = 24 * MIB
#: Of the links while a copy is to be interrupted: it would take 100 s.
RATE = "2mbit"
#: Bytes of it on each node before it is interrupted.
BEGUN = MIB // 4
_CONFIG = f"clusters: {{lab: {{image_store: {HOME}/store, deploy: {{method: chain}}}}}}\n"


@pytest.fixture(scope="module")
def running_lab(can_lab: None) -> Iterator[Lab]:
    """A cluster, and gedit 1.0 and 1.1 in the deploy account's store, 1 % apart."""
    with Lab.start() as lab:
        lab.login.run(f"mkdir -p .config/vizdash {STORE}", user=ADMIN)
        lab.login.run(["tee", ".config/vizdash/config.yaml"], user=ADMIN, input=_CONFIG)
        one = image_bytes("1.0", size=SIZE)
        more = random.Random(1).randbytes(SIZE // 100)
        (_store(lab) / "gedit-1.0.sif").write_bytes(one)
        (_store(lab) / "gedit-1.1.sif").write_bytes(one[: SIZE // 4] + more + one[SIZE // 4 :])
        yield lab


@pytest.fixture
def empty_lab(running_lab: Lab) -> Iterator[Lab]:
    """No node has a gedit, and each is up again at the end; nothing is left of what was done."""
    lab = running_lab
    for node in lab.nodes:
        node.run(["rm", "-rf", FOLDER])
    lab.login.run(["rm", "-f", f"{ROOT}/.inventory.json"])
    before = {node.name: leftovers(node) for node in (lab.login, *lab.nodes)}
    yield lab
    for node in lab.nodes:
        if not node.alive:
            lab.restart(node)
    deadline = time.monotonic() + 120
    for node in (lab.login, *lab.nodes):
        while more := set(leftovers(node)) - set(before[node.name]):
            assert time.monotonic() < deadline, (node.name, more)
            time.sleep(0.2)


def _store(lab: Lab) -> Path:
    return lab.login.root / STORE[1:]


def leftovers(host: Host) -> list[str]:
    """What a deploy might leave: keys, temporary files, processes."""
    files = host.run(f"ls -A {HOME}/.ssh /root/.ssh /tmp /var/tmp 2>/dev/null; true").stdout
    running = host.run(f"ps -eo args | grep -F -e {FOLDER} -e vizdash-delta; true").stdout
    return [*files.splitlines(), *(x for x in running.splitlines() if "grep -F" not in x)]


def part(node: Host) -> int:
    """Bytes of an image on its way that are on a node."""
    return max((p.stat().st_size for p in (node.root / FOLDER[1:]).glob(".*.part")), default=0)


def answers(out: str) -> dict[str, dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(out)["deploy"]["nodes"]
    print([(row["node"], row["outcome"], row["note"], row["bytes_sent"]) for row in rows])
    return {row["node"]: row for row in rows}


def deploy(lab: Lab, version: str) -> dict[str, dict[str, Any]]:
    words = ("deploy", "gedit", "--version", version, "--json")
    return answers(run_vizdash(lab, *words, user=ADMIN, timeout=600).stdout)


def fail_midway(lab: Lab, fail: str) -> tuple[Host, dict[str, dict[str, Any]]]:
    """Deploy 1.0, and let one node fail while all are in the middle of it: that node,
    and how each ended.
    """
    words = ["vizdash", "deploy", "gedit", "--version", "1.0", "--json"]
    process = lab.login.popen(words, user=ADMIN)
    try:
        with lab.slow_link(*lab.nodes, rate=RATE):
            deadline = time.monotonic() + 120
            while min(sizes := [part(node) for node in lab.nodes]) < BEGUN:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline, f"the copy stands still: {sizes}"
                time.sleep(0.05)
            # The first of the chain: both others get theirs through it.
            victim = max(lab.nodes, key=part)
            if fail == "power":
                victim.power_off()
            else:
                # There is none while it gets another feeder.
                victim.run("until pkill -STOP -x dd; do sleep 0.05; done", timeout=180)
            had = {node.name: part(node) for node in lab.nodes if node.alive}
            assert max(had.values()) < SIZE, "it was in the middle"
        out, output = process.communicate(timeout=600)
    finally:
        process.terminate()
    assert out and process.returncode == (1 if fail == "power" else 0), output
    return victim, answers(out)


def has_it(node: Host, version: str) -> None:
    want = hashlib.sha256((node.root / f"{STORE[1:]}/gedit-{version}.sif").read_bytes()).hexdigest()
    assert node.run(["sha256sum", f"{FOLDER}/gedit.sif"]).stdout[:64] == want
    assert node.run(["readlink", f"{FOLDER}/gedit.sif"]).stdout == f"gedit-{version}.sif\n"
    left = set(node.run(["ls", "-A", FOLDER]).stdout.split())
    assert {name for name in left if name.startswith(".")} == {".lock", ".journal"}


def test_a_node_loses_power_midway(empty_lab: Lab) -> None:
    victim, rows = fail_midway(empty_lab, "power")
    others = [node for node in empty_lab.nodes if node.name != victim.name]
    assert rows[victim.name]["outcome"] == "failed" and rows[victim.name]["note"]
    for node in others:
        assert rows[node.name]["outcome"] == "done", rows
        assert "image host" not in rows[node.name]["note"], "the chain went on without it"
        has_it(node, "1.0")
    disk = empty_lab.run / victim.name / "upper" / FOLDER[1:]
    assert not list(disk.glob("gedit*.sif")), "no half image under a real name"
    empty_lab.restart(victim)
    arrived = part(empty_lab.hosts[victim.name])
    assert BEGUN <= arrived < SIZE
    again = deploy(empty_lab, "1.0")
    assert {row["outcome"] for row in again.values()} == {"done"}
    assert [again[node.name]["bytes_sent"] for node in others] == [0, 0]
    # What had arrived there is not sent again; rsync(1) adds 4 bytes to each 32 KiB.
    assert 0 < again[victim.name]["bytes_sent"] - (SIZE - arrived) < SIZE // 1000
    has_it(empty_lab.hosts[victim.name], "1.0")


def test_a_node_hangs_midway_and_then_an_update_is_one_delta(empty_lab: Lab) -> None:
    victim, rows = fail_midway(empty_lab, "hang")
    # With dd(1), sudo(8) stopped, too, as it does; the dd was ended by the next receiver.
    victim.run("pkill -CONT -x sudo; true")
    assert {row["outcome"] for row in rows.values()} == {"done"}, rows
    for node in empty_lab.nodes:
        has_it(node, "1.0")
    update = deploy(empty_lab, "1.1")
    assert {row["note"] for row in update.values()} == {"deployed, before: 1.0"}
    (sent,) = {row["bytes_sent"] for row in update.values()}
    assert SIZE // 100 < sent < SIZE // 50
    for node in empty_lab.nodes:
        has_it(node, "1.1")
        old = node.run(["sha256sum", f"{FOLDER}/gedit-1.0.sif"]).stdout[:64]
        assert old == hashlib.sha256((_store(empty_lab) / "gedit-1.0.sif").read_bytes()).hexdigest()
