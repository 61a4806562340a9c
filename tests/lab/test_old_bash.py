"""The whole session chain on a node with an older /bin/bash."""

from __future__ import annotations

import re

from tests.lab import Lab
from tests.lab.browser import desktop
from tests.lab.old_bash import with_old_bash
from tests.lab.test_session import BLUE
from tests.lab.test_session_cleanup import NODE
from tests.lab.verbs import (
    open_session,
    run_vizdash,
    start_session,
    wait_for_state,
    wait_nothing_left,
)
from tests.waiting import wait_until


def test_the_chain_on_debian_11_s_bash(lab: Lab, site: None) -> None:
    node = lab.hosts[NODE]
    with with_old_bash(node):
        # What the job scripts start runs in it; an image has its own.
        host, image = (start_session(lab, app, "--node", NODE) for app in ("plain", "desktop"))
        for session, colour in ((host, (0x20, 0x60, 0x40)), (image, BLUE)):
            with open_session(lab, session["id"]) as url, desktop(url, lab.login) as seen:
                seen.wait_share(colour)
        log = run_vizdash(lab, "logs", host["id"]).stdout
        assert ": line " not in log, log
        # Both window managers run, and end with 0.
        caught = "for pid in $(pgrep -u alice -x openbox); do cat /proc/$pid/status; done; true"
        ready = re.compile("^SigCgt:.*[4-7c-f]...$", re.MULTILINE)
        wait_until(lambda: len(ready.findall(node.run(caught).stdout)) == 2, "window managers")
        node.run(["pkill", "-TERM", "-u", "alice", "-f", "^openbox"])
        for session in (host, image):
            ended = wait_for_state(lab, session["id"], "ended")
            assert (ended["result"], ended["error"]) == ("finished", ""), ended
        wait_nothing_left(node)
        killed, stopped = (start_session(lab, "plain", "--node", NODE) for _ in range(2))
        node.run(["pkill", "-KILL", "-f", f"^[^ ]*Xvnc .*{killed['id']}"])
        assert wait_for_state(lab, killed["id"], "ended")["step"] == "xvnc"
        run_vizdash(lab, "stop", stopped["id"])
        assert wait_for_state(lab, stopped["id"], "ended")["result"] == "cancelled"
        wait_nothing_left(node)
