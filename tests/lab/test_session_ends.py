"""How sessions end other than by ``vizdash stop``, and the warning before the time limit."""

from __future__ import annotations

from tests.lab import Lab
from tests.lab.browser import desktop
from tests.lab.test_session import BLUE
from tests.lab.verbs import (
    list_sessions,
    open_session,
    start_session,
    wait_for_state,
    wait_nothing_left,
)
from tests.waiting import wait_until


def test_scancel_by_hand_leaves_nothing(lab: Lab) -> None:
    session = start_session(lab, "desktop")
    lab.login.run(["scancel", session["job_id"]], user="alice")
    assert wait_for_state(lab, session["id"], "ended")["result"] == "cancelled"
    wait_nothing_left(lab.hosts[session["node"]])


def test_a_time_out_leaves_nothing_even_of_daemons(lab: Lab, site: None) -> None:
    session = start_session(lab, "daemon", "--time", "1m")
    node = lab.hosts[session["node"]]
    wait_until(lambda: "sleep 98765" in node.processes("alice"), "daemon")
    # Slurm checks limits periodically: up to a minute after the limit.
    ended = wait_for_state(lab, session["id"], "ended", seconds=300)
    assert ended["result"] == "timed out"
    wait_nothing_left(node)


def test_the_warning_shows_on_the_desktop_and_does_not_end_it(lab: Lab) -> None:
    session = start_session(lab, "desktop")
    with open_session(lab, session["id"]) as url, desktop(url, lab.login) as seen:
        seen.wait_share(BLUE)
        # What Slurm sends five minutes before the limit (--signal=B:USR1@300).
        signal = ["scancel", "--signal=USR1", "--batch", session["job_id"]]
        node = lab.hosts[session["node"]]
        with seen.changes((440, 300, 840, 420)):
            lab.login.run(signal, user="alice")
            wait_until(
                lambda: "save your work" in node.run("pgrep -u alice -a xmessage; true").stdout,
                "warning",
            )
        seen.save("warning-on-the-desktop")
    assert list_sessions(lab)[0]["state"] == "ready"
