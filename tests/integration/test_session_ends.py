"""A session ends when its work ends: the app, its windows, or a part that it needs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.machine import Machine
from tests.integration.test_session import configure
from tests.waiting import wait_until

#: Seconds that are promised; the rest of a wait is for a busy machine.
SOON = 180
APPS = """\
apps:
  quits:
    runtime: host
    host_command: "xterm & read -r code <~/code; echo the licence has expired >&2; exit $code"
    resources: {cores: 1, memory: 256M, time: 1h}
  missing:
    runtime: host
    host_command: "(sleep 1; echo Gtk-WARNING: no theme >&2) & nosuch-command --file"
    resources: {cores: 1, memory: 256M, time: 1h}
  unlinked:
    runtime: host
    host_command: "(sleep 1; echo Gtk-WARNING: no theme >&2) & exec nosuch-command"
    resources: {cores: 1, memory: 256M, time: 1h}
  through-env:
    runtime: host
    host_command: "(sleep 1; echo Gtk-WARNING: no theme >&2) & exec env nosuch-command"
    resources: {cores: 1, memory: 256M, time: 1h}
  returns:
    runtime: host
    host_command: "openbox & exit 0"
    resources: {cores: 1, memory: 256M, time: 1h}
  launcher:
    runtime: host
    ends_with: windows
    host_command: >-
      openbox & (sleep 1; xterm -iconic -e 'until [ -e ~/one ]; do sleep 0.2; done') & exit 0
    resources: {cores: 1, memory: 256M, time: 1h}
  bare-launcher:
    runtime: host
    ends_with: windows
    host_command: "xterm -e 'until [ -e ~/one ]; do sleep 0.2; done' & exit 0"
    resources: {cores: 1, memory: 256M, time: 1h}
  missed:
    runtime: host
    ends_with: windows
    host_command: >-
      xterm -e 'until [ -e ~/one ]; do sleep 0.2; done' &
      root=$(xwininfo -root | sed -nE 's/.* Window id: (0x[0-9a-f]+) .*/\\1/p');
      xprop -root -f _NET_SUPPORTING_WM_CHECK 32x -set _NET_SUPPORTING_WM_CHECK $root
    resources: {cores: 1, memory: 256M, time: 1h}
  starter:
    runtime: host
    host_command: >-
      openbox & xterm -e 'read word <~/word; vizdash start desktop --cpus 1 --memory 256M --wait
      >~/second; read word <~/word' & setsid -f env -i sleep 98765; wait
    resources: {cores: 1, memory: 256M, time: 1h}
  broken-launcher:
    runtime: host
    ends_with: windows
    host_command: "openbox & echo no such case >&2; exit 2"
    resources: {cores: 1, memory: 256M, time: 1h}
  saves:
    runtime: host
    host_command: >-
      trap 'sleep 0.5; echo saving; xprop -root >/dev/null && echo saved >~/saved; exit 0' TERM;
      openbox & : >~/began; while :; do sleep 1 & wait $!; done
    resources: {cores: 1, memory: 256M, time: 1h}
"""


@pytest.fixture
def apps(machine: Machine) -> Machine:
    """A machine with those apps."""
    configure(machine, APPS)
    machine.run(["mkfifo", "code", "word"])
    return machine


def ended(machine: Machine, session: dict[str, Any]) -> dict[str, Any]:
    """The session once it has ended, and nothing of it is left."""
    found = machine.wait_for_state(session["id"], "ended", SOON)
    wait_until(
        lambda: not machine.leftovers(), "clean machine", 180, lambda: str(machine.leftovers())
    )
    assert not machine.outside(f"{folder(session)}/connection").exists()
    return found


def folder(session: dict[str, Any]) -> str:
    return f"~/.local/state/vizdash/sessions/{session['id']}"


def kill(machine: Machine, signal: str, pattern: str) -> None:
    """Signal a part of a session, which is ready before its app may have started everything."""
    argv = ["pkill", f"-{signal}", "-u", machine.user, "-f", pattern]
    wait_until(lambda: machine.run(argv, root=True, check=False).returncode == 0, pattern)


@pytest.mark.parametrize("signal", ["TERM", "KILL"])
@pytest.mark.parametrize(
    ("pattern", "step"),
    [("^[^ ]*Xvnc ", "xvnc"), (r"/launcher\.py |/websockify --web ", "websockify")],
)
def test_a_part_that_dies_ends_it(machine: Machine, pattern: str, step: str, signal: str) -> None:
    session = machine.start()
    kill(machine, signal, pattern)
    found = ended(machine, session)
    assert (found["result"], found["step"]) == ("failed", step), found
    name = {"xvnc": "Xvnc"}.get(step, step)
    assert found["error"].startswith(f"{name} ended with code "), found
    if signal == "KILL":
        assert f"{name} ended with code 137 (signal KILL)" in found["error"], found
    log = machine.outside(f"{folder(session)}/job.log").read_text()
    assert f"failed at step {step}: " in log


def test_an_app_that_is_quit_ends_it(machine: Machine) -> None:
    session = machine.start()
    # It ends with 0 once it handles the signal.
    caught = "grep -qE '^SigCgt:.*[4-7c-f]...$' /proc/$(pgrep -x openbox)/status"
    wait_until(lambda: machine.run(caught, root=True, check=False).returncode == 0, "openbox")
    kill(machine, "TERM", "^openbox")
    found = ended(machine, session)
    assert (found["result"], found["error"]) == ("finished", "")


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_of_an_app_counts(apps: Machine, code: int) -> None:
    session = apps.start("quits")
    apps.run(f"echo {code} >code")
    found = ended(apps, session)
    if code == 0:
        assert found["result"] == "finished"
    else:
        assert (found["result"], found["step"]) == ("failed", "app")
        assert found["error"] == "the app ended with code 3: the licence has expired"


def test_a_killed_app_is_named_with_its_signal(machine: Machine) -> None:
    session = machine.start()
    kill(machine, "KILL", "^openbox")
    found = ended(machine, session)
    assert (found["result"], found["step"]) == ("failed", "app")
    assert found["error"].startswith("the app ended with code 137 (signal KILL)")


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        ("missing", "not found"),
        ("unlinked", "not found"),
        ("through-env", "No such file or directory"),
    ],
)
def test_a_command_that_is_not_there_is_named(apps: Machine, app: str, reason: str) -> None:
    done = apps.vizdash("start", app, "--wait", check=False)
    assert done.returncode == 1
    (found,) = apps.sessions()
    assert "with code 127: " in found["error"]
    assert "nosuch-command" in found["error"]
    assert reason in found["error"]


def test_an_app_that_returns_at_once_says_which_key_it_needs(apps: Machine) -> None:
    done = apps.vizdash("start", "returns", "--wait", check=False)
    assert "ends_with: windows" in done.stderr
    assert apps.sessions()[0]["step"] == "app"


@pytest.mark.parametrize("app", ["launcher", "bare-launcher", "missed"])
def test_a_launcher_s_session_ends_with_its_last_window(apps: Machine, app: str) -> None:
    """With a window manager and without, and one that does not know the window (Openbox misses one
    now and then while it starts); a minimised window counts, our own warning does not.
    """
    session = apps.start(app)
    log = apps.outside(f"{folder(session)}/job.log")
    time.sleep(8)
    assert [s["state"] for s in apps.sessions()] == ["ready"]
    # A second window, and a warning that outlives both.
    connection = apps.outside(f"{folder(session)}/connection").read_text()
    values = dict(line.split("=", 1) for line in connection.splitlines())
    runtime = values["RUNTIME_DIR"]
    x = f"DISPLAY={values['DISPLAY']} XAUTHORITY={runtime}/xauth"
    apps.run(
        f"{x} setsid -f xterm -T second -e 'until [ -e ~/two ]; do sleep 0.2; done' >/dev/null 2>&1"
    )
    apps.run(f"echo Message: save your work >{runtime}/warn")
    wait_until(lambda: any("xmessage" in p for p in apps.processes()), "warning")
    windows = f"{x} xdotool search --onlyvisible --name '^second$' || true"
    wait_until(lambda: apps.run(windows).stdout != "", "second window")
    apps.run("touch one")
    time.sleep(8)
    assert [s["state"] for s in apps.sessions()] == ["ready"], log.read_text()
    apps.run("touch two")
    found = ended(apps, session)
    assert (found["result"], found["error"]) == ("finished", "")


def test_a_killed_watcher_of_the_windows_ends_nothing(apps: Machine) -> None:
    session = apps.start("launcher")
    place = apps.outside(runtime_dir(apps, session["id"]))
    wait_until((place / "window").exists, "window")
    for _ in range(2):
        kill(apps, "KILL", "/windows.py ")
        time.sleep(3)
    assert [s["state"] for s in apps.sessions()] == ["ready"]
    apps.run("touch one")
    assert ended(apps, session)["result"] == "finished"


def test_a_session_whose_windows_cannot_be_watched_is_kept(apps: Machine) -> None:
    session = apps.start("launcher")
    for _ in range(4):
        kill(apps, "KILL", "/windows.py ")
        time.sleep(2)
    words = "the app's windows can't be watched"
    wait_until(lambda: words in (apps.sessions()[0]["warning"] or ""), "warning")
    assert apps.sessions()[0]["state"] == "ready"
    apps.vizdash("stop", session["id"])
    assert ended(apps, session)["result"] == "cancelled"


def test_a_launcher_that_fails_is_reported(apps: Machine) -> None:
    apps.vizdash("start", "broken-launcher", "--wait", check=False)
    found = ended(apps, apps.sessions()[0])
    assert (found["result"], found["step"]) == ("failed", "app")
    assert "code 2: no such case" in found["error"]


def test_a_stopped_app_has_time_and_a_display_to_save_its_work(apps: Machine) -> None:
    session = apps.start("saves")
    wait_until(apps.outside("~/began").exists, "trap")
    apps.vizdash("stop", session["id"])
    assert ended(apps, session)["result"] == "cancelled"
    assert apps.run("cat saved").stdout == "saved\n"


def test_a_killed_job_script_is_named(machine: Machine) -> None:
    session = machine.start()
    kill(machine, "KILL", f"^[^ ]*bash .*/{session['id']}/script")
    found = ended(machine, session)
    assert (found["result"], found["error"]) == ("failed", "the job script was killed")


def test_a_session_whose_folder_is_removed_fails(machine: Machine) -> None:
    """By someone who empties /tmp, or the epilog of another job."""
    session = machine.start()
    place = runtime_dir(machine, session["id"])
    machine.run(["rm", "-rf", place])
    found = ended(machine, session)
    assert (found["result"], found["step"]) == ("failed", "runtime")
    assert found["error"].startswith(f"its folder {place} on ")
    assert found["error"].endswith(" was removed")


def test_a_killed_inner_script_is_named(machine: Machine) -> None:
    session = machine.start()
    kill(machine, "KILL", r"^[^ ]*bash .*/inner\.sh")
    found = ended(machine, session)
    assert (found["result"], found["step"]) == ("failed", "ready")
    assert found["error"] == "its first process ended with code 137 (signal KILL)"


def environment(machine: Machine, pattern: str) -> dict[str, str]:
    """The environment of the newest process whose command line matches."""
    find = ["pgrep", "-u", machine.user, "-f", pattern]
    wait_until(lambda: machine.run(find, root=True, check=False).returncode == 0, pattern)
    script = f"tr '\\0' '\\n' <\"/proc/$(pgrep -n -u {machine.user} -f '{pattern}')/environ\""
    lines = machine.run(script, root=True).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def runtime_dir(machine: Machine, session_id: str) -> str:
    (found,) = machine.outside("/tmp").glob(f"vizdash-{session_id}.*")
    return f"/tmp/{found.name}"


def test_a_session_started_from_a_desktop_outlives_that_desktop(apps: Machine) -> None:
    first = apps.start("starter")
    apps.run("echo start >word")
    second_file = apps.outside("~/second")
    wait_until(lambda: second_file.exists() and "\n" in second_file.read_text(), "second session")
    second = second_file.read_text().strip()
    assert {s["id"]: s["state"] for s in apps.sessions()}[second] == "ready", second
    values = environment(apps, "^xterm -geometry")
    # It has nothing in the other's folder, and its own are its own.
    theirs = runtime_dir(apps, first["id"])
    assert [f"{k}={v}" for k, v in values.items() if theirs in v or first["id"] in v] == []
    assert values["TMPDIR"] == f"{runtime_dir(apps, second)}/work/tmp"
    apps.vizdash("stop", first["id"])
    assert not [line for line in apps.leftovers() if first["id"] in line or "98765" in line]
    assert {s["id"]: s["state"] for s in apps.sessions()}[second] == "ready"
    x = f"DISPLAY={values['DISPLAY']} XAUTHORITY={values['XAUTHORITY']}"
    apps.run(f"{x} xprop -root >/dev/null")
    apps.vizdash("stop", second)
    assert apps.leftovers() == []


#: A session's folder as a killed job leaves it: its owner's PID is no longer that process.
_DEAD = """\
set -e
folder=/tmp/vizdash-{id}.{suffix}
mkdir -m 700 "$folder" "$folder/run"
echo secret >"$folder/passwords"
echo {display} >"$folder/display"
echo "{pid} 12345 {boot} $(readlink /proc/self/ns/pid) {node} - " >"$folder/owner"
"""


def test_what_dead_sessions_left_goes_with_the_next_start(machine: Machine) -> None:
    first = machine.start()
    connection = machine.outside(f"{folder(first)}/connection").read_text()
    display = re.search(r"^DISPLAY=:(\d+)$", connection, re.MULTILINE)
    assert display is not None
    boot, node = "$(cat /proc/sys/kernel/random/boot_id)", "$(uname -n)"
    dead = {"suffix": "AAAAAAAA", "display": display[1], "pid": "1", "boot": boot, "node": node}
    machine.run(_DEAD.format(id="00000001", **dead))
    machine.run(_DEAD.format(id="00000002", **dead | {"boot": "another-boot"}))
    machine.run(_DEAD.format(id="00000003", **dead | {"node": "another-node"}))
    machine.run(_DEAD.format(id="00000004", **dead), root=True)  # another user's
    machine.run("mkdir /tmp/vizdash-x7k2m9qd /tmp/vizdash-00000005.AAAAAAAA")  # no session's; new
    kept = {f"vizdash-0000000{n}.AAAAAAAA" for n in (3, 4, 5)} | {"vizdash-x7k2m9qd"}
    second = machine.start()
    theirs = {Path(runtime_dir(machine, s["id"])).name for s in (first, second)}
    assert {p.name for p in machine.outside("/tmp").glob("vizdash-*")} == kept | theirs
    # The living one keeps its display's names.
    assert machine.outside(f"/tmp/.X11-unix/X{display[1]}").exists()
    assert {s["state"] for s in machine.sessions()} == {"ready"}
    log = machine.outside(f"{folder(second)}/job.log").read_text()
    assert "removing /tmp/vizdash-00000001.AAAAAAAA of a job that was killed" in log


def test_names_of_a_killed_display_go(machine: Machine) -> None:
    session = machine.start()
    display = environment(machine, "^xterm -geometry")["DISPLAY"]
    assert machine.outside(f"/tmp/.X11-unix/X{display[1:]}").exists()
    machine.run(f"pkill -KILL -u {machine.user}; true", root=True)
    ended(machine, session)
    assert not machine.outside(f"/tmp/.X11-unix/X{display[1:]}").exists()


LIFETIMES = """\
clusters:
  here:
    lease: {max: 4h}
apps:
  leased:
    runtime: host
    host_command: "exec openbox"
    resources: {cores: 1, memory: 256M, time: 1h}
  unused:
    runtime: host
    host_command: "exec openbox"
    resources: {cores: 1, memory: 256M, time: 1h}
    lease: {max: off}
    idle: {after: 20s, grace: 5s}
"""


def test_a_lease_and_the_idle_policy_on_this_machine(machine: Machine) -> None:
    configure(machine, LIFETIMES)
    leased, unused = machine.start("leased"), machine.start("unused")
    assert (leased["lease_s"], leased["time_limit_s"]) == (3600, 4 * 3600)
    assert (unused["lease_s"], unused["time_limit_s"]) == (0, 3600)
    machine.vizdash("extend", leased["id"], "1h")
    (longer,) = (s for s in machine.sessions() if s["id"] == leased["id"])
    assert 3600 < longer["lease_left_s"] <= 2 * 3600
    over = machine.wait_for_state(unused["id"], "ended")
    assert over["result"] == "idle"
    assert over["error"].startswith("no viewer, no input and no work for ")
    folder = f"~/.local/state/vizdash/sessions/{leased['id']}"
    machine.run(["sh", "-c", f"echo LEASE_END=$(($(date +%s) + 2)) >{folder}/lease"])
    done = machine.wait_for_state(leased["id"], "ended")
    assert (done["result"], done["error"]) == ("timed out", "its lease is over")
    wait_until(
        lambda: not machine.leftovers(), "end of all processes", seen=_leftover_text(machine)
    )


def _leftover_text(machine: Machine) -> Callable[[], str]:
    return lambda: "; ".join(machine.leftovers())
