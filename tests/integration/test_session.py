"""From the command to a real desktop on this machine, and its end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys

from tests.integration.machine import Machine
from tests.lab.browser import Desktop, desktop
from tests.waiting import wait_until

#: The built-in desktop's background, #31516f.
BLUE = (0x31, 0x51, 0x6F)
#: A desktop whose app leaves what is hard to find again: a daemon in a session of its own, one
#: that has dropped its environment too, and files where temporary ones go.
DAEMONS = """\
apps:
  daemons:
    runtime: host
    host_command: >-
      setsid -f sleep 98765; setsid -f env -i sleep 98766; (trap '' TERM HUP; sleep 98767) &
      touch "$(mktemp)"; exec openbox
    resources: {cores: 1, memory: 256M, time: 1h}
  dies:
    runtime: host
    host_command: "echo no licence server >&2; exit 3"
    resources: {cores: 1, memory: 256M, time: 1h}
"""


def configure(machine: Machine, text: str) -> None:
    """The user's own config file."""
    machine.run(["mkdir", "-p", ".config/vizdash"])
    path = machine.outside("~/.config/vizdash/config.yaml")
    path.write_text(text)
    path.chmod(0o644)


def type_into(machine: Machine, seen: Desktop, word: str) -> None:
    """A command typed in Chromium, whose effect is a file. Clicks again where a first click was
    lost, as a person would: on a busy machine the page is there before the window manager is.
    """
    seen.wait_share(BLUE)
    typed = machine.outside("~/typed")

    def done() -> bool:
        return typed.exists() and word in typed.read_text()

    for _ in range(40):
        seen.click(300, 200)
        seen.page.wait_for_timeout(300)
        seen.type(f"echo {word} > ~/typed\n")
        with contextlib.suppress(AssertionError):
            wait_until(done, "typed text", 3)
            return
    raise AssertionError(f"nothing was typed: see {seen.save('typed')}")


def test_start_open_type_and_stop(machine: Machine) -> None:
    before = {
        "0ld0ld01": "STATE=ended >status",
        "0ld0ld02": "STATE=ready >status",
        "0ld0ld03": "JOB_ID=7 >job",
        "0ld0ld04": "JOB_ID= >job",
        "y0ungy0u": "STATE=ended >status",
    }
    for name, text in before.items():
        kept = f".local/state/vizdash/sessions/{name}"
        machine.run(["mkdir", "-p", kept])
        machine.run(["sh", "-c", f"cd {kept} && echo {text}"])
        if name != "y0ungy0u":
            machine.run(["sh", "-c", f"touch -d '100 days ago' {kept}/* {kept}; true"])
    done = machine.vizdash(
        "start", "desktop", "--cpus", "1", "--memory", "256M", "--wait", "--json"
    )
    output = json.loads(done.stdout)
    session = output["session"]
    assert output["schema"] == 1
    assert (session["state"], session["user"], session["app"]) == ("ready", machine.user, "desktop")
    assert (session["cores"], session["memory_mib"]) == (1, 256)
    with machine.open_session(session["id"]) as url:
        assert url.startswith("http://127.0.0.1:")
        with desktop(url, machine) as seen:
            type_into(machine, seen, "From-the-browser")
            seen.save("desktop-on-this-machine")
    # vizdash has gone; another one finds the session, and its text.
    assert [s["state"] for s in machine.sessions()] == ["ready"]
    with machine.open_session(session["id"]) as url, desktop(url, machine) as seen:
        type_into(machine, seen, "From-another-browser")
    machine.vizdash("stop", session["id"])
    assert machine.leftovers() == []
    (ended,) = machine.sessions()
    assert (ended["state"], ended["result"]) == ("ended", "cancelled")
    folder = machine.outside(f"~/.local/state/vizdash/sessions/{session['id']}")
    assert {p.name for p in folder.iterdir()} == {
        "job",
        "job.json",
        "job.log",
        "status",
        "supervisor",
    }
    # What ended a season ago has gone; what is younger, or may still wait or run, has not.
    left = {p.name for p in folder.parent.iterdir() if p.is_dir()}
    assert left == {session["id"], *before} - {"0ld0ld01", "0ld0ld04"}
    # When it was ready is known to the end.
    assert re.search(r"^READY=\d{10}$", (folder / "status").read_text(), re.MULTILINE)


def test_what_draws_opengl_is_asked_once_and_leaves_no_file(machine: Machine) -> None:
    session = machine.start()
    status = machine.outside(f"~/.local/state/vizdash/sessions/{session['id']}/status")
    wait_until(lambda: "\nRENDERER=" in status.read_text(), "the renderer", 360)
    (listed,) = machine.sessions()
    assert listed["renderer"].startswith("llvmpipe"), status.read_text()
    assert listed["warning"] == ""  # it was given no GPU
    log = machine.vizdash("logs", session["id"]).stdout
    assert f"OpenGL is drawn by: {listed['renderer']}" in log
    assert machine.run("find ~/.cache -name 'mesa_shader_cache*' 2>/dev/null; true").stdout == ""
    machine.vizdash("stop", session["id"])
    assert machine.leftovers() == []


def test_no_secret_is_to_be_seen(machine: Machine) -> None:
    session = machine.start()
    folder = machine.outside(f"~/.local/state/vizdash/sessions/{session['id']}")
    pairs = (line.split("=", 1) for line in (folder / "connection").read_text().splitlines())
    values = dict(pairs)
    secrets = {values["PASSWORD"], values["VIEW_PASSWORD"]}
    assert all(len(secret) == 8 for secret in secrets)
    shown = [
        *machine.processes(),
        (folder / "job.log").read_text(),
        (folder / "job.json").read_text(),
    ]
    shown += [machine.vizdash("sessions", "--json").stdout]
    shown += [machine.run("cat /proc/[0-9]*/environ 2>/dev/null; true", root=True).stdout]
    assert not [text for text in shown for secret in secrets if secret in text]
    for place in (folder, machine.outside(values["RUNTIME_DIR"])):
        assert place.stat().st_mode & 0o077 == 0, place
    # No TCP port at all: others on the machine have none to try.
    assert machine.run(["ss", "-tlH"], root=True).stdout == ""


def test_two_sessions_at_once(machine: Machine) -> None:
    first, second = machine.start(), machine.start()
    for session in (first, second):
        with machine.open_session(session["id"]) as url, desktop(url, machine) as seen:
            type_into(machine, seen, f"In-{session['id']}")
    machine.vizdash("stop", first["id"])
    assert machine.wait_for_state(first["id"], "ended")["result"] == "cancelled"
    assert not [line for line in machine.leftovers() if first["id"] in line]
    with machine.open_session(second["id"]) as url, desktop(url, machine) as seen:
        type_into(machine, seen, "Still-there")
    machine.vizdash("stop", second["id"])
    assert machine.leftovers() == []


def test_simultaneous_starts_do_not_share_capacity(machine: Machine) -> None:
    """Eight starts at the same moment: as many as there are cores, and each other one refused."""
    cores = len(os.sched_getaffinity(0))
    script = (
        f"for i in $(seq {cores + 3}); do vizdash start desktop --cpus 1 --memory 64M --json 2>&1 &"
        " done; wait"
    )
    lines = machine.run(script).stdout.splitlines()
    refused = [line for line in lines if "not enough free capacity on this machine" in line]
    assert len(refused) == 3, lines
    ids = [json.loads(line)["session"]["id"] for line in lines if line.startswith("{")]
    assert len(set(ids)) == cores
    machine.vizdash("stop", *ids)
    assert machine.leftovers() == []


def test_what_does_not_fit_is_refused_with_the_numbers(machine: Machine) -> None:
    cores = len(os.sched_getaffinity(0))
    done = machine.vizdash("start", "desktop", "--cpus", str(cores + 1), check=False)
    assert done.returncode == 1
    assert f"{cores + 1} cores" in done.stderr and str(cores) in done.stderr
    done = machine.vizdash("start", "desktop", "--cpus", "1", "--memory", "90T", check=False)
    assert done.returncode == 1
    assert "92160 GiB requested" in done.stderr
    session = machine.start("desktop", "--cpus", str(cores))
    done = machine.vizdash("start", "desktop", "--cpus", "1", "--memory", "64M", check=False)
    assert done.returncode == 1
    assert f"1 core requested, 0 of {cores} free" in done.stderr
    assert [s["id"] for s in machine.sessions()] == [session["id"]]
    assert len(list(machine.outside("~/.local/state/vizdash/sessions").glob("[0-9a-f]*"))) == 1


def test_daemons_are_found_again(machine: Machine) -> None:
    configure(machine, DAEMONS)
    session = machine.start("daemons")

    def all_run() -> bool:
        seen = "\n".join(machine.processes())
        return all(f"sleep {n}" in seen for n in (98765, 98766, 98767))

    wait_until(all_run, "daemons", seen=lambda: "\n".join(machine.processes()))
    machine.vizdash("stop", session["id"])
    assert machine.leftovers() == []


def test_an_app_that_fails_is_reported(machine: Machine) -> None:
    configure(machine, DAEMONS)
    done = machine.vizdash("start", "dies", "--wait", check=False)
    assert done.returncode == 1
    assert "failed at step app: " in done.stderr
    assert "code 3: no licence server" in done.stderr
    (session,) = machine.sessions()
    assert (session["state"], session["result"], session["step"]) == ("ended", "failed", "app")
    assert "no licence server" in session["error"]
    assert "no licence server" in machine.vizdash("logs", session["id"]).stdout
    assert machine.leftovers() == []


def test_a_logout_leaves_it_running(machine: Machine) -> None:
    """The terminal that it was started from goes, with a hang-up to all that belongs to it."""
    tmux = ["tmux", "-S", str(machine.home / "tmux"), "-f", "/dev/null"]
    command = "vizdash start desktop --cpus 1 --memory 256M --wait >started; sleep 1000"
    machine.run([*tmux, "new-session", "-d", command])
    started = machine.outside("~/started")
    wait_until(lambda: started.exists() and bool(started.read_text()), "session", 180)
    session_id = started.read_text().strip()
    machine.run([*tmux, "kill-server"])
    wait_until(lambda: "sleep 1000" not in "\n".join(machine.processes()), "logout")
    with machine.open_session(session_id) as url, desktop(url, machine) as seen:
        type_into(machine, seen, "After-the-logout")
    supervisor = int(machine.outside(_supervisor(session_id)).read_text().split()[0])
    # A new session (setsid(2)) without a terminal.
    fields = machine.run(["ps", "-o", "sid=,tty=", "-p", str(supervisor)], root=True).stdout.split()
    assert fields == [str(supervisor), "?"]
    machine.vizdash("stop", session_id)


def _supervisor(session_id: str) -> str:
    return f"~/.local/state/vizdash/sessions/{session_id}/supervisor"


def _limit(machine: Machine, session_id: str, seconds: int) -> None:
    """Let a session's time limit be so many seconds from now, as `vizdash extend` changes it."""
    folder = f"~/.local/state/vizdash/sessions/{session_id}"
    machine.run(
        f"echo $(($(date +%s) + {seconds})) >{folder}/end.new; mv {folder}/end.new {folder}/end"
    )


def test_the_time_limit_is_kept(machine: Machine) -> None:
    configure(machine, DAEMONS)
    session = machine.start("daemons", "--time", "1h")
    _limit(machine, session["id"], 0)
    ended = machine.wait_for_state(session["id"], "ended", 180)
    assert ended["result"] == "timed out"
    assert machine.leftovers() == []


def test_a_session_is_extended(machine: Machine) -> None:
    session = machine.start("desktop", "--time", "1h")
    output = machine.vizdash("extend", session["id"], "30m")
    assert "is now 1 h 30 min" in output.stderr
    (found,) = machine.sessions()
    assert 3600 < found["time_left_s"] <= 5400
    machine.vizdash("stop", session["id"])
    assert machine.sessions()[0]["result"] == "cancelled"
    assert machine.vizdash("extend", session["id"], "30m", check=False).returncode == 1
    assert machine.leftovers() == []


def test_the_warning_shows_and_ends_nothing(machine: Machine) -> None:
    session = machine.start("desktop", "--time", "1h")
    with machine.open_session(session["id"]) as url, desktop(url, machine) as seen:
        seen.wait_share(BLUE)
        _limit(machine, session["id"], 302)
        wait_until(lambda: any("save your work" in line for line in machine.processes()), "warning")
        wait_until(lambda: seen.share((255, 255, 255)) > 0.01, "warning on the desktop")
        seen.save("warning-on-this-machine")
    assert machine.sessions()[0]["state"] == "ready"
    machine.vizdash("stop", session["id"])
    assert machine.leftovers() == []


def test_a_killed_supervisor_is_cleaned_up(machine: Machine) -> None:
    session = machine.start()
    pid = machine.outside(_supervisor(session["id"])).read_text().split()[0]
    machine.run(["kill", "-KILL", pid])
    ended = machine.wait_for_state(session["id"], "ended")
    assert ended["result"] == "failed"
    assert "supervisor was killed" in ended["error"]
    wait_until(
        lambda: machine.leftovers() == [], "clean machine", 180, lambda: str(machine.leftovers())
    )


def test_when_everything_is_killed_nothing_is_left(machine: Machine) -> None:
    session = machine.start()
    machine.run(f"pkill -KILL -u {machine.user}; true", root=True)
    ended = machine.wait_for_state(session["id"], "ended")
    assert "supervisor was killed" in ended["error"]
    assert machine.leftovers() == []


#: Runs a program under the PID that is given: the kernel counts on from ns_last_pid (proc(5)).
_REUSE = """\
import os, sys
wanted, user = int(sys.argv[1]), int(sys.argv[2])
while True:
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(wanted - 1))
    pid = os.fork()
    if pid == 0:
        if os.getpid() != wanted:
            os._exit(0)
        os.setsid()
        for descriptor in (0, 1, 2):
            os.dup2(os.open("/dev/null", os.O_RDWR), descriptor)
        os.setuid(user)
        os.execvp("sleep", ["sleep", "5432"])
    if pid == wanted:
        sys.exit()
    os.waitpid(pid, 0)
"""


def test_a_reused_pid_is_no_session(machine: Machine) -> None:
    session = machine.start()
    pid = machine.outside(_supervisor(session["id"])).read_text().split()[0]
    # All of it, since a number that is a session's too (setsid(2)) is not given again.
    machine.run(f"pkill -KILL -u {machine.user}; true", root=True)
    owner = str(machine.outside("~/").stat().st_uid)
    machine.run([sys.executable, "-c", _REUSE, pid, owner], root=True)
    assert f"{pid} sleep 5432" in machine.processes()
    ended = machine.wait_for_state(session["id"], "ended")
    assert ended["result"] == "failed"
    machine.vizdash("stop", session["id"])
    assert machine.leftovers() == [f"{pid} sleep 5432"]


def test_programs_that_are_missing_are_named(machine: Machine) -> None:
    machine.hide("Xvnc")
    done = machine.vizdash("doctor", check=False)
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if " Xvnc " in line)
    assert line.startswith("BROKEN")
    assert "apt-get install tigervnc-standalone-server" in line
    assert done.stderr.splitlines()[-1].startswith("vizdash: doctor: Xvnc: Xvnc is not on PATH")
    size = ("--cpus", "1", "--memory", "64M")
    done = machine.vizdash("start", "desktop", *size, "--wait", check=False)
    assert done.returncode == 1
    assert "failed at step xvnc: Xvnc is not installed" in done.stderr
    assert machine.leftovers() == []


def test_a_home_with_a_blank_in_its_name(machine: Machine) -> None:
    home = {"HOME": f"{machine.home}/my home; 'quoted'"}
    machine.run(["mkdir", home["HOME"]])
    size = ("--cpus", "1", "--memory", "64M")
    done = machine.vizdash("start", "desktop", *size, "--wait", env=home)
    machine.vizdash("stop", done.stdout.strip(), env=home)
    assert machine.leftovers() == []


def test_without_a_home_it_runs_from_the_state_dir(machine: Machine) -> None:
    """As on a cluster's node that has no homes."""
    scratch = machine.home / "scratch"
    machine.run(["mkdir", str(scratch)])
    machine.outside("~/c.yaml").write_text(
        f"clusters: {{here: {{state_dir: {scratch}/%u/vizdash}}}}\n"
        "apps: {mine: {runtime: host, host_command: 'echo x >$HOME/file; exec openbox'}}\n"
    )
    env = ("env", "HOME=/home/gone", f"VIZDASH_CONFIG={machine.home}/c.yaml", "vizdash")
    done = machine.run([*env, "start", "mine", "--cpus", "1", "--memory", "64M", "--wait"])
    session = done.stdout.strip()
    log = machine.run([*env, "logs", session]).stdout
    home = scratch / machine.user / "vizdash/home"
    assert f"using {home} instead" in log
    wait_until(machine.outside(home / "file").exists, "the app's file")
    machine.run([*env, "stop", session])
    assert machine.leftovers() == []
    assert not machine.outside("/home/gone").exists()


def test_a_full_home_and_one_that_cannot_be_written_are_refusals(machine: Machine) -> None:
    machine.run(["mkdir", "full", "closed"])
    mount = f"mount -t tmpfs -o size=16k,mode=777 full {machine.home}/full"
    machine.run(f"{mount}; head -c 1M /dev/zero >{machine.home}/full/fill; true", root=True)
    machine.run(["chmod", "500", "closed"])
    for name, why in {"full": "No space left on device", "closed": "Permission denied"}.items():
        home = {"HOME": f"{machine.home}/{name}"}
        done = machine.vizdash("start", "desktop", "--cpus", "1", env=home, check=False)
        assert done.returncode == 1
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert f"{machine.home}/{name}/" in line
        assert why in line
        assert "check your home" in line
    assert machine.leftovers() == []


def test_a_home_that_fills_up_replaces_nothing(machine: Machine) -> None:
    machine.run(["mkdir", "small"])
    mount = f"mount -t tmpfs -o size=1m,mode=777 small {machine.home}/small"
    machine.run(mount, root=True)
    home = {"HOME": f"{machine.home}/small"}
    size = ("--cpus", "1", "--memory", "64M")
    session = machine.vizdash("start", "desktop", *size, "--wait", env=home).stdout.strip()
    machine.run(f"cat /dev/zero >{machine.home}/small/fill; true", root=True)
    status = machine.outside(f"~/small/.local/state/vizdash/sessions/{session}/status")
    ready = next(line for line in status.read_text().splitlines() if line.startswith("READY="))
    done = machine.vizdash("sessions", "--json", env=home)
    assert json.loads(done.stdout)["sessions"][0]["state"] == "ready"
    machine.vizdash("stop", session, env=home)
    assert {"STATE=ended", "RESULT=cancelled", ready} <= set(status.read_text().splitlines())
    assert machine.leftovers() == []


def test_a_full_tmp_is_named(machine: Machine) -> None:
    """The session's own files find another place; X's keyboard can't."""
    machine.run("mount -o remount,size=64k /tmp", root=True)
    machine.run("head -c 1M /dev/zero >/tmp/fill; true")
    size = ("--cpus", "1", "--memory", "64M")
    done = machine.vizdash("start", "desktop", *size, "--wait", check=False)
    assert done.returncode == 1
    assert "failed at step xvnc: Xvnc: /tmp is full" in done.stderr
    assert machine.leftovers() == ["/tmp/fill"]
