"""Slurm's daemons fail while a user works with a session."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.lab.faults.fault import Fault, Record, measuring
from tests.lab.faults.scene import Make, Scene, at_work, follow, rows


@contextlib.contextmanager
def no_controller(scene: Scene) -> Iterator[None]:
    login = scene.lab.login
    login.run(["scontrol", "shutdown", "slurmctld"])
    try:
        yield
    finally:
        login.run("while pgrep -x slurmctld; do sleep 0.1; done; slurmctld")


@contextlib.contextmanager
def stopped_controller(scene: Scene) -> Iterator[None]:
    login = scene.lab.login
    pid = (login.root / "run/slurmctld.pid").read_text().strip()
    login.run(["kill", "-STOP", pid])
    until = time.monotonic() + 60
    try:
        yield
        time.sleep(max(0.0, until - time.monotonic()))
    finally:
        login.run(["kill", "-CONT", pid])


@contextlib.contextmanager
def no_munge(scene: Scene) -> Iterator[None]:
    login = scene.lab.login
    login.run("pkill -x munged; while pgrep -x munged; do sleep 0.1; done")
    try:
        yield
    finally:
        login.run("setpriv --reuid munge --regid munge --init-groups /usr/sbin/munged")


MADE: dict[str, Make] = {
    "slurmctld stopped": no_controller,
    "slurmctld slow": stopped_controller,
    "munge dead": no_munge,
}


@pytest.mark.parametrize("fault", rows(*MADE))
def test_the_dashboard_shows_it(
    lab: Lab, site: None, fault: Fault, record_property: Record
) -> None:
    with at_work(lab) as scene:
        follow(scene, fault, MADE[fault.name], record_property)


@pytest.mark.parametrize("fault", rows("slurmctld restarted"))
def test_a_restart_is_hardly_seen(
    lab: Lab, site: None, fault: Fault, record_property: Record
) -> None:
    with at_work(lab) as scene, measuring(fault, record_property) as watch:
        # slurmctld writes its state some seconds after a change; what it has not written is lost.
        job = scene.session["job_id"]
        state = "/var/spool/slurmctld/job_state"
        lab.login.run(
            f"touch /tmp/mark; scontrol update JobId={job} AdminComment=seen; "
            f"until [ {state} -nt /tmp/mark ]; do sleep 0.2; done",
            timeout=120,
        )
        lab.login.run(
            "pkill -KILL -x slurmctld; while pgrep -x slurmctld; do sleep 0.1; done; slurmctld"
        )
        watch.start()
        watch.wait_recovered(lambda: scene.listed_session().get("state") == "ready", "an answer")
        scene.check_nothing_lost()
