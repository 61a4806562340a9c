"""Sessions that an older vizdash started are listed, opened and stopped by this one.

tests/recorded/upgrade holds what the vizdash of commit dd6fbb1 gave sbatch for three apps of the
lab's site: its arguments (APP.argv, a line each) and the job script on its stdin (APP.sh).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.browser import desktop
from tests.lab.test_session import BLUE
from tests.lab.verbs import open_session, run_vizdash, wait_for_state, wait_nothing_left
from tests.waiting import wait_until

RECORDED = Path(__file__).parents[1] / "recorded/upgrade"
FOLDERS = "/home/alice/.local/state/vizdash/sessions"


def submit_as_before(lab: Lab, app: str) -> str:
    """Submit the session as the older vizdash did; returns its id."""
    argv = (RECORDED / f"{app}.argv").read_text().splitlines()
    (session,) = [w.split("/")[-2] for w in argv if w.startswith("--output=")]
    lab.login.run(["mkdir", "-p", "-m", "700", f"{FOLDERS}/{session}"], user="alice")
    script = (RECORDED / f"{app}.sh").read_text()
    lab.login.run(["env", "LC_ALL=C", *argv], input=script, user="alice")
    return session


@pytest.mark.parametrize(
    ("app", "colour"), [("plain", (0x20, 0x60, 0x40)), ("desktop", BLUE), ("old-gedit", None)]
)
def test_a_session_of_the_older_vizdash(
    lab: Lab, site: None, app: str, colour: tuple[int, int, int] | None
) -> None:
    session = submit_as_before(lab, app)
    ready = wait_for_state(lab, session, "ready")
    assert (ready["app"], ready["user"]) == (app, "alice")
    with open_session(lab, session) as url:
        assert "/vnc.html#" in url
        if colour:
            with desktop(url, lab.login) as seen:
                seen.wait_share(colour)
    assert run_vizdash(lab, "logs", session).stdout
    run_vizdash(lab, "stop", session)
    ended = wait_for_state(lab, session, "ended")
    assert (ended["result"], ended["error"]) == ("cancelled", "")
    node = lab.hosts[ready["node"]]
    if app == "old-gedit":
        # On a busy node, that script kills X before X has removed these.
        wait_until(lambda: node.processes("alice") == "", "end of the session")
        node.run("rm -f /tmp/.X[0-9]*-lock /tmp/.X11-unix/X[0-9]*")
    wait_nothing_left(node)
