"""A session shows the image it runs from, and whether a newer one exists."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import Lab, recipe
from tests.lab.test_build import CONFIG, DEFINITION, TREE
from tests.lab.verbs import list_sessions, run_vizdash, start_session

ADMIN = "vizadmin"
WORK = f"/home/{ADMIN}/work"
IMAGE = "/opt/apptainers/apps/desktop/desktop-1.0.sif"


@pytest.fixture
def newer(lab: Lab) -> Iterator[Lab]:
    """The deploy account has a desktop 1.1 in its store (a tiny one, never started)."""
    login = lab.login
    login.run(f"mkdir work && cd work && {{ {TREE} }}", user=ADMIN)
    config = CONFIG.format(engine="slurm", base=f"{WORK}/base.sif").replace("/alice/", f"/{ADMIN}/")
    login.run("mkdir -p ~/.config/vizdash && cat >~/.config/vizdash/config.yaml", user=ADMIN,
              input=config)  # fmt: skip
    login.run(["install", "-d", "-o", ADMIN, "/var/log/vizdash"])
    login.run(["tee", f"{WORK}/defs/desktop.def"], user=ADMIN, input=DEFINITION)
    run_vizdash(lab, "build", "desktop", "--version", "1.1", user=ADMIN)
    yield lab
    login.run("rm -rf work .config/vizdash .local/state/vizdash", user=ADMIN)
    for node in lab.nodes:
        node.run("ln -sfn desktop-1.0.sif /opt/apptainers/apps/desktop/desktop.sif")
        node.run("rm -f /opt/apptainers/apps/desktop/{desktop-1.1.*,*.sha256,.journal}")
    login.run("rm -rf /opt/apptainers/apps/.inventory.json /var/log/vizdash")


def one(lab: Lab, session_id: str) -> dict[str, Any]:
    return next(s for s in list_sessions(lab) if s["id"] == session_id)


def test_a_session_shows_its_image_and_a_newer_one(newer: Lab) -> None:
    lab = newer
    script = (recipe.CHECKOUT / "assets/nodes/images.sh").read_text()
    for host in lab.nodes:  # what `vizdash images --verify` does, by root
        words = [
            "bash",
            "-s",
            "--",
            "mark",
            "verify",
            "/opt/apptainers/apps",
            "1",
            "desktop/desktop-1.0.sif",
        ]
        host.run(words, input=script)
    first = start_session(lab, "desktop", "--node", "viz-node002")
    node = next(n for n in lab.nodes if n.name == "viz-node002")
    digest = node.run(["sha256sum", IMAGE]).stdout.split()[0]
    assert (first["image_version"], first["image_digest"]) == ("1.0", digest)
    assert one(lab, first["id"])["newer_version"] == ""
    connection = lab.login.run(
        ["cat", f".local/state/vizdash/sessions/{first['id']}/connection"], user="alice"
    ).stdout
    assert f"IMAGE={IMAGE}\nIMAGE_VERSION=1.0\nIMAGE_DIGEST={digest}\n" in connection

    run_vizdash(lab, "deploy", "desktop", "--version", "1.1", user=ADMIN)
    shown = one(lab, first["id"])
    assert (shown["state"], shown["image_version"], shown["newer_version"]) == (
        "ready",
        "1.0",
        "1.1",
    )
    assert "1.1 is out" in run_vizdash(lab, "sessions").stdout
    old = start_session(lab, "desktop", "--node", "viz-node002", "--image", "1.0")
    assert (old["image_version"], old["image_digest"]) == ("1.0", digest)

    run_vizdash(lab, "rollback", "desktop", user=ADMIN)
    assert one(lab, first["id"])["newer_version"] == ""

    history = run_vizdash(lab, "images", "desktop", "--history", "--json").stdout
    events = [e for e in json.loads(history)["history"] if e["action"] != "build"]
    assert {e["action"] for e in events} == {"deploy", "rollback"}
    assert {e["user"] for e in events} == {ADMIN}
    assert all(e["trusted"] for e in events)
    done = [e for e in events if e["outcome"] != "began"]
    assert {e["outcome"] for e in done} == {"ok"}
    assert {e["node"] for e in done if e["action"] == "deploy"} == {n.name for n in lab.nodes}
