"""Several sessions at once: of one user, of two users, and more than fit."""

from __future__ import annotations

import json
import time

from tests.lab import Lab
from tests.lab.browser import desktop
from tests.lab.terminal import terminal
from tests.lab.test_session import BLUE
from tests.lab.verbs import list_sessions, open_session, run_vizdash, start_session, wait_for_state


def test_three_sessions_of_two_users_on_one_node(lab: Lab) -> None:
    size = ("--cpus", "1", "--memory", "1G", "--node", "viz-node002")
    first = start_session(lab, "desktop", *size)
    second = start_session(lab, "desktop", *size)
    third = start_session(lab, "desktop", *size, user="bob")
    for session, user in ((first, "alice"), (second, "alice"), (third, "bob")):
        with open_session(lab, session["id"], user) as url, desktop(url, lab.login) as seen:
            seen.wait_share(BLUE)
    run_vizdash(lab, "stop", first["id"])
    wait_for_state(lab, first["id"], "ended")
    # One ended beside them does not touch the others.
    with open_session(lab, second["id"]) as url, desktop(url, lab.login) as seen:
        seen.wait_share(BLUE)


def test_twenty_at_once(lab: Lab) -> None:
    """1 core and 1 GiB each on 4+8+8 cores and 3.5+16+16 GiB: 3 + 8 + 8 = 19 fit."""
    fits = 3 + 8 + 8
    script = "for i in $(seq 20); do vizdash start desktop --cpus 1 --memory 1G --json & done; wait"
    output = lab.login.run(script, user="alice", timeout=600).stdout
    ids = {json.loads(line)["session"]["id"] for line in output.splitlines()}
    assert len(ids) == 20
    deadline = time.monotonic() + 600
    while True:
        now = [s for s in list_sessions(lab) if s["id"] in ids]
        ready = [s for s in now if s["state"] == "ready"]
        if len(ready) == fits:
            break
        ended = [s for s in now if s["state"] == "ended"]
        assert not ended, json.dumps(ended, indent=1)
        assert time.monotonic() < deadline, [s["state"] for s in now]
        time.sleep(0.5)
    pending = [s for s in now if s["state"] == "pending"]
    assert len(pending) == 20 - fits
    assert all(s["reason"] for s in pending), pending
    with terminal(lab.login, ["vizdash"]) as screen:  # the form offers the same size again
        screen.wait("Nodes 3", seconds=180)
        screen.keys("n")
        screen.wait("nothing is free now: starts about")
    for session in (ready[0], ready[9], ready[18]):
        with open_session(lab, session["id"]) as url:
            page = url.partition("#")[0]
            assert "noVNC" in lab.login.run(["curl", "-s", page], user="alice").stdout
    run_vizdash(lab, "stop", ready[0]["id"])
    wait_for_state(lab, pending[0]["id"], "ready")
    run_vizdash(lab, "stop", *(ids - {ready[0]["id"]}), timeout=600)
