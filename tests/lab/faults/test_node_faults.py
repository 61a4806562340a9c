"""A node or a job fails while a user works with its session."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.lab.clocks import END_SLURMD
from tests.lab.faults.fault import Fault, Record, measuring
from tests.lab.faults.scene import NODE, Make, Scene, at_work, desktop_processes, follow, rows
from tests.lab.verbs import open_session, run_vizdash, start_session, wait_nothing_left


@contextlib.contextmanager
def slurmd_timeout(lab: Lab, seconds: int) -> Iterator[None]:
    """Seconds after which Slurm gives up a silent node, and its jobs."""
    conf = lab.login.root / "etc/slurm/slurm.conf"
    text = conf.read_text()
    assert "SlurmdTimeout=30\n" in text
    conf.write_text(text.replace("SlurmdTimeout=30\n", f"SlurmdTimeout={seconds}\n"))
    lab.login.run(["scontrol", "reconfigure"])
    try:
        yield
    finally:
        conf.write_text(text)
        lab.login.run(["scontrol", "reconfigure"])


@contextlib.contextmanager
def no_slurmd(scene: Scene) -> Iterator[None]:
    with slurmd_timeout(scene.lab, 90):
        try:
            scene.node.run(END_SLURMD.replace("pkill", "pkill -KILL"))
            yield
            with open_session(scene.lab, scene.session["id"]) as url:
                page = scene.lab.login.run(["curl", "-s", url.partition("#")[0]], user="alice")
            assert "noVNC" in page.stdout
        finally:
            scene.node.run(["slurmd"])
            scene.lab.wait_idle(states={"idle", "mixed"})


@contextlib.contextmanager
def suspended(scene: Scene) -> Iterator[None]:
    job = scene.session["job_id"]
    scene.lab.login.run(["scontrol", "suspend", job])
    try:
        yield
        done = run_vizdash(scene.lab, "open", scene.session["id"], check=False)
        assert "its job is suspended" in done.stderr
    finally:
        scene.lab.login.run(["scontrol", "resume", job])


MADE: dict[str, Make] = {"slurmd killed": no_slurmd, "job suspended": suspended}


@pytest.mark.parametrize("fault", rows(*MADE))
def test_the_session_survives(lab: Lab, site: None, fault: Fault, record_property: Record) -> None:
    with at_work(lab) as scene:
        follow(scene, fault, MADE[fault.name], record_property)


@pytest.mark.parametrize("fault", rows("job requeued"))
def test_a_requeued_job(lab: Lab, site: None, fault: Fault, record_property: Record) -> None:
    with at_work(lab) as scene, measuring(fault, record_property) as watch:
        job = scene.session["job_id"]
        lab.login.run(["scontrol", "update", f"JobId={job}", "Requeue=1"])
        watch.start()
        lab.login.run(["scontrol", "requeue", job])
        watch.wait_seen(lambda: scene.shows(*fault.words), fault.name, scene.screen.text)
        watch.start()
        lab.login.run(["scontrol", "update", f"JobId={job}", "StartTime=now"])
        watch.wait_recovered(lambda: scene.shows("● ready"), "the session", scene.screen.text)
        row = scene.listed_session()
        assert (row["job_id"], row["state"]) == (job, "ready")
        assert scene.processes.isdisjoint(desktop_processes(scene.node))


@pytest.mark.parametrize("fault", rows("node powered off"))
def test_a_node_loses_power(lab: Lab, site: None, fault: Fault, record_property: Record) -> None:
    with at_work(lab) as scene, measuring(fault, record_property) as watch:
        watch.start()
        try:
            scene.node.power_off()
            watch.wait_seen(lambda: scene.shows(*fault.words), fault.name, scene.screen.text)
        finally:
            lab.restart(lab.hosts[NODE])
        watch.start()
        row = scene.listed_session()
        assert (row["job_id"], row["result"]) == (scene.session["job_id"], "failed")
        assert run_vizdash(lab, "logs", row["id"]).stdout.startswith(scene.log)
        lab.wait_idle()
        again = start_session(lab, "plain", "--node", NODE)
        watch.wait_recovered(lambda: scene.shows("● ready"), "the next session", scene.screen.text)
        run_vizdash(lab, "stop", again["id"])
        wait_nothing_left(scene.node)
