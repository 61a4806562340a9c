"""The lab itself: a real cluster, isolated, that leaves no trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab import Lab, recipe
from tests.lab.host import output
from tests.processes import has_ended
from tests.waiting import wait_until


def test_three_nodes_of_different_size(lab: Lab) -> None:
    answer = lab.login.run(["sinfo", "-hN", "-p", "viz", "-o", "%N %c %m %G %T"]).stdout
    assert answer.splitlines() == [
        "viz-node001 4 3584 (null) idle",
        "viz-node002 8 16384 (null) idle",
        "viz-node003 8 16384 gpu:a100:2 idle",
    ]


@pytest.mark.parametrize("node", recipe.NODES)
def test_a_user_runs_a_job_on_each_node(lab: Lab, node: str) -> None:
    answer = lab.login.run(
        ["srun", "-w", node, "sh", "-c", "hostname; id -un"], user="alice"
    ).stdout
    assert answer.split() == [node, "alice"]


def test_users_ssh_to_nodes_without_a_question(lab: Lab) -> None:
    for user in ("alice", "bob"):
        answer = lab.login.run(
            ["ssh", "-o", "BatchMode=yes", "viz-node002", "hostname"], user=user
        ).stdout
        assert answer.strip() == "viz-node002"


def test_home_is_shared_and_private(lab: Lab) -> None:
    lab.login.run("echo here > ~/shared", user="alice")
    assert lab.hosts["viz-node003"].run("cat ~/shared", user="alice").stdout.strip() == "here"
    assert lab.login.run("cat /home/alice/shared", user="bob", check=False).returncode != 0


def test_images_are_on_the_nodes_that_have_them(lab: Lab) -> None:
    root = "/opt/apptainers/apps"
    for node in lab.nodes:
        fields = node.run(f"find {root} -name '*.sif' -printf '%P\\n' | sort").stdout.split()
        assert "desktop/desktop-1.0.sif" in fields
        assert ("gedit/gedit.sif" in fields) == (node.name != "viz-node001")


_OWNER = """
import os, sys, time
from tests.lab import Lab
lab = Lab.start(vizdash=False)
print(*[host.pid for host in lab.hosts.values()], lab.run, flush=True)
time.sleep(600)
"""


def test_two_labs_run_at_once_and_a_killed_one_leaves_nothing(lab: Lab) -> None:
    links = output(["ip", "-o", "link"])
    mounts = Path("/proc/self/mounts").read_text()
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER], cwd=recipe.CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    *pids, run = owner.stdout.readline().split()
    assert len(pids) == 4
    # Both answer at the same addresses: each is isolated.
    assert lab.login.run(["sinfo", "-h", "-o", "%P"]).stdout
    inside = ["nsenter", f"--target={pids[0]}", "--mount", "--net", "--pid", "--root", "--"]
    assert "viz-node003" in output([*inside, "sinfo", "-hN"])
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + 120
    while not all(map(has_ended, pids)):
        assert time.monotonic() < deadline, "a host outlived its owner"
        time.sleep(0.1)
    assert output(["ip", "-o", "link"]) == links
    assert Path("/proc/self/mounts").read_text() == mounts
    # Its folder is swept by the next start, which may be that of another test run; ours, which is
    # locked, is left alone.
    from tests.lab.cluster import sweep

    sweep()
    wait_until(lambda: not Path(run).exists(), "end of the killed lab's folder")
    assert lab.run.exists()
    assert lab.login.run(["sinfo", "-h", "-o", "%P"]).stdout
