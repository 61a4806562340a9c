"""A cluster where some jobs preempt others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.conftest import site_files
from tests.lab.faults.fault import Fault, Record, measuring
from tests.lab.faults.scene import NODE, Scene, at_work, rows
from tests.lab.verbs import run_vizdash, wait_for_state, wait_nothing_left

_PREEMPT = "PreemptType=preempt/partition_prio\nPreemptMode=CANCEL"
_URGENT = "PartitionName=urgent Nodes=viz-node[001-003] PriorityTier=10 State=UP"
_CHANGED = {
    "ReturnToService=2": f"ReturnToService=2\n{_PREEMPT}",
    "PartitionName=closed": f"{_URGENT}\nPartitionName=closed",
}


def lay(run: Path, host: str, upper: Path) -> None:
    """Change slurm.conf."""
    conf = upper / "etc/slurm/slurm.conf"
    text = conf.read_text()
    for old, new in _CHANGED.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    conf.write_text(text)


@pytest.fixture(scope="module")
def preempting_lab(can_lab: None) -> Iterator[Lab]:
    with Lab.start(lay=lay) as lab, site_files(lab):
        yield lab


@contextlib.contextmanager
def working(lab: Lab) -> Iterator[Scene]:
    with at_work(lab) as scene:
        yield scene
    lab.settle()


@pytest.mark.parametrize("fault", rows("job preempted"))
def test_another_job_preempts_it(
    preempting_lab: Lab, fault: Fault, record_property: Record
) -> None:
    lab = preempting_lab
    with working(lab) as scene, measuring(fault, record_property) as watch:
        watch.start()
        urgent = ["sbatch", "-p", "urgent", "-w", NODE, "--exclusive", "--wrap", "sleep 600"]
        lab.login.run([*urgent, "-o", "/dev/null"], user="bob")
        watch.wait_seen(lambda: scene.shows(*fault.words), fault.name, scene.screen.text)
        row = wait_for_state(lab, scene.session["id"], "ended")
        assert "preempted" in str(row), row
        assert run_vizdash(lab, "logs", row["id"]).stdout.startswith(scene.log)
        wait_nothing_left(scene.node)
        lab.login.run(["scancel", "-u", "bob"])
        watch.start()
        other = run_vizdash(lab, "start", "plain", "--node", NODE, "--wait").stdout.strip()
        watch.wait_recovered(lambda: True, "the next session")
        run_vizdash(lab, "stop", other)
