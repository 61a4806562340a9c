"""The clock of a node goes wrong while a user works with a session there."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.lab.clocks import clock_off
from tests.lab.faults.fault import Fault, Record
from tests.lab.faults.scene import NODE, Scene, at_work, follow, rows
from tests.lab.faults.test_node_faults import slurmd_timeout
from tests.lab.verbs import open_session, run_vizdash

#: More than the lifetime of munge's credentials (munge(7)).
AHEAD_S = 330


@contextlib.contextmanager
def wrong_clock(scene: Scene) -> Iterator[None]:
    lab, node = scene.lab, scene.node
    with slurmd_timeout(lab, 180):
        try:
            with clock_off(node, AHEAD_S):
                ahead_s = int(node.run(["date", "+%s"]).stdout) - time.time()  # of this machine
                assert abs(ahead_s - AHEAD_S) < 60, ahead_s
                yield
                words = ("doctor", "--json", "--app", "plain", "--node", NODE)
                found = json.loads(run_vizdash(lab, *words, check=False).stdout)
                (broken,) = [f for f in found["findings"] if f["what"] == found["broken"]]
                assert f"the clock of {NODE} is 5 min ahead" in broken["found"], found
                assert "NTP" in broken["fix"]
                with open_session(lab, scene.session["id"]) as url:
                    page = lab.login.run(["curl", "-s", url.partition("#")[0]], user="alice")
                assert "noVNC" in page.stdout
        finally:
            lab.wait_idle(states={"idle", "mixed"})


@pytest.mark.parametrize("fault", rows("clocks apart"))
def test_a_clock_that_munge_refuses(
    lab: Lab, site: None, fault: Fault, record_property: Record
) -> None:
    with at_work(lab) as scene:
        follow(scene, fault, wrong_clock, record_property)
