"""Images deployed to three nodes: only the difference, all or nothing, under running sessions.

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
from tests.lab.gedit_builds import (
    ADMIN,
    HOME,
    add_package_to_definition,
    build_gedit,
    build_host,
    write_admin_config,
)
from tests.lab.verbs import list_sessions, open_session, run_vizdash, start_session, wait_for_state
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
    """What the build verb returned and printed, of gedit 1.0 and of 1.1."""

    made: tuple[dict[str, Any], ...]
    output: tuple[str, ...]


@pytest.fixture(scope="module")
def built_lab(can_lab: None) -> Iterator[tuple[Lab, Builds]]:
    """A cluster whose nodes have no gedit, and gedit 1.0 and 1.1 in the deploy account's store:
    one from our own definition file, one with a package more.
    """
    with Lab.start() as lab:
        write_admin_config(lab)
        with build_host(lab) as host:
            first = build_gedit(host, "1.0")
            add_package_to_definition(lab, "hello")
            second = build_gedit(host, "1.1")
            assert host.run(["ls", "-A", "/mnt/run/tmp"]).stdout == ""
        yield lab, Builds((first[0], second[0]), (first[1], second[1]))


@pytest.fixture
def empty_lab(built_lab: tuple[Lab, Builds]) -> Iterator[Lab]:
    """No node has a gedit, and nothing remembers one; what a test starts ends with it."""
    lab = built_lab[0]
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
    done = run_vizdash(
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
    deadline = time.monotonic() + 300
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


def query_images(lab: Lab, user: str = "alice", *words: str) -> list[dict[str, Any]]:
    done = run_vizdash(lab, "images", "gedit", "--json", *words, user=user, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout)["images"]
    return found


def sent(lab: Lab) -> int:
    """Bytes that the login host has sent since it is up."""
    return int(lab.login.run(["cat", "/sys/class/net/eth0/statistics/tx_bytes"]).stdout)


def test_gedit_is_built_from_its_own_definition(built_lab: tuple[Lab, Builds]) -> None:
    lab, builds = built_lab
    for built, version in zip(builds.made, ("1.0", "1.1"), strict=True):
        info = sif.read(lab.login.root / built["path"][1:])
        assert (info.version, info.labels["App"]) == (version, "gedit")
        assert built["built_by"] == ADMIN
    ours, sites = (built["definition"] for built in builds.made)
    assert ours.endswith("assets/defs/gedit.def") and sites == f"{HOME}/defs/gedit.def"
    phases = ["bootstrap", "post", "squashfs", "check"]
    messages = [line for line in builds.output[0].splitlines() if line.startswith("vizdash: [")]
    assert [
        p for p in phases if any(line.split("] ")[1].startswith(p) for line in messages)
    ] == phases


def test_a_user_without_rights_is_refused_before_anything_is_tried(empty_lab: Lab) -> None:
    done = run_vizdash(empty_lab, "deploy", "gedit", check=False)
    assert done.returncode == 1
    assert "alice may not write /opt/apptainers/apps" in done.stderr, done.stderr
    assert "ask your administrator" in done.stderr
    for node in empty_lab.nodes:
        assert not (node.root / FOLDER[1:]).exists()
    apps = json.loads(run_vizdash(empty_lab, "images", "--json").stdout)
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


def test_a_new_version_comes_under_sessions_that_run(empty_lab: Lab) -> None:
    first = deploy(empty_lab, "--version", "1.0")
    assert {row["outcome"] for row in first.values()} == {"done"}
    for node in empty_lab.nodes:
        assert names(node) == {"gedit-1.0.sif", "gedit.sif"}
        about = node.run(["stat", "-c", "%U:%G %a", f"{FOLDER}/gedit-1.0.sif"]).stdout.strip()
        assert about == "root:root 644"
    old = start_session(empty_lab, "gedit", "--node", "viz-node002")
    assert old["image_version"] == "1.0"
    with open_session(empty_lab, old["id"]) as url, desktop(url, empty_lab.login) as seen:
        save_what_is_typed(empty_lab, seen)
        before = sent(empty_lab)
        second = deploy(empty_lab)
        travelled = sent(empty_lab) - before
        size = second["viz-node001"]["bytes_total"]
        assert all(row["copied"] and row["switched"] for row in second.values())
        for row in second.values():
            assert row["bytes_sent"] < 0.05 * size
        assert travelled < 3 * 0.05 * size, f"{travelled} bytes for three nodes"
        # The session on 1.0 keeps running: what is typed now is seen, and saved.
        with seen.changes((30, 45, 500, 65)):
            seen.type(" And under the deploy.")
        seen.press("Control+s")
        wait_saved(empty_lab, seen, "Typed in the browser. And under the deploy.\n")
        seen.save("gedit-on-1.0-after-the-deploy")
        rows = {(r["node"], r["version"]): r for r in query_images(empty_lab)}
        assert rows[("viz-node002", "1.0")]["sessions"] == [old["id"]]
        assert rows[("viz-node001", "1.1")]["state"] == "current"
        new = start_session(empty_lab, "gedit", "--node", "viz-node003")
        assert new["image_version"] == "1.1"
        inside = empty_lab.hosts["viz-node003"].run(
            f"apptainer -q exec {FOLDER}/gedit.sif hello", user="alice"
        )
        assert inside.stdout == "Hello, world!\n"
        pruned = run_vizdash(empty_lab, "prune", "gedit", "--keep", "1", "--yes", user=ADMIN)
        assert "stays (a session runs from it" in pruned.stderr
        assert names(empty_lab.hosts["viz-node002"]) == {
            "gedit-1.0.sif",
            "gedit-1.1.sif",
            "gedit.sif",
        }
        assert names(empty_lab.hosts["viz-node001"]) == {"gedit-1.1.sif", "gedit.sif"}
    assert next(s for s in list_sessions(empty_lab) if s["id"] == old["id"])["state"] == "ready"
    deploy(empty_lab, "--version", "1.0", "--node", "viz-node[001,003]", "--force")
    deploy(empty_lab)
    run_vizdash(empty_lab, "rollback", "gedit", user=ADMIN)
    assert {current(node) for node in empty_lab.nodes} == {"gedit-1.0.sif"}
    back = start_session(empty_lab, "gedit", "--node", "viz-node001")
    assert back["image_version"] == "1.0"
    everything = {s["id"] for s in (old, new, back)}
    run_vizdash(empty_lab, "stop", *everything)
    for session_id in everything:
        wait_for_state(empty_lab, session_id, "ended")


def test_without_ssh_the_inventory_is_seen(empty_lab: Lab) -> None:
    deploy(empty_lab, "--version", "1.0")
    keys = "/home/bob/.ssh"
    empty_lab.login.run(["mv", keys, f"{keys}.away"])
    try:
        rows = query_images(empty_lab, "bob")
        assert {r["node"] for r in rows} == set(NODES)
        assert all(r["digest"] for r in rows)
        places = json.loads(run_vizdash(empty_lab, "images", "--json", user="bob").stdout)["places"]
        assert all(p["failure"] and p["seen_at"] for p in places)
    finally:
        empty_lab.login.run(["mv", f"{keys}.away", keys])


def test_one_flipped_bit_is_shown_and_fixed(empty_lab: Lab) -> None:
    deploy(empty_lab, "--version", "1.0")
    node = empty_lab.hosts["viz-node003"]
    file = f"{FOLDER}/gedit-1.0.sif"
    good = node.run(["sha256sum", file]).stdout
    flip = (
        f"f=open('{file}','r+b'); f.seek(200_000_000); b=f.read(1); f.seek(200_000_000); "
        "f.write(bytes([b[0]^1]))"
    )
    node.run(["python3", "-c", flip])
    done = run_vizdash(
        empty_lab, "images", "gedit", "--verify", user=ADMIN, check=False, timeout=800
    )
    assert done.returncode == 1
    assert f"viz-node003: {file}: its digest is" in done.stderr
    assert "vizdash deploy gedit" in done.stderr
    rows = deploy(empty_lab, "--version", "1.0")
    assert rows["viz-node003"]["note"].startswith("fixed")
    assert rows["viz-node003"]["bytes_sent"] < 10_000_000
    assert node.run(["sha256sum", file]).stdout == good
    assert names(node) == {"gedit-1.0.sif", "gedit.sif"}


def test_a_killed_deploy_continues_the_next_time(empty_lab: Lab) -> None:
    # So slowly that most of it is still to come when it is killed.
    with empty_lab.slow_link(*empty_lab.nodes), begun(empty_lab, "--version", "1.0") as process:
        wait_copying(process, empty_lab.nodes[0])
        empty_lab.login.run(["pkill", "-KILL", "-u", ADMIN, "-f", "/vizdash deploy"])
        process.communicate(timeout=180)
    for node in empty_lab.nodes:
        assert not {n for n in names(node) if not n.startswith(".")}, names(node)
    assert not [r for r in query_images(empty_lab) if r["state"] == "current"]
    rows = deploy(empty_lab, "--version", "1.0")
    assert {row["outcome"] for row in rows.values()} == {"done"}
    assert rows["viz-node001"]["bytes_sent"] < rows["viz-node001"]["bytes_total"]
    for node in empty_lab.nodes:
        assert names(node) == {"gedit-1.0.sif", "gedit.sif"}
    good = empty_lab.login.run(["sha256sum", f"{STORE}/gedit-1.0.sif"]).stdout[:64]
    for node in empty_lab.nodes:
        assert node.run(["sha256sum", f"{FOLDER}/gedit.sif"]).stdout[:64] == good


def test_one_node_loses_power_and_one_is_full(empty_lab: Lab) -> None:
    lost, full, third = empty_lab.nodes
    size = (empty_lab.login.root / f"{STORE}/gedit-1.0.sif".lstrip("/")).stat().st_size
    full.run(f"mkdir {FOLDER} && mount -t tmpfs -o size={size + (64 << 20)} full {FOLDER}")
    with empty_lab.slow_link(lost, full), begun(empty_lab, "--version", "1.0") as process:
        # There is room for it when it begins, and something else takes that while it is on its
        # way.
        wait_copying(process, full)
        full.run(f"cat /dev/zero >{FOLDER}/something-else; true", timeout=120)
        wait_copying(process, lost)
        lost.power_off()
        out, output = process.communicate(timeout=800)
    assert process.returncode == 1, output
    rows = {row["node"]: row for row in json.loads(out)["deploy"]["nodes"]}
    assert rows[third.name]["outcome"] == "done"
    assert rows[lost.name]["outcome"] == rows[full.name]["outcome"] == "failed"
    assert "No space left on device" in rows[full.name]["note"], rows
    assert rows[lost.name]["note"], rows
    assert "2 of 3 nodes failed: viz-node[001-002]" in output
    assert names(third) == {"gedit-1.0.sif", "gedit.sif"}
    assert not {n for n in names(full) if n.endswith(".sif") and not n.startswith(".")}
    disk = empty_lab.run / lost.name / "upper" / FOLDER[1:]
    assert not [p.name for p in disk.glob("gedit*.sif")], "no half image under a real name"
    full.run(["umount", FOLDER])
    empty_lab.restart(lost)
    again = deploy(empty_lab, "--version", "1.0")
    assert {row["outcome"] for row in again.values()} == {"done"}
    assert again[third.name]["bytes_sent"] == 0
    for node in empty_lab.nodes:
        assert names(node) == {"gedit-1.0.sif", "gedit.sif"}
    events = empty_lab.login.run(["cat", HISTORY], user=ADMIN).stdout
    noted = [json.loads(line) for line in events.splitlines()]
    outcomes = [(e["node"], e["outcome"]) for e in noted if e["action"] == "deploy"]
    began = ("viz-node[001-003]", "began")
    assert len(outcomes) == 8, noted
    assert outcomes[0] == outcomes[4] == began, noted
    assert set(outcomes[1:4]) == {(lost.name, "failed"), (full.name, "failed"), (third.name, "ok")}
    assert {outcome for _, outcome in outcomes[5:]} == {"ok"}


def test_a_session_tries_it_before_it_is_current(empty_lab: Lab) -> None:
    rows = deploy(empty_lab, "--smoke", "--canary", "viz-node002", "--node", "viz-node[002-003]")
    for name in ("viz-node002", "viz-node003"):
        assert "its desktop answers" in rows[name]["note"], rows
        assert "OpenGL is drawn by llvmpipe" in rows[name]["note"], rows
        assert current(empty_lab.hosts[name]) == "gedit-1.1.sif"
    assert not [s for s in list_sessions(empty_lab, ADMIN) if s["state"] != "ended"]
