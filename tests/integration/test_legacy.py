"""How sessions of a legacy job script end on this machine."""

from __future__ import annotations

import pytest

from tests.integration.machine import Machine
from tests.waiting import wait_until

CONFIG = """\
clusters:
  here: {job_scripts: JOBS, ready_timeout: READY}
apps:
  old:
    kind: legacy
    script: old.sh
    vnc_password: password
    resources: {cores: 1, memory: 256M, time: 1h}
"""
INFO = """\
#!/bin/bash
INFO=/tmp/app_session_${SESSION_ID}.info
printf 'JOB_ID=1\\nVNC_PORT=%s\\nSTATUS=running\\n' "$VNC_PORT" >"$INFO"
"""
#: A desktop as a legacy image brings it up, and a script that waits for something else.
DESKTOP = f"""{INFO}
echo password | vncpasswd -f >"$TMPDIR/passwd"
Xvnc :1 -rfbport 5901 -localhost -SecurityTypes VncAuth -PasswordFile "$TMPDIR/passwd" &
websockify --web /usr/share/novnc "$VNC_PORT" 127.0.0.1:5901 &
sleep 98765
"""


def configure(machine: Machine, script: str, ready: str = "60s") -> None:
    jobs = str(machine.home / "jobs")
    machine.run(["mkdir", "-p", ".config/vizdash", jobs])
    config = machine.outside("~/.config/vizdash/config.yaml")
    config.write_text(CONFIG.replace("JOBS", jobs).replace("READY", ready))
    machine.outside("~/jobs/old.sh").write_text(script)


def wait_clean(machine: Machine) -> None:
    """Nothing of the session is left."""
    left = machine.leftovers
    wait_until(lambda: left() == [], "clean machine", 180, lambda: str(left()))


@pytest.mark.parametrize(
    "wait",
    [
        "trap '' TERM; while :; do sleep 1; done",
        "trap 'sleep 98765' TERM; sleep 98765 & wait",
    ],
    ids=["ignores it", "takes long"],
)
def test_a_script_with_a_term_trap_fails_at_ready_timeout(machine: Machine, wait: str) -> None:
    configure(machine, f"{INFO}\n{wait}\n", ready="5s")
    done = machine.vizdash("start", "old", "--wait", check=False)
    assert done.returncode == 1
    assert "no desktop answered at port" in done.stderr
    (session,) = machine.sessions()
    session = machine.wait_for_state(session["id"], "ended")
    assert (session["result"], session["step"]) == ("failed", "app")
    assert "no desktop answered at port 60" in session["error"]
    assert "in 5 s" in session["error"]
    wait_clean(machine)


@pytest.mark.parametrize(
    ("victim", "step", "words", "script"),
    [
        ("websockify", "websockify", "nothing listens at port 60", DESKTOP),
        ("Xvnc", "xvnc", "the desktop's X server ended", DESKTOP),
        # Its parent never waits for it, as a program that a script has executed.
        ("Xvnc", "xvnc", "the desktop's X server ended", DESKTOP.replace("sleep", "exec sleep")),
    ],
    ids=["websockify", "Xvnc", "Xvnc that stays a zombie"],
)
def test_it_ends_when_its_desktop_dies(
    machine: Machine, victim: str, step: str, words: str, script: str
) -> None:
    configure(machine, script)
    session = machine.start("old")
    pids = [row.split()[0] for row in machine.processes() if victim in row.split("--")[0]]
    machine.run(["kill", "-TERM", *pids], root=True)
    # It is shown within 10 s; the wait is for a busy machine.
    session = machine.wait_for_state(session["id"], "ended")
    assert (session["result"], session["step"]) == ("failed", step)
    assert words in session["error"]
    wait_clean(machine)


@pytest.mark.parametrize(
    "script",
    [
        f"#!/usr/bin/env python3\nimport os\nos.execvp('bash', ['bash', '-c', r'''{DESKTOP}'''])\n",
        DESKTOP.replace("#!/bin/bash", "#! /bin/bash -eu \n[[ $- == *e*u* ]]"),
    ],
    ids=["Python", "an option"],
)
def test_its_first_line_names_what_runs_it(machine: Machine, script: str) -> None:
    """As by hand: slurmd executes the script."""
    configure(machine, script)
    session = machine.start("old")
    machine.vizdash("stop", session["id"])
    wait_clean(machine)


def test_a_server_that_is_started_again_is_no_end(machine: Machine) -> None:
    configure(
        machine, DESKTOP.replace("sleep 98765", "wait %1; Xvnc :1 -rfbport 5901 & sleep 98765")
    )
    session = machine.start("old")
    machine.run("pkill -KILL Xvnc")
    wait_until(lambda: any("Xvnc" in row for row in machine.processes()), "second Xvnc")
    machine.run(["sleep", "10"])  # five checks
    assert [s["state"] for s in machine.sessions()] == ["ready"]
    machine.vizdash("stop", session["id"])
    wait_clean(machine)


def test_a_display_whose_server_was_killed_goes_with_the_session(machine: Machine) -> None:
    """As on a busy node: it gets no time to remove its lock and its socket."""
    configure(machine, DESKTOP)
    session = machine.start("old")
    machine.run("pkill -STOP Xvnc")
    machine.vizdash("stop", session["id"])
    machine.wait_for_state(session["id"], "ended")
    wait_clean(machine)


def test_what_a_killed_script_left_goes_with_its_supervisor(machine: Machine) -> None:
    configure(machine, DESKTOP)
    session = machine.start("old")
    (owner,) = machine.outside("/tmp").glob("vizdash-*/owner")
    machine.run("pkill -STOP Xvnc")
    machine.run(["kill", "-KILL", owner.read_text().split()[0]])
    machine.wait_for_state(session["id"], "ended")
    wait_clean(machine)
