"""What cannot run is refused before it is submitted, in words."""

from __future__ import annotations

import json

import pytest

from tests.lab import Lab
from tests.lab.verbs import list_sessions, run_vizdash, wait_for_state


def refused(lab: Lab, *words: str, code: int = 1) -> str:
    """The one line with which ``vizdash start`` says no; nothing was submitted."""
    jobs, folders = known(lab)
    done = run_vizdash(lab, "start", *words, check=False)
    assert done.returncode == code, done
    assert done.stdout == ""
    line, *rest = done.stderr.splitlines()
    assert rest == []
    assert "Traceback" not in line
    jobs_now, folders_now = known(lab)
    assert jobs_now <= jobs, "a job was submitted"
    assert folders_now <= folders, "a folder was left"
    return line


def known(lab: Lab) -> tuple[set[str], set[str]]:
    """The jobs that Slurm knows, and alice's session folders."""
    jobs = lab.login.run(["squeue", "-h", "-t", "all", "-o", "%i"]).stdout
    folders = lab.login.run("ls ~/.local/state/vizdash/sessions; true", user="alice").stdout
    return set(jobs.split()), set(folders.split())


def test_more_memory_than_the_node_has(lab: Lab) -> None:
    line = refused(lab, "desktop", "--memory", "4G", "--node", "viz-node001")
    assert "4.0 GiB requested, but viz-node001 has 3.5 GiB" in line
    assert "viz-node002, viz-node003 would fit" in line


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--memory", "400G"], "400 GiB requested, but viz-node003 has 16.0 GiB"),
        (["--cpus", "9"], "9 cores requested, but viz-node003 has 8"),
        (["--gpus", "3"], "3 GPUs requested, but viz-node003 has 2"),
        (["--time", "9h"], "9 h requested, but partition viz allows 8 h at most"),
    ],
)
def test_before_sbatch(lab: Lab, words: list[str], expected: str) -> None:
    assert expected in refused(lab, "desktop", *words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--node", "viz-node009"], "viz-node009 is not in partition viz"),
        (["--partition", "vis"], "partition 'vis' is not there (did you mean 'viz'?)"),
        (["--reservation", "nosuch"], "there is no reservation 'nosuch'"),
    ],
)
def test_unknown_names(lab: Lab, words: list[str], expected: str) -> None:
    assert expected in refused(lab, "desktop", *words, code=2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--account", "nosuch"], "you may not use this account with this partition"),
        (["--partition", "gated"], "you may not use this account with this partition"),
        (
            ["--partition", "gated", "--account", "engineering"],
            "you may not use this account with this partition",
        ),
        (["--constraint", "nosuch"], "no node has the features that the constraint names"),
        (["--", "--nosuchoption"], "sbatch does not know the option --nosuchoption"),
    ],
)
def test_by_sbatch_in_words(lab: Lab, words: list[str], expected: str) -> None:
    assert expected in refused(lab, "desktop", *words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--memory", "4X"], "'4X' is not an amount of memory (write e.g. 4G or 512M)"),
        (["--geometry", "3"], "write WIDTHxHEIGHT"),
        (["--cpus", "0"], "--cpus"),
        (["--time", "soon"], "--time"),
        (["--nosuch"], "--nosuch"),
    ],
)
def test_bad_values_are_usage_errors(lab: Lab, words: list[str], expected: str) -> None:
    assert expected in refused(lab, "desktop", *words, code=2)


def test_an_image_that_the_node_lacks(lab: Lab) -> None:
    line = refused(lab, "gedit", "--node", "viz-node001")
    assert "node viz-node001 has no such image (vizdash deploy gedit)" in line
    # Where no node is asked for, it goes to one that has it.
    session = json.loads(run_vizdash(lab, "start", "gedit", "--json").stdout)["session"]
    job = lab.login.run(["scontrol", "show", "job", session["job_id"]]).stdout
    assert "ExcNodeList=viz-node001\n" in job
    line = refused(lab, "desktop", "--image", "9.9")
    assert "has the image (vizdash deploy desktop)" in line


def test_an_image_that_vanished_since_is_named_by_the_first_step(lab: Lab) -> None:
    """A raw sbatch argument wins over what vizdash chose: the job itself finds out."""
    done = run_vizdash(lab, "start", "gedit", "--json", "--", "--exclude=viz-node00[2-3]")
    session = json.loads(done.stdout)["session"]
    ended = wait_for_state(lab, session["id"], "ended")
    assert ended["result"] == "failed"
    assert ended["step"] == "image"
    gone = "no image /opt/apptainers/apps/gedit/gedit.sif on viz-node001: vizdash deploy gedit"
    assert ended["error"] == gone


def test_a_partition_that_is_down(lab: Lab) -> None:
    done = run_vizdash(lab, "start", "desktop", "--partition", "closed")
    assert "partition closed is down" in done.stderr
    (session,) = [s for s in list_sessions(lab) if s["id"] == done.stdout.strip()]
    assert session["state"] == "pending"
    assert session["reason"] == "the partition is down"


def test_a_drained_node(lab: Lab) -> None:
    why = "reason=fan broken"
    lab.login.run(["scontrol", "update", "nodename=viz-node003", "state=drain", why])
    try:
        done = run_vizdash(lab, "start", "desktop", "--node", "viz-node003")
        assert "viz-node003 is drained: fan broken" in done.stderr
        (session,) = [s for s in list_sessions(lab) if s["id"] == done.stdout.strip()]
        assert session["state"] == "pending"
        assert session["reason"] == "a node it needs is down, drained or reserved"
        table = run_vizdash(lab, "nodes").stdout
        assert "fan broken" in table
    finally:
        lab.login.run(["scontrol", "update", "nodename=viz-node003", "state=resume"])
    wait_for_state(lab, session["id"], "ready")


def test_the_controller_is_down(lab: Lab) -> None:
    pid = (lab.login.root / "run/slurmctld.pid").read_text().strip()
    lab.login.run(["kill", "-STOP", pid])
    try:
        lab.login.run(["kill", "-CONT", pid])
        lab.stop_slurmctld()
        done = run_vizdash(lab, "sessions", check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("vizdash: Slurm: slurmctld does not answer")
        assert len(done.stderr.splitlines()) == 1
    finally:
        lab.login.run(["slurmctld"])
        lab.wait_idle()
