"""Two vizdash act on the same session, the same node and the same image at the same moment."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence

import pytest

from tests.lab import Lab
from tests.lab.faults.fault import Fault, Record, measuring
from tests.lab.faults.scene import NODE, at_work, rows
from tests.lab.faults.test_killed_images import current, images
from tests.lab.gedit_builds import ADMIN
from tests.lab.verbs import run_vizdash, start_session, wait_for_state, wait_nothing_left

__all__ = ["images"]


def at_once(lab: Lab, *calls: Sequence[str], user: str = "alice") -> list[tuple[int, str, str]]:
    """Run verbs side by side: exit code, stdout and stderr of each."""
    running: list[subprocess.Popen[str]] = []
    try:
        running += [lab.login.popen(["vizdash", *words], user=user) for words in calls]
        ended = [process.communicate(timeout=300) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    found = [(p.returncode, *texts) for p, texts in zip(running, ended, strict=True)]
    for _, _, stderr in found:
        assert "Traceback" not in stderr and "internal error" not in stderr, stderr
    return found


@pytest.mark.parametrize("fault", rows("two vizdash: one session"))
def test_one_session(lab: Lab, site: None, fault: Fault, record_property: Record) -> None:
    with at_work(lab) as scene, measuring(fault, record_property) as watch:
        session = scene.session["id"]
        other = start_session(lab, "plain", "--node", NODE)
        watch.start()
        stop = ("stop", session)
        ended = at_once(lab, stop, stop, ("extend", session, "10m"), stop)
        assert [code for code, _, _ in (ended[0], ended[1], ended[3])] == [0, 0, 0], ended
        row = wait_for_state(lab, session, "ended")
        watch.wait_recovered(lambda: row["result"] == "cancelled", "its end")
        # Nothing but this session ended.
        assert scene.jobs() == [other["job_id"]]
        run_vizdash(lab, "stop", other["id"])
        wait_nothing_left(scene.node)


@pytest.mark.parametrize("fault", rows("two vizdash: one node"))
def test_one_node(lab: Lab, site: None, fault: Fault, record_property: Record) -> None:
    with measuring(fault, record_property) as watch:
        watch.start()
        drain, resume = ("drain", NODE, "--reason", "disk"), ("resume", NODE)
        for _ in range(3):
            for code, _, stderr in at_once(lab, drain, resume, drain, user="root"):
                assert code == 0 or NODE in stderr, stderr
        run_vizdash(lab, *resume, user="root", check=False)
        watch.wait_recovered(lambda: state(lab) == "idle", "the node", lambda: state(lab))


def state(lab: Lab) -> str:
    """The state of NODE, as Slurm has it."""
    return lab.login.run(["sinfo", "-hn", NODE, "-p", "viz", "-o", "%T"]).stdout.strip()


@pytest.mark.parametrize("fault", rows("two vizdash: one image"))
def test_one_image(
    lab: Lab,
    images: dict[str, str],
    fault: Fault,
    record_property: Record,
) -> None:
    with measuring(fault, record_property) as watch:
        run_vizdash(lab, "deploy", "gedit", "--version", "1.0", user=ADMIN)
        watch.start()
        words = ("deploy", "gedit", "--json", "--version")
        ended = at_once(lab, (*words, "1.1"), (*words, "1.0"), (*words, "1.1"), user=ADMIN)
        for code, stdout, stderr in ended:
            assert code == 0 or "deploys gedit" in stderr, stderr
            assert code != 0 or json.loads(stdout)["deploy"], stdout
        versions = {images[current(node)] for node in lab.nodes}
        watch.wait_recovered(lambda: len(versions) == 1, "one version")
        assert any(code == 0 for code, _, _ in ended)
        run_vizdash(lab, *words, "1.1", user=ADMIN)
        assert {images[current(node)] for node in lab.nodes} == {"1.1"}
