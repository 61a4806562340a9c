"""A session ends when its work ends, and removes what is its own and nothing else."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab import Host, Lab
from tests.lab.test_failures import fails, hidden
from tests.lab.verbs import (
    list_sessions,
    run_vizdash,
    start_session,
    wait_for_state,
    wait_nothing_left,
)
from tests.waiting import wait_until

NODE = "viz-node002"
#: A host desktop whose terminal runs what a test writes, and then waits.
CONFIG = """\
apps:
  terminal:
    runtime: host
    host_command: "openbox & xterm -e 'bash ~/work.sh >~/work.out 2>&1; sleep 1000' & wait"
    resources: {cores: 1, memory: 1G, time: 1h}
  missing:
    image: /opt/apptainers/apps/desktop/desktop.sif
    command: "(sleep 1; echo Gtk-WARNING: no theme >&2) & nosuch-command"
  launcher:
    image: /opt/apptainers/apps/desktop/desktop.sif
    ends_with: windows
    command: >-
      openbox --startup "xterm -e 'until [ -e ~/close ]; do sleep 0.2; done'" & exit 0
"""
#: Takes up to a second to save its work, without a program of the image: where Slurm's TERM is for
#: all processes of a job (proctrack/linuxproc), the file system of the image ends with it.
_SAVES = (
    "trap 'end=$((SECONDS + 1)); while [ $SECONDS -lt $end ]; do :; done; echo saved >~/saved; "
    "exit 0' TERM; openbox & : >~/began; while :; do wait; done"
)
SAVES = f"""\
  saves-in-image:
    image: /opt/apptainers/apps/desktop/desktop.sif
    command: "{_SAVES}"
  saves-on-host:
    runtime: host
    host_command: "{_SAVES}"
    resources: {{cores: 1, memory: 1G, time: 1h}}
"""


@pytest.fixture
def apps(lab: Lab) -> Iterator[Lab]:
    """alice's own apps."""
    lab.login.run("mkdir -p ~/.config/vizdash", user="alice")
    lab.login.run("cat >~/.config/vizdash/config.yaml", user="alice", input=CONFIG + SAVES)
    yield lab
    clean = "rm -rf .config/vizdash work.sh work.out close *.out *.env keep disk began saved"
    lab.login.run(clean, user="alice")


@pytest.mark.parametrize(
    ("app", "pattern", "step"),
    [
        ("desktop", "Xvnc", "xvnc"),
        ("desktop", "websockify", "websockify"),
        ("desktop", "openbox", "app"),
        ("terminal", "Xvnc", "xvnc"),
    ],
)
def test_what_dies_in_an_image_ends_it_too(apps: Lab, app: str, pattern: str, step: str) -> None:
    lab = apps
    lab.login.run("echo true >~/work.sh", user="alice")
    session = start_session(lab, app, "--node", NODE)
    kill = ["pkill", "-KILL", "-u", "alice", "-f", f"^([^ ]*python3 )?[^ ]*{pattern} ?"]
    # A session is ready before its app has come to its window manager.
    wait_until(lambda: lab.hosts[NODE].run(kill, check=False).returncode == 0, pattern)
    found = wait_for_state(lab, session["id"], "ended")
    assert (found["result"], found["step"]) == ("failed", step), found
    assert "code 137 (signal KILL)" in found["error"]
    wait_nothing_left(lab.hosts[NODE])
    assert lab.login.run("squeue -h", user="alice").stdout == ""


def test_an_app_that_is_quit_finishes_and_frees_the_job(apps: Lab) -> None:
    session = start_session(apps, "desktop", "--node", NODE)
    node = apps.hosts[NODE]
    # SIGTERM (bit 15 of SigCgt, proc_pid_status(5)) is caught once openbox has started.
    caught = (
        "for pid in $(pgrep -u alice -x openbox); do"
        " grep -E '^SigCgt:.*[4-7c-f]...$' /proc/$pid/status; done; true"
    )
    wait_until(lambda: node.run(caught).stdout != "", "openbox")
    node.run(["pkill", "-TERM", "-u", "alice", "openbox"])
    found = wait_for_state(apps, session["id"], "ended")
    assert (found["result"], found["error"]) == ("finished", "")
    wait_nothing_left(apps.hosts[NODE])


def test_a_missing_command_is_named(apps: Lab) -> None:
    session = fails(apps, "missing")
    assert "with code 127: " in session["error"]
    assert "nosuch-command: command not found" in session["error"]


@pytest.mark.parametrize("app", ["saves-in-image", "saves-on-host"])
def test_a_stopped_app_has_time_to_save_its_work(apps: Lab, app: str) -> None:
    session = start_session(apps, app, "--node", NODE)
    wait_until((apps.login.root / "home/alice/began").exists, "trap")
    run_vizdash(apps, "stop", session["id"])
    assert wait_for_state(apps, session["id"], "ended")["result"] == "cancelled"
    wait_nothing_left(apps.hosts[NODE])
    assert apps.login.run("cat saved", user="alice").stdout == "saved\n"


def test_an_image_s_session_whose_folder_is_removed_fails(apps: Lab) -> None:
    session = start_session(apps, "desktop", "--node", NODE)
    place, _ = owner_of(apps, session)
    apps.hosts[NODE].run(["rm", "-rf", place])
    found = wait_for_state(apps, session["id"], "ended")
    assert (found["result"], found["step"]) == ("failed", "runtime"), found
    assert found["error"] == f"its folder {place} on {NODE} was removed"
    wait_nothing_left(apps.hosts[NODE])


@contextmanager
def remounted(node: Host, options: str, then: str) -> Iterator[None]:
    """A node's /tmp with other mount options (mount(8)), and with those of before at the end."""
    node.run(["mount", "-o", f"remount,{options}", "/tmp"])
    try:
        yield
    finally:
        node.run(["mount", "-o", f"remount,{then}", "/tmp"])


def test_an_image_that_is_unpacked_goes_with_its_session(apps: Lab) -> None:
    """Where a node has neither setuid nor squashfuse. It is some gigabytes."""
    node = apps.hosts[NODE]
    with (
        remounted(node, "size=6G", "size=1G"),
        hidden(node, "/usr/bin/squashfuse"),
        hidden(node, "/usr/bin/squashfuse_ll"),
    ):
        session = start_session(apps, "desktop", "--node", NODE)
        place, _ = owner_of(apps, session)
        unpacked = node.run(["find", "/tmp", "-maxdepth", "3", "-name", "rootfs-*"]).stdout
        assert unpacked.startswith(f"{place}/unpacked/"), unpacked
        run_vizdash(apps, "stop", session["id"])
        wait_for_state(apps, session["id"], "ended")
        wait_nothing_left(node)


def test_a_launcher_ends_with_its_window(apps: Lab) -> None:
    session = start_session(apps, "launcher", "--node", NODE)
    # On a loaded machine, the window may open long after the session is ready.
    mark = f"find /dev/shm /tmp -path '*/vizdash-{session['id']}.*/window'"
    wait_until(
        lambda: apps.hosts[NODE].run(mark).stdout != "",
        "window",
        seen=lambda: (
            run_vizdash(apps, "logs", session["id"]).stdout
            + apps.hosts[NODE].run("ps -fu alice; cat /tmp/vizdash-*/*.log; true").stdout
        ),
    )
    time.sleep(8)
    assert list_sessions(apps)[0]["state"] == "ready"
    apps.login.run("touch close", user="alice")
    assert wait_for_state(apps, session["id"], "ended")["result"] == "finished"
    wait_nothing_left(apps.hosts[NODE])


WORK = f"""\
command sbatch --mem 100 -o /dev/null -w {NODE} --wrap 'env >~/job.env; sleep 500'
/usr/bin/sbatch --mem 100 -o /dev/null -w {NODE} --wrap 'sleep 500'
bash -lc "sbatch --mem 100 -o /dev/null -w {NODE} --wrap 'env >~/login.env; sleep 500'"
srun --mem 100 -n 2 env >~/srun.env
salloc --mem 100 -n 1 env >~/salloc.env 2>~/salloc.out
/usr/bin/sbatch --mem 100 -o /dev/null -w {NODE} --wrap 'env >~/short.env'
/usr/bin/srun --mem 100 -w viz-node003 bash -c 'sbatch --version' >~/far.out 2>&1
echo done
"""


def test_jobs_from_the_desktop_are_not_its_own(apps: Lab) -> None:
    lab = apps
    lab.login.run("cat >work.sh", user="alice", input=WORK)
    session = start_session(lab, "terminal", "--node", NODE)
    deadline = time.monotonic() + 300
    while "done" not in (output := lab.login.run("cat work.out; true", user="alice").stdout):
        assert time.monotonic() < deadline, output
        time.sleep(0.3)
    jobs = [line.split()[-1] for line in output.splitlines() if "Submitted batch job" in line]
    assert len(jobs) == 4, output
    short = jobs.pop()

    def running() -> list[str]:
        return lab.login.run("squeue -h -t R -o %i", user="alice").stdout.split()

    wait_until(lambda: set(jobs) <= set(running()), "running jobs", seen=lambda: str(running()))

    def read(name: str) -> str:
        return lab.login.run(f"cat {name}.env; true", user="alice").stdout

    # A job runs before its first command does.
    command = f"sbatch --mem 100 -o /dev/null -w {NODE} --wrap 'env >~/ssh.env'"
    run_vizdash(lab, "ssh", session["id"], command)
    names = ("job", "login", "srun", "salloc", "ssh")
    wait_until(lambda: all("HOME=" in read(name) for name in names), "their environments")
    job, login, srun, salloc, ssh = map(read, names)
    for values in (job, login, ssh):
        for name in ("VIZDASH", "XDG_RUNTIME_DIR", "DISPLAY", "XAUTHORITY", "DBUS_SESSION"):
            assert f"\n{name}" not in f"\n{values}", values
        elsewhere = [line for line in values.splitlines() if not line.startswith("SSH_")]
        assert session["id"] not in "\n".join(elsewhere)
        assert "\nTMPDIR=/tmp\n" in values or "\nTMPDIR=" not in values
    for name in ("TMPDIR", "XDG_RUNTIME_DIR"):
        assert f"\n{name}=/tmp/vizdash-" not in f"\n{srun}\n{salloc}", (srun, salloc)
    assert "DBUS_SESSION_BUS_ADDRESS" not in salloc
    # srun asked for two tasks outside of the session's job, with the environment that it had.
    ids = [line for line in srun.splitlines() if line.startswith("SLURM_JOB_ID=")]
    assert len(ids) == 2 and f"SLURM_JOB_ID={session['job_id']}" not in ids, srun
    assert "HOME=/home/alice" in srun

    # Called by its path, Slurm hands on the session's mark. It means nothing in another job.
    while short in lab.login.run("squeue -h -o %i", user="alice").stdout.split():
        assert time.monotonic() < deadline
        time.sleep(0.3)
    mark = f"VIZDASH_SESSION_ID={session['id']}"
    assert mark in lab.login.run(["cat", "short.env"], user="alice").stdout
    far = lab.login.run(["cat", "far.out"], user="alice").stdout
    assert "\nslurm" in f"\n{far}", far
    shown = [(s["id"], s["state"]) for s in list_sessions(lab) if s["state"] != "ended"]
    assert shown == [(session["id"], "ready")], "a job from the desktop is no part of it"

    run_vizdash(lab, "stop", session["id"])
    wait_for_state(lab, session["id"], "ended")
    time.sleep(3)
    assert set(jobs) <= set(running()), "the session took other jobs along"
    left = lab.hosts[NODE].processes("alice")
    assert left.count("sleep 500") >= 3, left
    assert "Xvnc" not in left and "xterm" not in left, left


def owner_of(lab: Lab, session: dict[str, Any]) -> tuple[str, str]:
    """A session's runtime folder on its node, and the PID of its job script."""
    node = lab.hosts[session["node"]]
    place = node.run(f"echo /tmp/vizdash-{session['id']}.*").stdout.strip()
    return place, node.run(["cat", f"{place}/owner"]).stdout.split()[0]


def test_what_a_killed_job_left_goes_with_the_next_start(apps: Lab) -> None:
    """Also where no squeue answers on the node; what lives is left alone."""
    lab, node = apps, apps.hosts[NODE]
    lab.login.run("echo 'setsid -f sleep 98763' >work.sh", user="alice")
    dead, lives = (
        start_session(lab, "terminal", "--node", NODE),
        start_session(lab, "desktop", "--node", NODE),
    )
    place, script = owner_of(lab, dead)
    other, _ = owner_of(lab, lives)
    # As an OOM killer or a crash of the node would: no trap, no word.
    node.run(f"kill -KILL {script}; sleep 1; true")
    wait_for_state(lab, dead["id"], "ended")
    node.run(f"test -e {place}/passwords")
    with hidden(node, "/usr/bin/squeue"):
        third = start_session(lab, "desktop", "--node", NODE)
    assert node.run(f"ls -d {place} 2>&1; true").stdout.endswith("No such file or directory\n")
    assert "98763" not in node.processes("alice")
    node.run(f"test -e {other}/passwords")
    states = {s["id"]: s["state"] for s in list_sessions(lab)}
    assert (states[lives["id"]], states[third["id"]]) == ("ready", "ready")


def test_what_is_mounted_in_its_folder_is_not_emptied(apps: Lab) -> None:
    """A FUSE mount of the user's is unmounted; one that can't be is left, with what is in it."""
    lab, node = apps, apps.hosts[NODE]
    lab.login.run("echo true >work.sh; mkdir -p keep; echo mine >keep/file", user="alice")
    lab.login.run("truncate -s 4M disk", user="alice")
    subprocess.run(["mkfs.ext4", "-qF", lab.login.root / "home/alice/disk"], check=True)
    session = start_session(lab, "terminal", "--node", NODE)
    place, _ = owner_of(lab, session)
    node.run(f"mkdir '{place}/run/g v' {place}/work/bound", user="alice")
    # By another login of hers, so that it doesn't end with the session.
    node.run(f"fuse2fs -o fakeroot disk '{place}/run/g v'", user="alice")
    node.run(f"echo survives >'{place}/run/g v/file'", user="alice")
    node.run(f"mount --bind /home/alice/keep {place}/work/bound")
    run_vizdash(lab, "stop", session["id"])
    wait_for_state(lab, session["id"], "ended")
    log = run_vizdash(lab, "logs", session["id"]).stdout
    assert node.run(f"find {place} -mindepth 1 -maxdepth 1").stdout == f"{place}/work\n", log
    assert f"not removed: {place}/work is a mount point" in log
    assert lab.login.run("cat keep/file", user="alice").stdout == "mine\n"
    assert "fuse2fs" not in node.run("cat /proc/mounts").stdout
    node.run(f"umount {place}/work/bound")
    node.run("mkdir disk.mount && fuse2fs -o ro,fakeroot disk disk.mount", user="alice")
    try:
        assert node.run("cat disk.mount/file", user="alice").stdout == "survives\n"
    finally:
        node.run("fusermount3 -u disk.mount; rmdir disk.mount", user="alice")
    # What was left goes with the next start, now that nothing is mounted there.
    start_session(lab, "desktop", "--node", NODE)
    assert node.run(f"ls -d {place} 2>&1; true").stdout.endswith("No such file or directory\n")
