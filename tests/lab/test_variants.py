"""The whole chain, on every kind of site of tests/lab/variants.py.

One row by itself: ``pytest tests/lab/test_variants.py -k NAME``.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from typing import Any

import pytest

from tests.lab import Lab
from tests.lab.browser import desktop, kept
from tests.lab.desks import BLUE, typed
from tests.lab.variants import NODES, VARIANTS, Variant
from tests.lab.vd import leftovers, opened, sessions, vizdash, wait_state

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
    out, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    found: dict[str, Any] = json.loads(out)["session"]
    assert found["state"] == "ready", said
    return found


def _nothing_left(lab: Lab) -> None:
    """No process, socket or temporary file of the user's on a node, and no job."""
    deadline = time.monotonic() + 120
    while left := {node.name: text for node in lab.nodes if (text := leftovers(node, "alice"))}:
        assert time.monotonic() < deadline, left
        time.sleep(0.5)
    assert lab.login.run(["squeue", "-ah"]).stdout == ""


@pytest.mark.parametrize("variant", [pytest.param(v, id=v.name) for v in VARIANTS])
def test_start_open_type_and_stop(can_lab: None, variant: Variant) -> None:
    with Lab.start(nodes=NODES, lay=variant.lay, accounts=variant.accounts) as lab, kept():
        try:
            _use(lab, variant)
        except Exception as e:
            e.add_note(_logs(lab))
            raise


def _logs(lab: Lab) -> str:
    """The ends of what Slurm's daemons have logged."""
    files = dict.fromkeys(lab.nodes, "/var/log/slurmd.log")
    files[lab.login] = "/var/log/slurmctld.log"
    said = {host.name: host.run(["tail", "-n30", file]).stdout for host, file in files.items()}
    return "\n".join(f"--- Slurm's log on {name}\n{text}" for name, text in said.items())


def _use(lab: Lab, variant: Variant) -> None:
    looked = vizdash(lab, "doctor", check=False)
    assert looked.returncode == 0, looked.stdout + looked.stderr
    both = _started(lab, variant, 2)
    ids = [session["id"] for session in both]
    assert len(set(ids)) == 2
    assert {s["id"] for s in sessions(lab) if s["state"] == "ready"} == set(ids)
    node = next(host for host in lab.nodes if both[0]["node"].endswith(host.name))
    node.run(variant.proof)
    for session_id in ids:
        with opened(lab, session_id) as url, desktop(url, lab.login) as seen:
            seen.wait_share(BLUE)
            typed(lab, seen, f"In-{session_id}", place=variant.writes)
    vizdash(lab, "stop", *ids)
    for session_id in ids:
        assert wait_state(lab, session_id, "ended")["result"] == "cancelled"
    _nothing_left(lab)
