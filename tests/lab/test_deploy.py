"""Images brought to three nodes: by what differs, whole or not at all, under sessions that run.

Each test begins with nodes that never had gedit, and deploys what it needs.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab import Host, Lab, recipe
from tests.lab.browser import Desktop, desktop
from tests.lab.vd import opened, sessions, start, vizdash, wait_state
from tests.lab.yard import ADMIN, HOME, build_gedit, build_host, furnish, with_one_package_more
from vizdash.images import sif

ROOT = "/opt/apptainers/apps"
FOLDER = f"{ROOT}/gedit"
NODES = recipe.NODES
STORE = f"{HOME}/store/gedit"
#: The deploy account's log of what it did, below its home.
HISTORY = ".local/state/vizdash/images.jsonl"
#: White paper, as gedit shows it.
PAPER = (255, 255, 255)

#: Two images are built before the first test.
pytestmark = pytest.mark.timeout(2400)


@dataclass(frozen=True)
class Builds:
    """What the build verb gave and said, of gedit 1.0 and of 1.1."""

    made: tuple[dict[str, Any], ...]
    said: tuple[str, ...]


@pytest.fixture(scope="module")
def running_yard(can_lab: None) -> Iterator[tuple[Lab, Builds]]:
    """A cluster whose nodes have no gedit, and gedit 1.0 and 1.1 in the deploy account's store:
    one from our own definition file, one with a package more.
    """
    with Lab.start() as lab:
        furnish(lab)
        with build_host(lab) as host:
            first = build_gedit(host, "1.0")
            with_one_package_more(lab, "hello")
            second = build_gedit(host, "1.1")
            assert host.run(["ls", "-A", "/mnt/run/tmp"]).stdout == ""
        yield lab, Builds((first[0], second[0]), (first[1], second[1]))


@pytest.fixture
def yard(running_yard: tuple[Lab, Builds]) -> Iterator[Lab]:
    """No node has a gedit, and nothing remembers one; what a test starts ends with it."""
    lab = running_yard[0]
    for node in lab.nodes:
        node.run(["rm", "-rf", FOLDER])
    lab.login.run(["rm", "-f", f"{ROOT}/.inventory.json", f"{HOME}/{HISTORY}"])
    yield lab
    for node in lab.nodes:
        if not node.alive:
            lab.restart(node)
        node.run(["umount", "-q", FOLDER], check=False)
    lab.settle()


def deploy(lab: Lab, *words: str, code: int = 0) -> dict[str, dict[str, Any]]:
    """``vizdash deploy gedit``: what it says of each node."""
    done = vizdash(
        lab, "deploy", "gedit", *words, "--json", user=ADMIN, check=False, timeout=800
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["deploy"]["nodes"]
    return {row["node"]: row for row in found}


@contextlib.contextmanager
def begun(lab: Lab, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A deploy that runs."""
    with lab.login.popen(["vizdash", "deploy", "gedit", *words, "--json"], user=ADMIN) as process:
        try:
            yield process
        finally:
            process.terminate()


def wait_copying(process: subprocess.Popen[str], *nodes: Host) -> None:
    """Wait until an image is on its way on each of these nodes."""
    deadline = time.monotonic() + 90
    for node in nodes:
        folder = node.root / FOLDER[1:]
        while not any(p.stat().st_size > 1 << 20 for p in folder.glob(".*.part")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, f"nothing comes to {node.name}"
            time.sleep(0.01)


def names(node: Host) -> set[str]:
    """What lies in the app's folder, but for digests, the lock and the journal."""
    found = node.run(f"ls -A {FOLDER}", check=False).stdout.split()
    kept = {".lock", ".journal"}
    return {name for name in found if name not in kept and not name.endswith(".sha256")}


def current(node: Host) -> str:
    return node.run(["readlink", f"{FOLDER}/gedit.sif"]).stdout.strip()


def matrix(lab: Lab, user: str = "alice", *words: str) -> list[dict[str, Any]]:
    done = vizdash(lab, "images", "gedit", "--json", *words, user=user, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout)["images"]
    return found


def sent(lab: Lab) -> int:
    """Bytes that the login host has sent since it is up."""
    return int(lab.login.run(["cat", "/sys/class/net/eth0/statistics/tx_bytes"]).stdout)


def test_gedit_is_built_from_its_own_definition(running_yard: tuple[Lab, Builds]) -> None:
    lab, builds = running_yard
    for built, version in zip(builds.made, ("1.0", "1.1"), strict=True):
        info = sif.read(lab.login.root / built["path"][1:])
        assert (info.version, info.labels["App"]) == (version, "gedit")
        assert built["built_by"] == ADMIN
    ours, sites = (built["definition"] for built in builds.made)
    assert ours.endswith("assets/defs/gedit.def") and sites == f"{HOME}/defs/gedit.def"
    phases = ["bootstrap", "post", "squashfs", "check"]
    told = [line for line in builds.said[0].splitlines() if line.startswith("vizdash: [")]
    assert [p for p in phases if any(line.split("] ")[1].startswith(p) for line in told)] == phases


def test_who_may_not_is_told_before_anything_is_tried(yard: Lab) -> None:
    done = vizdash(yard, "deploy", "gedit", check=False)
    assert done.returncode == 1
    assert "alice may not write /opt/apptainers/apps" in done.stderr, done.stderr
    assert "ask who deploys images here" in done.stderr
    for node in yard.nodes:
        assert not (node.root / FOLDER[1:]).exists()
    apps = json.loads(vizdash(yard, "images", "--json").stdout)
    assert {i["app"] for i in apps["images"]} == {"desktop", "legacy-gedit"}
    assert {p["node"] for p in apps["places"] if p["free_bytes"] > 0} == set(NODES)


def save_what_is_typed(lab: Lab, seen: Desktop) -> None:
    """White paper, letters on it, then the dialog over it; the text comes to the user's home."""
    lab.login.run("rm -f ~/from-gedit.txt", user="alice")
    seen.wait_share(PAPER, least=0.7)
    seen.click(640, 300)
    with seen.changes((30, 45, 300, 65)):
        seen.type("Typed in the browser.")
    with seen.changes((200, 100, 1080, 600)):
        seen.press("Control+s")
    seen.type("/home/alice/from-gedit.txt\n")
    wait_saved(lab, seen, "Typed in the browser.\n")
    seen.save("gedit-on-the-lab")


def wait_saved(lab: Lab, seen: Desktop, text: str) -> None:
    """Wait until the file in alice's home is this text."""
    deadline = time.monotonic() + 120
    while (saved := lab.login.run("cat ~/from-gedit.txt; true", user="alice").stdout) != text:
        assert time.monotonic() < deadline, f"{saved!r} was saved: {seen.save('gedit-unsaved')}"
        seen.page.wait_for_timeout(200)


def test_a_new_version_comes_under_sessions_that_run(yard: Lab) -> None:
    first = deploy(yard, "--version", "1.0")
    assert {row["outcome"] for row in first.values()} == {"done"}
    for node in yard.nodes:
        assert names(node) == {"gedit-1.0.sif", "gedit.sif"}
        about = node.run(["stat", "-c", "%U:%G %a", f"{FOLDER}/gedit-1.0.sif"]).stdout.strip()
        assert about == "root:root 644"
    old = start(yard, "gedit", "--node", "viz-node002")
    assert old["image_version"] == "1.0"
    with opened(yard, old["id"]) as url, desktop(url, yard.login) as seen:
        save_what_is_typed(yard, seen)
        before = sent(yard)
        second = deploy(yard)
        travelled = sent(yard) - before
        size = second["viz-node001"]["bytes_total"]
        assert all(row["copied"] and row["switched"] for row in second.values())
        for row in second.values():
            assert row["bytes_sent"] < 0.05 * size
        assert travelled < 3 * 0.05 * size, f"{travelled} bytes for three nodes"
        # The session on 1.0 goes on: what is typed now is seen, and saved.
        with seen.changes((30, 45, 500, 65)):
            seen.type(" And under the deploy.")
        seen.press("Control+s")
        wait_saved(yard, seen, "Typed in the browser. And under the deploy.\n")
        seen.save("gedit-on-1.0-after-the-deploy")
        rows = {(r["node"], r["version"]): r for r in matrix(yard)}
        assert rows[("viz-node002", "1.0")]["sessions"] == [old["id"]]
        assert rows[("viz-node001", "1.1")]["state"] == "current"
        new = start(yard, "gedit", "--node", "viz-node003")
        assert new["image_version"] == "1.1"
        inside = yard.hosts["viz-node003"].run(
            f"apptainer -q exec {FOLDER}/gedit.sif hello", user="alice"
        )
        assert inside.stdout == "Hello, world!\n"
        pruned = vizdash(yard, "prune", "gedit", "--keep", "1", "--yes", user=ADMIN)
        assert "stays (a session runs from it" in pruned.stderr
        assert names(yard.hosts["viz-node002"]) == {"gedit-1.0.sif", "gedit-1.1.sif", "gedit.sif"}
        assert names(yard.hosts["viz-node001"]) == {"gedit-1.1.sif", "gedit.sif"}
    assert next(s for s in sessions(yard) if s["id"] == old["id"])["state"] == "ready"
    deploy(yard, "--version", "1.0", "--node", "viz-node[001,003]", "--force")
    deploy(yard)
    vizdash(yard, "rollback", "gedit", user=ADMIN)
    assert {current(node) for node in yard.nodes} == {"gedit-1.0.sif"}
    back = start(yard, "gedit", "--node", "viz-node001")
    assert back["image_version"] == "1.0"
    everything = {s["id"] for s in (old, new, back)}
    vizdash(yard, "stop", *everything)
    for session_id in everything:
        wait_state(yard, session_id, "ended")


def test_without_ssh_the_inventory_is_seen(yard: Lab) -> None:
    deploy(yard, "--version", "1.0")
    keys = "/home/bob/.ssh"
    yard.login.run(["mv", keys, f"{keys}.away"])
    try:
        rows = matrix(yard, "bob")
        assert {r["node"] for r in rows} == set(NODES)
        assert all(r["digest"] for r in rows)
        places = json.loads(vizdash(yard, "images", "--json", user="bob").stdout)["places"]
        assert all(p["failure"] and p["seen_at"] for p in places)
    finally:
        yard.login.run(["mv", f"{keys}.away", keys])


def test_one_flipped_bit_is_shown_and_mended(yard: Lab) -> None:
    deploy(yard, "--version", "1.0")
    node = yard.hosts["viz-node003"]
    file = f"{FOLDER}/gedit-1.0.sif"
    good = node.run(["sha256sum", file]).stdout
    flip = (
        f"f=open('{file}','r+b'); f.seek(200_000_000); b=f.read(1); f.seek(200_000_000); "
        "f.write(bytes([b[0]^1]))"
    )
    node.run(["python3", "-c", flip])
    done = vizdash(yard, "images", "gedit", "--verify", user=ADMIN, check=False, timeout=800)
    assert done.returncode == 1
    assert f"viz-node003: {file}: its digest is" in done.stderr
    assert "vizdash deploy gedit" in done.stderr
    rows = deploy(yard, "--version", "1.0")
    assert rows["viz-node003"]["note"].startswith("mended")
    assert rows["viz-node003"]["bytes_sent"] < 10_000_000
    assert node.run(["sha256sum", file]).stdout == good
    assert names(node) == {"gedit-1.0.sif", "gedit.sif"}


def test_killed_in_the_middle_it_goes_on_the_next_time(yard: Lab) -> None:
    # So slowly that most of it is still to come when it is killed.
    with yard.slow_link(*yard.nodes), begun(yard, "--version", "1.0") as process:
        wait_copying(process, yard.nodes[0])
        pids = yard.login.run(f"pgrep -u {ADMIN} -f '[/]vizdash deploy'").stdout.split()
        yard.login.run(["kill", "-KILL", *pids])
        process.communicate(timeout=60)
    for node in yard.nodes:
        assert not {n for n in names(node) if not n.startswith(".")}, names(node)
    assert not [r for r in matrix(yard) if r["state"] == "current"]
    rows = deploy(yard, "--version", "1.0")
    assert {row["outcome"] for row in rows.values()} == {"done"}
    assert rows["viz-node001"]["bytes_sent"] < rows["viz-node001"]["bytes_total"]
    for node in yard.nodes:
        assert names(node) == {"gedit-1.0.sif", "gedit.sif"}
    good = yard.login.run(["sha256sum", f"{STORE}/gedit-1.0.sif"]).stdout[:64]
    for node in yard.nodes:
        assert node.run(["sha256sum", f"{FOLDER}/gedit.sif"]).stdout[:64] == good


def test_one_node_loses_power_and_one_is_full(yard: Lab) -> None:
    lost, full, third = yard.nodes
    size = (yard.login.root / f"{STORE}/gedit-1.0.sif".lstrip("/")).stat().st_size
    full.run(f"mkdir {FOLDER} && mount -t tmpfs -o size={size + (64 << 20)} full {FOLDER}")
    with yard.slow_link(lost, full), begun(yard, "--version", "1.0") as process:
        # There is room for it when it begins, and something else takes that while it is on its
        # way.
        wait_copying(process, full)
        full.run(f"cat /dev/zero >{FOLDER}/something-else; true", timeout=120)
        wait_copying(process, lost)
        lost.power_off()
        out, said = process.communicate(timeout=800)
    assert process.returncode == 1, said
    rows = {row["node"]: row for row in json.loads(out)["deploy"]["nodes"]}
    assert rows[third.name]["outcome"] == "done"
    assert rows[lost.name]["outcome"] == rows[full.name]["outcome"] == "failed"
    assert "No space left on device" in rows[full.name]["note"], rows
    assert rows[lost.name]["note"], rows
    assert "2 of 3 nodes failed: viz-node[001-002]" in said
    assert names(third) == {"gedit-1.0.sif", "gedit.sif"}
    assert not {n for n in names(full) if n.endswith(".sif") and not n.startswith(".")}
    disk = yard.run / lost.name / "upper" / FOLDER[1:]
    assert not [p.name for p in disk.glob("gedit*.sif")], "no half image under a real name"
    full.run(["umount", FOLDER])
    yard.restart(lost)
    again = deploy(yard, "--version", "1.0")
    assert {row["outcome"] for row in again.values()} == {"done"}
    assert again[third.name]["bytes_sent"] == 0
    for node in yard.nodes:
        assert names(node) == {"gedit-1.0.sif", "gedit.sif"}
    events = yard.login.run(["cat", HISTORY], user=ADMIN).stdout
    noted = [json.loads(line) for line in events.splitlines()]
    told = [(e["node"], e["outcome"]) for e in noted if e["action"] == "deploy"]
    began = ("viz-node[001-003]", "began")
    assert len(told) == 8, noted
    assert told[0] == told[4] == began, noted
    assert set(told[1:4]) == {(lost.name, "failed"), (full.name, "failed"), (third.name, "ok")}
    assert {outcome for _, outcome in told[5:]} == {"ok"}


def test_a_session_tries_it_before_it_is_current(yard: Lab) -> None:
    rows = deploy(yard, "--smoke", "--canary", "viz-node002", "--node", "viz-node[002-003]")
    for name in ("viz-node002", "viz-node003"):
        assert "its desktop answers" in rows[name]["note"], rows
        assert "OpenGL is drawn by llvmpipe" in rows[name]["note"], rows
        assert current(yard.hosts[name]) == "gedit-1.1.sif"
    assert not [s for s in sessions(yard, ADMIN) if s["state"] != "ended"]
