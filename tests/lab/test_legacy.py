"""A site's legacy job script keeps working under vizdash."""

from __future__ import annotations

import json
import time

import pytest

from tests.lab import Lab
from tests.lab.browser import desktop
from tests.lab.verbs import (
    list_sessions,
    open_session,
    run_vizdash,
    start_session,
    wait_for_state,
    wait_nothing_left,
)

pytestmark = pytest.mark.usefixtures("site")
#: The legacy image's background, #7a3b5d.
PURPLE = (0x7A, 0x3B, 0x5D)


def test_it_starts_shows_and_opens(lab: Lab) -> None:
    session = start_session(lab, "old-gedit")
    assert session["kind"] == "legacy"
    node = lab.hosts[session["node"]]
    info = node.run(["cat", f"/tmp/app_session_{session['id']}.info"]).stdout
    assert f"NODE={session['node']}\n" in info
    assert "STATUS=running\n" in info
    with open_session(lab, session["id"]) as url:
        # The page comes from the node itself, as it always did.
        assert url.startswith(f"http://{node.address}:60")
        with desktop(url, lab.login) as seen:
            seen.wait_share(PURPLE)
            seen.save("legacy-on-the-lab")
    assert session["id"] in run_vizdash(lab, "sessions").stdout
    run_vizdash(lab, "stop", session["id"])
    assert wait_for_state(lab, session["id"], "ended")["result"] == "cancelled"
    # What the legacy script left behind after scancel is gone now.
    wait_nothing_left(node)


def test_temporary_files_of_a_contained_image_and_of_a_sites_folder(lab: Lab) -> None:
    """An image may have a private /tmp, and a site may set TMPDIR for jobs."""
    script = lab.login.root / "etc/vizdash/jobs/gedit_vnc_job.sh"
    text = script.read_text().replace("run --cleanenv", "run --contain --cleanenv")
    line = (
        'env | grep TMPDIR= >"$HOME/tmpdir"; apptainer exec --cleanenv "$IMAGE" env >"$HOME/inside"'
    )
    script.write_text(text.replace("\ncat >", f"\n{line}\ncat >"))
    try:
        session = start_session(lab, "old-gedit")
        with open_session(lab, session["id"]) as url, desktop(url, lab.login) as seen:
            seen.wait_share(PURPLE)
        # The script may submit jobs, which outlive the session.
        shown = lab.login.run("cat tmpdir", user="alice").stdout
        assert "\nTMPDIR=/tmp/vizdash-" not in f"\n{shown}"
        assert f"APPTAINERENV_TMPDIR=/tmp/vizdash-{session['id']}." in shown
        run_vizdash(lab, "stop", session["id"])
        wait_for_state(lab, session["id"], "ended")
        wait_nothing_left(lab.hosts[session["node"]])

        # The user's own variables of these names do not get in the way.
        own = "export TMPDIR=/var/tmp SESSION_ID=desk VNC_PORT=5901 port=1 runtime=no id=7"
        lab.login.run(f"echo '{own}' >.profile", user="alice")
        session = start_session(lab, "old-gedit")
        shown = lab.login.run("cat tmpdir", user="alice").stdout
        assert shown == "TMPDIR=/var/tmp\n"
        assert "TMPDIR=/tmp/vizdash" not in lab.login.run("cat inside", user="alice").stdout
    finally:
        lab.login.run("rm -f .profile tmpdir inside", user="alice")


def test_two_users_get_ports_of_their_own(lab: Lab) -> None:
    size = ("--node", "viz-node002", "--cpus", "1", "--memory", "1G", "--json")
    ids = {}
    for user in ("alice", "bob"):
        done = run_vizdash(lab, "start", "old-gedit", *size, user=user)
        ids[user] = json.loads(done.stdout)["session"]["id"]
    # Its display is fixed, so only one of them can come up: the other says why.
    deadline = time.monotonic() + 120
    while True:
        found = {user: list_sessions(lab, user)[0] for user in ids}
        states = {s["state"] for s in found.values()}
        if "ready" in states and states <= {"ready", "ended"}:
            break
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    ports = set()
    for user, session in found.items():
        if session["state"] == "ready":
            with open_session(lab, session["id"], user) as url:
                ports.add(url.partition("/vnc.html")[0])
        else:
            assert session["result"] == "failed"
            assert session["error"]
    assert len(ports) == [s["state"] for s in found.values()].count("ready")


def test_an_info_file_of_someone_else_is_ignored(lab: Lab) -> None:
    """bob waits for alice's job to be seen and writes the file before her job can."""
    node = lab.hosts["viz-node002"]
    lab.login.run(["scontrol", "update", "nodename=viz-node002", "state=drain", "reason=wait"])
    try:
        done = run_vizdash(lab, "start", "old-gedit", "--node", "viz-node002", "--json")
        session = json.loads(done.stdout)["session"]
        trap = node.popen(["python3", "-m", "http.server", "6666"], user="bob")
        info = f"/tmp/app_session_{session['id']}.info"
        forged = "VNC_PORT=6666\\nNODE_IP=10.77.0.12\\nSTATUS=running\\n"
        node.run(f"printf '{forged}' >{info}; chmod 644 {info}", user="bob")
    finally:
        lab.login.run(["scontrol", "update", "nodename=viz-node002", "state=resume"])
    try:
        ready = wait_for_state(lab, session["id"], "ready")
        with open_session(lab, ready["id"]) as url:
            assert ":6666/" not in url
            with desktop(url, lab.login) as seen:
                seen.wait_share(PURPLE)
        run_vizdash(lab, "stop", session["id"])
        assert node.run(["cat", info], user="bob").stdout.startswith("VNC_PORT=6666")
    finally:
        node.run(["rm", "-f", info])
        trap.terminate()
        trap.wait(timeout=60)
        for pipe in (trap.stdin, trap.stdout, trap.stderr):
            assert pipe is not None
            pipe.close()


def test_an_image_that_is_not_there_is_named(lab: Lab) -> None:
    """The legacy script's own words, which it alone knows, reach the user."""
    node = lab.hosts["viz-node002"]
    folder = "/opt/apptainers/apps/legacy-gedit"
    node.run(["mv", folder, f"{folder}.away"])
    try:
        done = run_vizdash(
            lab, "start", "old-gedit", "--node", "viz-node002", "--wait", check=False
        )
    finally:
        node.run(["mv", f"{folder}.away", folder])
    assert done.returncode == 1
    message = (
        "code 1: Apptainer image not found: /opt/apptainers/apps/legacy-gedit/legacy-gedit.sif"
    )
    assert message in done.stderr
    # The job's own look-out for the desktop goes with it, and not at the end of its patience.
    wait_nothing_left(node)


@pytest.mark.parametrize(
    ("folder", "used"), [("/opt/apptainers/apps", "/opt/apptainers/apps"), ("/nowhere", "/tmp")]
)
def test_a_header_that_is_at_odds_with_the_session(lab: Lab, folder: str, used: str) -> None:
    """Its log is the session's, also where slurmd could not open the script's own; options that
    sbatch refuses beside vizdash's do not count. The script runs in its folder, or as slurmd would
    run it.
    """
    script = lab.login.root / "etc/vizdash/jobs/gedit_vnc_job.sh"
    text = script.read_text()
    header = "#SBATCH --error=gedit_%j.err\n#SBATCH --input=gedit.in\n"
    header += f"#SBATCH --mem-per-gpu=1G --cpus-per-gpu=4 --chdir {folder}\n"
    later = "\n: <<END\n#SBATCH --array=1-9\nEND\npwd\necho 'a warning' >&2\ncat >"
    text = text.replace("#SBATCH", f"{header}#SBATCH", 1).replace("\ncat >", later, 1)
    script.write_text(text)
    session = start_session(lab, "old-gedit")
    log = run_vizdash(lab, "logs", session["id"]).stdout.splitlines()
    assert {used, "a warning"} <= set(log)
    missing = [line for line in log if f"cannot change to the folder {folder} on" in line]
    assert len(missing) == (used != folder)
    run_vizdash(lab, "stop", session["id"])
    wait_for_state(lab, session["id"], "ended")
    wait_nothing_left(lab.hosts[session["node"]])
