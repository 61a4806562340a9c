"""vizdash is killed (SIGKILL) at every step of what it does, and run again."""

from __future__ import annotations

import pytest

from tests.lab import Lab
from tests.lab.faults.fault import Fault, Record, measuring
from tests.lab.faults.scene import NODE, rows
from tests.lab.faults.walk import killed_at_each_step
from tests.lab.verbs import (
    list_sessions,
    open_session,
    run_vizdash,
    start_session,
    wait_for_state,
    wait_nothing_left,
)

STATE = "/home/alice/.local/state/vizdash"
SMALL = ("--cpus", "1", "--memory", "1G")


def jobs(lab: Lab) -> set[str]:
    """The ids of alice's jobs."""
    return set(lab.login.run(["squeue", "-h", "-u", "alice", "-o", "%i"]).stdout.split())


def check_nothing_left(lab: Lab) -> None:
    """No process, socket or temporary file of alice's, once an hour has passed and she has run
    vizdash again.
    """
    parts = f"find /tmp {STATE} -user alice -name"
    lab.login.run(f"{parts} 'vizdash-run_*' -exec touch -d '2 hours ago' {{}} +")
    lab.login.run(f"{parts} '.*' -type f -exec touch -d '2 hours ago' {{}} +")
    session = start_session(lab, "plain", *SMALL)
    with open_session(lab, session["id"]) as url:
        page = lab.login.run(["curl", "-s", url.partition("#")[0]], user="alice").stdout
        assert "noVNC" in page
    run_vizdash(lab, "stop", session["id"])
    wait_for_state(lab, session["id"], "ended")
    for host in (lab.login, *lab.nodes):
        wait_nothing_left(host)
    assert lab.login.run(f"find {STATE} -maxdepth 1 -name '.*.????????'").stdout == ""


@pytest.mark.parametrize("fault", rows("vizdash killed: start"))
def test_start(lab: Lab, site: None, fault: Fault, record_property: Record) -> None:
    before = {row["id"] for row in list_sessions(lab)}
    with measuring(fault, record_property) as watch:
        for where in killed_at_each_step(lab.login, "start", "plain", *SMALL):
            found = [row for row in list_sessions(lab) if row["id"] not in before]
            assert jobs(lab) == {row["job_id"] for row in found}, where
            watch.start()
        # The run that was not killed is the last one.
        watch.wait_recovered(lambda: len(jobs(lab)) > len(found), "the next start")
    for row in list_sessions(lab):
        if row["id"] not in before:
            wait_for_state(lab, row["id"], "ready")
            run_vizdash(lab, "stop", row["id"])
    check_nothing_left(lab)


@pytest.mark.parametrize("fault", rows("vizdash killed: open"))
def test_open(lab: Lab, site: None, fault: Fault, record_property: Record) -> None:
    session = start_session(lab, "plain", "--node", NODE)
    with measuring(fault, record_property) as watch:
        for where in killed_at_each_step(lab.login, "open", session["id"], "--print", until="http"):
            (row,) = [row for row in list_sessions(lab) if row["id"] == session["id"]]
            assert row["state"] == "ready", where
            watch.start()
        with open_session(lab, session["id"]):
            watch.wait_recovered(lambda: True, "the next open")
    run_vizdash(lab, "stop", session["id"])
    check_nothing_left(lab)


@pytest.mark.parametrize("fault", rows("vizdash killed: stop"))
def test_stop(lab: Lab, site: None, fault: Fault, record_property: Record) -> None:
    session = start_session(lab, "plain", "--node", NODE)
    with measuring(fault, record_property) as watch:
        for where in killed_at_each_step(lab.login, "stop", session["id"]):
            (row,) = [row for row in list_sessions(lab) if row["id"] == session["id"]]
            assert row["state"] in {"ready", "ending", "ended"}, where
            watch.start()
        wait_for_state(lab, session["id"], "ended")
        watch.wait_recovered(lambda: True, "the end")
    (row,) = [row for row in list_sessions(lab) if row["id"] == session["id"]]
    assert row["result"] == "cancelled"
    check_nothing_left(lab)
