"""The session chain on a node whose /bin/bash is an older one."""

from __future__ import annotations

from tests.lab import Lab
from tests.lab.browser import desktop
from tests.lab.oldbash import with_old_bash
from tests.lab.test_life import NODE, gone
from tests.lab.test_session import BLUE
from tests.lab.vd import opened, start, vizdash, wait_state


def test_the_chain_on_debian_11_s_bash(lab: Lab, site: None) -> None:
    node = lab.hosts[NODE]
    with with_old_bash(node):
        # What the job scripts start runs in it; an image has its own.
        host, image = (start(lab, app, "--node", NODE) for app in ("plain", "desktop"))
        for session, colour in ((host, (0x20, 0x60, 0x40)), (image, BLUE)):
            with opened(lab, session["id"]) as url, desktop(url, lab.login) as seen:
                seen.wait_share(colour)
        log = vizdash(lab, "logs", host["id"]).stdout
        assert ": line " not in log, log
        node.run(["pkill", "-TERM", "-u", "alice", "-f", "^openbox"])
        for session in (host, image):
            ended = wait_state(lab, session["id"], "ended")
            assert (ended["result"], ended["error"]) == ("finished", ""), ended
        gone(node)
        killed, stopped = (start(lab, "plain", "--node", NODE) for _ in range(2))
        node.run(["pkill", "-KILL", "-f", f"^[^ ]*Xvnc .*{killed['id']}"])
        assert wait_state(lab, killed["id"], "ended")["step"] == "xvnc"
        vizdash(lab, "stop", stopped["id"])
        assert wait_state(lab, stopped["id"], "ended")["result"] == "cancelled"
        gone(node)
