"""The whole session chain on a node with an older /bin/bash."""

from __future__ import annotations

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
