"""What another user on the node can reach of a session: nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import Host, Lab
from tests.lab.browser import desktop
from tests.lab.test_session import BLUE
from tests.lab.verbs import (
    list_sessions,
    open_session,
    run_vizdash,
    start_session,
    wait_for_state,
    wait_nothing_left,
)

NODE = "viz-node002"


def connection(lab: Lab, session: dict[str, str], user: str = "alice") -> dict[str, str]:
    """What the job left for its owner, read as root."""
    path = f"/home/{user}/.local/state/vizdash/sessions/{session['id']}/connection"
    text = lab.login.run(["cat", path]).stdout
    return dict(line.partition("=")[::2] for line in text.splitlines())


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("app", ["desktop", "plain"])
def test_another_user_has_no_access(lab: Lab, app: str) -> None:
    session = start_session(lab, app, "--node", NODE)
    node, known = lab.hosts[NODE], connection(lab, session)
    display = known["DISPLAY"]
    asked = f"DISPLAY={display} timeout 120 xdpyinfo"
    assert "Authorization required" in node.run(asked, user="bob", check=False).stderr
    # The owner's own way in is a cookie, in a folder that only they can enter.
    folder = known["RUNTIME_DIR"]
    cookie = f"XAUTHORITY={folder}/xauth {asked}"
    assert node.run(cookie, user="alice").stdout.startswith(f"name of display:    {display}")
    assert node.run(cookie, user="bob", check=False).returncode != 0
    for key in ("WEB_SOCKET", "VNC_SOCKET"):
        assert node.run(["test", "-S", known[key]], user="alice").returncode == 0
        ask = f"curl -s --max-time 5 --unix-socket {known[key]} http://x/vnc.html"
        assert node.run(ask, user="bob", check=False).returncode == 7
        # Even with the folder open, each socket is the owner's alone.
        assert node.run(["stat", "-c", "%a %U", known[key]]).stdout in {
            "600 alice\n",
            "700 alice\n",
        }
    # Nothing of it listens on the network, nor on loopback.
    assert node.run("ss -tlnHp | grep -vE 'sshd|slurmd'; true").stdout == ""


def readable_by_others(host: Host) -> str:
    """Everything that a user could read on a host, as one text (files of less than 1 MiB)."""
    script = (
        "find /tmp /var/tmp /dev/shm /run /home /var/spool /var/log -xdev -type f -size -1024k "
        "-readable -exec cat {} + 2>/dev/null; "
        "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; true"
    )
    return host.run(script, user="bob").stdout


def password_places(lab: Lab, session: dict[str, str]) -> dict[str, str]:
    """What is to be read where a password could be, by the place's name, as root or the owner."""
    node, job = lab.hosts[NODE], session["job_id"]
    processes = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ; true"
    done = {
        "processes on the node": node.run(processes),
        "processes on login": lab.login.run(processes),
        "squeue": lab.login.run(["squeue", "--json"]),
        "scontrol": lab.login.run(["scontrol", "show", "job", job, "-dd"]),
        "the script": lab.login.run(["scontrol", "write", "batch_script", job, "-"]),
        "the log": run_vizdash(lab, "logs", session["id"]),
        "the listing": run_vizdash(lab, "sessions", "--json"),
        "the controller's log": lab.login.run("cat /var/log/slurmctld.log"),
        "the node's log": node.run("cat /var/log/slurmd.log"),
    }
    return {name: answer.stdout for name, answer in done.items()}


def test_the_password_is_nowhere(lab: Lab) -> None:
    session = start_session(lab, "desktop", "--node", NODE)
    known = connection(lab, session)
    passwords = [known["PASSWORD"], known["VIEW_PASSWORD"]]
    assert all(len(password) == 8 for password in passwords)
    assert passwords[0] != passwords[1]
    node = lab.hosts[NODE]
    with open_session(lab, session["id"]) as url:
        assert url.partition("#")[2].endswith(f"password={passwords[0]}")
        with desktop(url, lab.login) as seen:
            seen.wait_share(BLUE)
        found = password_places(lab, session)
        found["what bob can read on the node"] = readable_by_others(node)
        found["what bob can read on login"] = readable_by_others(lab.login)
    for name, text in found.items():
        assert session["id"] in text or "bob" in name or "log" in name, f"{name} was not looked at"
        for password in passwords:
            assert password not in text, f"the password is in {name}"
            assert base64.b64encode(password.encode()).decode() not in text
    folder = f"/home/alice/.local/state/vizdash/sessions/{session['id']}"
    modes = lab.login.run(f"stat -c '%a' {folder} {folder}/*").stdout.split()
    assert modes[0] == "700"
    assert set(modes[1:]) == {"600"}


_SQUAT = """
import os, socket, sys, time
os.makedirs("/tmp/.X11-unix", mode=0o700, exist_ok=True)
open("/tmp/.X11-unix/X5", "w").close()
held = []
for n in range(4):
    s = socket.socket(socket.AF_UNIX)
    s.bind("\\0/tmp/.X11-unix/X%d" % n)
    s.listen(5)
    held.append(s)
for n in range(30):
    with open("/tmp/.X%d-lock" % n, "w") as f:
        f.write("%10d\\n" % os.getpid())
for name in ("vizdash", "vizdash-1", ".vizdash", "pulse-alice", "dbus-session"):
    os.makedirs("/tmp/" + name, mode=0o700, exist_ok=True)
print("squatted", flush=True)
sys.stdin.read()
"""


@contextmanager
def squatted(node: Host) -> Iterator[None]:
    """bob has taken the names in /tmp and the abstract sockets that X servers use."""
    squatter = node.popen(["python3", "-c", _SQUAT], user="bob")
    assert squatter.stdout is not None
    try:
        assert squatter.stdout.readline() == "squatted\n"
        yield
    finally:
        squatter.communicate(input="", timeout=60)
        node.run("find /tmp -mindepth 1 -user bob -delete")


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(("app", "colour"), [("desktop", BLUE), ("plain", (0x20, 0x60, 0x40))])
def test_a_squatted_tmp_blocks_no_session(lab: Lab, app: str, colour: tuple[int, int, int]) -> None:
    node = lab.hosts[NODE]
    with squatted(node):
        first = start_session(lab, app, "--node", NODE)
        second = start_session(lab, app, "--node", NODE)
        for session in (first, second):
            with open_session(lab, session["id"]) as url, desktop(url, lab.login) as seen:
                seen.wait_share(colour)
        run_vizdash(lab, "stop", first["id"], second["id"])
        wait_for_state(lab, second["id"], "ended")
    wait_nothing_left(node)


def test_no_user_ends_opens_or_reads_anothers_session(lab: Lab) -> None:
    session = start_session(lab, "desktop")
    theirs = [s for s in list_sessions(lab, "bob", "--all") if s["state"] != "ended"]
    assert [s["id"] for s in theirs] == [session["id"]]
    assert not theirs[0]["mine"]
    for verb in ("stop", "open", "logs"):
        done = run_vizdash(lab, verb, session["id"], user="bob", check=False)
        assert done.returncode == 2  # bob knows of no such session
        assert len(done.stderr.splitlines()) == 1
    assert wait_for_state(lab, session["id"], "ready")
    # Not by Slurm's own commands either.
    assert lab.login.run(["scancel", session["job_id"]], user="bob", check=False).returncode != 0
    info = json.loads(run_vizdash(lab, "sessions", "--json").stdout)
    assert "password" not in json.dumps(info).lower()
