"""Jobs of the legacy script that users submit themselves with sbatch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import Host, Lab
from tests.lab.browser import desktop
from tests.lab.desktops import HOST, open_from_laptop, wait_for_page
from tests.lab.outside import OutsideNetwork
from tests.lab.terminal import terminal
from tests.lab.test_legacy import PURPLE
from tests.lab.verbs import (
    find_leftovers,
    list_sessions,
    open_session,
    run_vizdash,
    start_session,
    wait_for_state,
    wait_nothing_left,
)

pytestmark = pytest.mark.usefixtures("site")
NODE = "viz-node002"


def submit(lab: Lab, session_id: str, *words: str, user: str = "alice") -> str:
    """Run ``sbatch`` as a user types it; the job's id."""
    lab.login.run("cp /etc/vizdash/jobs/gedit_vnc_job.sh ~", user=user)
    export = f"SESSION_ID={session_id},VNC_PORT=6085"
    argv = ["sbatch", "--parsable", "-w", NODE, *words, "--export", export, "gedit_vnc_job.sh"]
    return lab.login.run(argv, user=user).stdout.strip()


def row(lab: Lab, job_id: str, user: str = "alice", *words: str) -> dict[str, Any]:
    """The one row of a job."""
    (found,) = [s for s in list_sessions(lab, user, *words) if s["job_id"] == job_id]
    return found


@contextlib.contextmanager
def drained(lab: Lab) -> Iterator[None]:
    lab.login.run(["scontrol", "update", f"nodename={NODE}", "state=drain", "reason=wait"])
    try:
        yield
    finally:
        lab.login.run(["scontrol", "update", f"nodename={NODE}", "state=resume"])


def wait_gone(node: Host) -> None:
    """Nothing of alice's is left there, but for her job's own log and her image's own folder."""
    deadline = time.monotonic() + 120
    own = ("/tmp/gedit_vnc_", "/tmp/tmp.")
    while True:
        left = [x for x in find_leftovers(node, "alice").splitlines() if not x.startswith(own)]
        if not left:
            node.run("rm -rf /tmp/gedit_vnc_*.out /tmp/tmp.*")
            return
        assert time.monotonic() < deadline, left
        time.sleep(0.3)


@pytest.mark.parametrize(
    "words",
    [(), ("--job-name=mine",), ("--comment=for the review",)],
    ids=["by its job's name", "by its script's name", "with a comment"],
)
def test_it_is_shown_opens_and_stops(lab: Lab, words: tuple[str, ...]) -> None:
    with drained(lab):
        job = submit(lab, "test-001", *words)
        pending = row(lab, job)
        assert (pending["id"], pending["state"]) == (job, "pending")
        assert (pending["app"], pending["kind"]) == ("old-gedit", "legacy")
    ready = wait_for_state(lab, "test-001", "ready")
    assert (ready["job_id"], ready["app"], ready["node"]) == (job, "old-gedit", NODE)
    # Other users see only its name.
    theirs = [s for s in list_sessions(lab, "bob", "--all") if s["job_id"] == job]
    assert [(s["id"], s["app"], s["state"]) for s in theirs] == (
        [(job, "old-gedit", "unknown")] if "--job-name=mine" not in words else []
    )
    with open_session(lab, "test-001") as url:
        assert url.startswith(f"http://{lab.hosts[NODE].address}:6085/vnc.html#")
        with desktop(url, lab.login) as seen:
            seen.wait_share(PURPLE)
    out = lab.hosts[NODE].run(["cat", f"/tmp/gedit_vnc_{job}.out"]).stdout
    assert out.splitlines()[:1] == run_vizdash(lab, "logs", "test-001").stdout.splitlines()[:1]
    run_vizdash(lab, "stop", "test-001")
    deadline = time.monotonic() + 120
    while (ended := row(lab, job))["state"] != "ended":
        assert time.monotonic() < deadline, ended
        time.sleep(0.3)
    assert (ended["id"], ended["result"]) == ("test-001", "cancelled")
    wait_gone(lab.hosts[NODE])


def test_an_arrays_tasks_are_sessions_of_their_own(lab: Lab) -> None:
    job = submit(lab, "test-001", "--array=1-4%1")
    ready = wait_for_state(lab, "test-001", "ready")
    assert (ready["job_id"], ready["app"]) == (f"{job}_1", "old-gedit")
    rest = row(lab, f"{job}_[2-4%1]")
    assert (rest["id"], rest["state"], rest["kind"]) == (f"{job}_[2-4%1]", "pending", "legacy")
    several = run_vizdash(lab, "stop", job, check=False)
    assert (several.returncode, "could be several" in several.stderr) == (2, True), several.stderr
    with open_session(lab, f"{job}_1") as url, desktop(url, lab.login) as seen:
        seen.wait_share(PURPLE)
    assert run_vizdash(lab, "logs", "test-001").stdout
    run_vizdash(lab, "stop", rest["id"])
    assert [s["job_id"] for s in list_sessions(lab) if s["state"] != "ended"] == [f"{job}_1"]
    assert wait_for_state(lab, "test-001", "ready")["job_id"] == f"{job}_1"
    run_vizdash(lab, "stop", "test-001")
    deadline = time.monotonic() + 120
    while (ended := row(lab, f"{job}_1"))["state"] != "ended":
        assert time.monotonic() < deadline, ended
        time.sleep(0.3)
    assert (ended["id"], ended["result"]) == ("test-001", "cancelled")
    wait_gone(lab.hosts[NODE])


def test_the_dashboard_shows_it(lab: Lab) -> None:
    job = submit(lab, "test-001")
    with terminal(lab.login, ["vizdash"], size=(160, 48)) as screen:
        screen.wait("test-001", seconds=180)
        screen.keys("R")
        screen.until(lambda seen: "ready" in seen and "old-gedit" in seen, "no ready row", 180)
        screen.keys("2", "v")
        screen.wait(f"/tmp/gedit_vnc_{job}", "ready", seconds=180)
    run_vizdash(lab, "stop", "test-001")
    wait_gone(lab.hosts[NODE])


def test_from_a_laptop_it_opens_by_a_tunnel(lab: Lab, outside: OutsideNetwork) -> None:
    place = ".config/vizdash/config.yaml"
    outside.write(
        place,
        "apps:\n  old-gedit: {kind: legacy, script: gedit_vnc_job.sh, vnc_password: password}\n",
    )
    try:
        # The laptop has no such script: the job is known by its script's name.
        submit(lab, "test-001")
        deadline = time.monotonic() + 120
        while "test-001" not in (found := outside.vizdash(*HOST, "sessions").stdout):
            assert time.monotonic() < deadline, found
            time.sleep(0.5)
        wait_for_state(lab, "test-001", "ready")
        with open_from_laptop(outside, "test-001") as url, desktop(url, outside.laptop) as seen:
            assert url.startswith("http://127.0.0.1:")
            seen.wait_share(PURPLE)
        outside.vizdash(*HOST, "stop", "test-001")
    finally:
        outside.run("rm", place)
    wait_gone(lab.hosts[NODE])


@pytest.mark.parametrize("words", [(), ("--array=7",)], ids=["a job", "an array's task"])
def test_where_nodes_take_no_ssh(lab: Lab, words: tuple[str, ...]) -> None:
    node = lab.hosts[NODE]
    node.run("kill $(cat /run/sshd.pid)")
    try:
        submit(lab, "test-001", *words)
        wait_for_state(lab, "test-001", "ready")
        assert "/vnc.html" not in run_vizdash(lab, "sessions").stdout
        run_vizdash(lab, "stop", "test-001")
        wait_gone(node)
    finally:
        node.run("/usr/sbin/sshd")


@pytest.mark.parametrize(
    ("shell", "file", "noise"),
    [
        ("/bin/tcsh", ".cshrc", "echo Csh-noise\necho -n no newline\n"),
        ("/usr/bin/fish", ".config/fish/config.fish", "echo Fish-noise\n"),
    ],
    ids=["tcsh", "fish"],
)
def test_with_another_login_shell(lab: Lab, shell: str, file: str, noise: str) -> None:
    """Handed in by vizdash, and by hand."""
    node = lab.hosts[NODE]
    with login_shell(lab, shell):
        lab.login.run(["mkdir", "-p", ".config/fish"], user="alice")
        lab.login.run(["tee", file], user="alice", input=noise)
        try:
            session = start_session(lab, "old-gedit", "--node", NODE)
            with open_session(lab, session["id"]) as url:
                wait_for_page(lab.login, url)
            run_vizdash(lab, "stop", session["id"])
            assert wait_for_state(lab, session["id"], "ended")["result"] == "cancelled"
            wait_nothing_left(node)
            submit(lab, "test-001")
            wait_for_state(lab, "test-001", "ready")
            run_vizdash(lab, "stop", "test-001")
            wait_gone(node)
        finally:
            lab.login.run(["rm", "-rf", ".cshrc", ".config/fish"], user="alice")


@contextlib.contextmanager
def login_shell(lab: Lab, shell: str) -> Iterator[None]:
    """alice's login shell on every host."""
    hosts = lab.hosts.values()
    before = {host.name: host.run("getent passwd alice").stdout.strip() for host in hosts}
    for host in hosts:
        host.run(["usermod", "-s", shell, "alice"])
    try:
        yield
    finally:
        for host in hosts:
            host.run(["usermod", "-s", before[host.name].rpartition(":")[2], "alice"])


def test_files_of_others_are_not_believed(lab: Lab) -> None:
    node = lab.hosts[NODE]
    with drained(lab):
        job = submit(lab, "test-003")
        for name in ("test-002", "test-003"):
            info = f"JOB_ID={job}\\nSESSION_ID={name}\\nVNC_PORT=6666\\nSTATUS=running\\n"
            file = f"/tmp/app_session_{name}.info"
            node.run(f"printf '{info}' >{file}; chmod 666 {file}", user="bob")
        # A link of bob's to a file of alice's own.
        node.run(
            f"printf 'JOB_ID={job}\\nSESSION_ID=test-004\\nVNC_PORT=22\\n' >/tmp/a", user="alice"
        )
        node.run("ln -s /tmp/a /tmp/app_session_test-004.info", user="bob")
        node.run("mkfifo -m 666 /tmp/app_session_test-005.info", user="bob")
    try:
        deadline = time.monotonic() + 120
        while (
            "running" not in lab.login.run(["squeue", "-h", "-j", job, "-o", "%T"]).stdout.lower()
        ):
            assert time.monotonic() < deadline
            time.sleep(0.3)
        for _ in range(3):
            found = row(lab, job)
            assert (found["id"], found["state"]) == (job, "starting")
        for name in ("test-002", "test-003", "test-004", "test-005"):
            assert run_vizdash(lab, "open", name, "--print", check=False).returncode == 2
        run_vizdash(lab, "stop", job)
    finally:
        node.run("rm -f /tmp/app_session_* /tmp/a")
    wait_gone(node)
