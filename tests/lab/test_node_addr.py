"""A cluster whose node names do not resolve: Slurm has an address for each (NodeAddr)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import pytest

from tests.lab import Lab, recipe
from tests.lab.browser import desktop
from tests.lab.desktops import BLUE, HOST, type_in_terminal, view_from_laptop
from tests.lab.gedit_builds import ADMIN, HOME, write_admin_config
from tests.lab.outside import OutsideNetwork, outside_network
from tests.lab.terminal import terminal
from tests.lab.verbs import open_session, run_vizdash, start_session, wait_nothing_left


@pytest.fixture(scope="module")
def unnamed(can_lab: None) -> Iterator[Lab]:
    with Lab.start() as lab:
        for host in lab.hosts.values():
            etc = host.root / "etc"
            (etc / "hosts").write_text("127.0.0.1\tlocalhost\n10.77.0.10\tlogin\n")
            conf = (etc / "slurm/slurm.conf").read_text()
            for name in recipe.NODES:
                conf = conf.replace(
                    f"NodeName={name} ", f"NodeName={name} NodeAddr={recipe.ADDRESSES[name]} "
                )
            (etc / "slurm/slurm.conf").write_text(conf)
        lab.login.run(["scontrol", "shutdown", "slurmctld"])
        lab.login.run("while pgrep -x slurmctld; do sleep 0.1; done; slurmctld")
        for node in lab.nodes:
            node.run("pkill -x slurmd; while pgrep -x slurmd; do sleep 0.1; done; slurmd")
        lab.wait_idle()
        assert lab.login.run(["getent", "hosts", "viz-node002"], check=False).returncode != 0
        yield lab


@pytest.fixture(params=["by name", "by address"])
def lab(unnamed: Lab, request: pytest.FixtureRequest) -> Lab:
    """The nodes' host keys are known under their names alone, or under their addresses alone."""
    for host in unnamed.hosts.values():
        file = host.root / "etc/ssh/ssh_known_hosts"
        names, kind, key = file.read_text().split()
        names = "login,10.77.0.10,localhost,"
        names += ",".join(
            recipe.NODES
            if request.param == "by name"
            else (recipe.ADDRESSES[name] for name in recipe.NODES)
        )
        file.write_text(f"{names} {kind} {key}\n")
    return unnamed


def test_images_are_seen_and_deployed(lab: Lab) -> None:
    found = json.loads(run_vizdash(lab, "images", "--json").stdout)
    assert {p["node"]: p["failure"] for p in found["places"]} == dict.fromkeys(recipe.NODES, "")
    assert {i["node"] for i in found["images"]} == set(recipe.NODES)
    write_admin_config(lab)
    # One node lacks what the others have.
    image = "/opt/apptainers/apps/gedit/gedit.sif"
    shutil.copy(lab.hosts["viz-node002"].root / image[1:], lab.run / "home" / ADMIN / "gedit.sif")
    shutil.rmtree(lab.hosts["viz-node001"].root / "opt/apptainers/apps/gedit", ignore_errors=True)
    words = ("deploy", "gedit", "--from", f"{HOME}/gedit.sif", "--node", "viz-node001", "--json")
    done = run_vizdash(lab, *words, user=ADMIN, check=False, timeout=800)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["deploy"]["nodes"]
    assert {row["node"]: row["outcome"] for row in rows} == {"viz-node001": "done"}


def test_a_desktop_opens_and_is_previewed(lab: Lab) -> None:
    session = start_session(lab, "desktop", "--node", "viz-node002")
    assert session["node"] == "viz-node002"
    with open_session(lab, session["id"]) as url, desktop(url, lab.login) as seen:
        type_in_terminal(lab, seen, "By-address")
    # By ssh, not by the way that would have been tried next.
    way = lab.login.run("cat ~/.cache/vizdash/tunnel-*", user="alice").stdout
    assert set(way.split()) == {"ssh"}
    with terminal(lab.login, ["vizdash"], size=(160, 48), env={"COLORTERM": "truecolor"}) as screen:
        screen.wait(session["id"])
        screen.wait("viz-node002")
        screen.keys("2")
        screen.wait_colour(BLUE)
    run_vizdash(lab, "stop", session["id"])
    wait_nothing_left(lab.hosts["viz-node002"])


@pytest.fixture
def outside(lab: Lab) -> Iterator[OutsideNetwork]:
    with outside_network(lab) as found:
        yield found


def test_a_desktop_opens_from_a_laptop(lab: Lab, outside: OutsideNetwork) -> None:
    session = outside.start(*HOST, "desktop", "--node", "viz-node003")
    with view_from_laptop(outside, session["id"]) as seen:
        type_in_terminal(lab, seen, "From-the-laptop")
    way = outside.run("sh", "-c", "cat ~/.cache/vizdash/tunnel-*")
    assert re.findall(r"\w+", way) == ["ssh"]
    outside.vizdash(*HOST, "stop", session["id"])
