"""The whole chain, on every kind of site of tests/lab/variants.py.

One row only: ``pytest tests/lab/test_variants.py -k NAME``.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from typing import Any

import pytest

from tests.lab import Lab
from tests.lab.browser import desktop, keep_browsers
from tests.lab.desktops import BLUE, type_in_terminal
from tests.lab.test_share import joined, sharing
from tests.lab.variants import NODES, VARIANTS, Variant
from tests.lab.verbs import find_leftovers, list_sessions, open_session, run_vizdash, wait_for_state

_SIZE = ("--cpus", "1")


def _started(lab: Lab, variant: Variant, count: int) -> list[dict[str, Any]]:
    """Sessions that are ready, asked for at the same moment."""
    words = ["vizdash", "start", variant.app, *_SIZE, *variant.start, "--wait", "--json"]
    with contextlib.ExitStack() as stack:
        running = []
        for _ in range(count):
            process = stack.enter_context(lab.login.popen(words, user="alice"))
            stack.callback(process.kill)
            running.append(process)
        return [_session(process) for process in running]


def _session(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, output = process.communicate(timeout=300)
    assert process.returncode == 0, output
    found: dict[str, Any] = json.loads(out)["session"]
    assert found["state"] == "ready", output
    return found


def _nothing_left(lab: Lab) -> None:
    """No process, socket or temporary file of the user's on a node, and no job."""
    deadline = time.monotonic() + 120
    while left := {
        node.name: text for node in lab.nodes if (text := find_leftovers(node, "alice"))
    }:
        assert time.monotonic() < deadline, left
        time.sleep(0.5)
    assert lab.login.run(["squeue", "-ah"]).stdout == ""


@pytest.mark.parametrize("variant", [pytest.param(v, id=v.name) for v in VARIANTS])
def test_start_open_type_and_stop(can_lab: None, variant: Variant) -> None:
    with Lab.start(nodes=NODES, lay=variant.lay, accounts=variant.accounts) as lab, keep_browsers():
        try:
            _use(lab, variant)
        except Exception as e:
            e.add_note(_logs(lab))
            raise


def _logs(lab: Lab) -> str:
    """The ends of what Slurm's daemons have logged."""
    files = dict.fromkeys(lab.nodes, "/var/log/slurmd.log")
    files[lab.login] = "/var/log/slurmctld.log"
    output = {host.name: host.run(["tail", "-n30", file]).stdout for host, file in files.items()}
    return "\n".join(f"--- Slurm's log on {name}\n{text}" for name, text in output.items())


def _log_in(lab: Lab, session: dict[str, Any], variant: Variant) -> None:
    """A command over SSH runs inside the job, whatever the shell and its start-up files print."""
    command = "echo; hostname; printenv SLURM_JOB_ID; cat /proc/self/cgroup"
    lines = run_vizdash(lab, "ssh", session["id"], command).stdout.splitlines()
    at = lines.index(session["job_id"])
    assert session["node"].endswith(lines[at - 1])
    if variant.name == "cgroup":
        assert any(f"/job_{session['job_id']}/" in line for line in lines[at + 1 :])


def _share(lab: Lab, session: dict[str, Any]) -> None:
    """Another user sees it."""
    with (
        sharing(lab, "share", session["id"], "--with", "bob"),
        joined(lab.login, "join", session["id"]) as (url, _),
        desktop(url, lab.login) as seen,
    ):
        seen.wait_share(BLUE)


def _use(lab: Lab, variant: Variant) -> None:
    looked = run_vizdash(lab, "doctor", check=False)
    assert looked.returncode == 0, looked.stdout + looked.stderr
    both = _started(lab, variant, 2)
    ids = [session["id"] for session in both]
    assert len(set(ids)) == 2
    assert {s["id"] for s in list_sessions(lab) if s["state"] == "ready"} == set(ids)
    node = next(host for host in lab.nodes if both[0]["node"].endswith(host.name))
    node.run(variant.proof)
    _log_in(lab, both[0], variant)
    for session_id in ids:
        with open_session(lab, session_id) as url, desktop(url, lab.login) as seen:
            seen.wait_share(BLUE)
            type_in_terminal(lab, seen, f"In-{session_id}", place=variant.writes)
    if "PrivateData" not in variant.conf:  # whose job it is, the other user could not see
        _share(lab, both[0])
    run_vizdash(lab, "stop", *ids)
    for session_id in ids:
        assert wait_for_state(lab, session_id, "ended")["result"] == "cancelled"
    _nothing_left(lab)
