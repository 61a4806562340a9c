"""A program on the node that does not end, or leaves another that holds its output."""

from __future__ import annotations

import shlex

from tests.integration.machine import Machine
from tests.integration.test_session import configure
from tests.waiting import wait_until

_APPS = """\
clusters: {{local: {{engine: local, ready_timeout: {timeout}}}}}
apps:
  mine:
    runtime: host
    host_command: exec openbox
    modules: {modules}
    resources: {{cores: 1, memory: 256M, time: 1h}}
  server:
    kind: pvserver
    runtime: host
    environment: {{PATH: "{home}/bin:/usr/local/bin:/usr/bin:/bin"}}
    host_command: "echo 'Accepting connection(s): vm:8000'; exec sleep 98765"
    resources: {{cores: 1, memory: 256M, time: 1h}}
"""
#: Nothing but SIGKILL ends it.
_DEAF = "trap '' TERM HUP INT; while :; do sleep 1000; done"


def _configure(
    machine: Machine, timeout: str = "8s", modules: str = "[]", version: str = ""
) -> None:
    configure(machine, _APPS.format(timeout=timeout, modules=modules, home=machine.home))
    text = shlex.quote(f"#!/bin/bash\n{version}\n")
    machine.run(f"mkdir -p bin && printf %s {text} >bin/pvserver && chmod +x bin/pvserver")


def _fails(machine: Machine, app: str) -> str:
    size = ("--cpus", "1", "--memory", "256M")
    done = machine.vizdash("start", app, *size, "--wait", check=False)
    assert done.returncode == 1
    assert machine.leftovers() == []
    return done.stderr


def test_a_version_that_leaves_a_daemon_with_its_output(machine: Machine) -> None:
    version = f"({_DEAF}) & echo paraview version 5.13.0"
    _configure(machine, "10m", version=version)
    session = machine.start("server")
    assert session["state"] == "ready"
    machine.vizdash("stop", session["id"])
    machine.wait_for_state(session["id"], "ended")
    assert machine.leftovers() == []


def test_a_program_of_the_desktop_that_nobody_expected_to_hang(machine: Machine) -> None:
    _configure(machine)
    machine.run(
        f"printf '%s\\n' '#!/bin/bash' {shlex.quote(_DEAF)} >/home/deaf && chmod 755 /home/deaf && "
        "mount --bind /home/deaf $(readlink -f /usr/bin/vncpasswd)",
        root=True,
    )
    assert "failed at step xvnc: no progress for 15 s" in _fails(machine, "mine")


def test_an_apptainer_that_hangs(machine: Machine) -> None:
    """As where its image is on a file server that does not answer: nothing of it reports a step."""
    _configure(machine)
    config = machine.outside("~/.config/vizdash/config.yaml")
    config.write_text(
        config.read_text() + f"  imaged: {{runtime: apptainer, image: {machine.home}/x.sif}}\n"
    )
    text = shlex.quote(f"#!/bin/bash\n{_DEAF}\n")
    machine.run(f"touch x.sif && printf %s {text} >bin/apptainer && chmod +x bin/apptainer")
    inside = machine.run('printf %s "$PATH"').stdout
    size = ("--cpus", "1", "--memory", "256M", "--wait")
    path = {"PATH": f"{machine.home}/bin:{inside}"}
    done = machine.vizdash("start", "imaged", *size, env=path, check=False)
    assert "failed at step image: no progress for 37 s" in done.stderr
    assert machine.leftovers() == []


def test_a_warning_before_the_desktop_begins_is_not_its_end(machine: Machine) -> None:
    """With a short limit, Slurm warns at once: the job went on, and nobody listened to it."""
    machine.run(
        "mount -t tmpfs -o mode=755 modules /etc/profile.d && "
        "echo 'module() { while [ -e ~/held ]; do sleep 0.1; done; }' >/etc/profile.d/modules.sh",
        root=True,
    )
    _configure(machine, "10m", modules="[slow/1]")
    machine.run("touch held")
    machine.vizdash("start", "mine", "--cpus", "1", "--memory", "256M")
    wait_until(lambda: any(machine.outside("/tmp").glob("vizdash-*/modules.name")), "module")
    (owner,) = machine.outside("/tmp").glob("vizdash-*/owner")
    script = owner.read_text().split()[0]
    (session,) = machine.sessions()
    log = f"~/.local/state/vizdash/sessions/{session['id']}/job.log"
    # Nothing reads the first warnings yet; one comes before the desktop's own first word.
    shown = f"grep -q 'shown on the desktop' {log}"
    machine.run(f"rm held; until {shown}; do kill -USR1 {script}; sleep 0.1; done")
    machine.wait_for_state(session["id"], "ready")
    machine.vizdash("stop", session["id"])
    assert machine.leftovers() == []


def test_a_module_that_hangs(machine: Machine) -> None:
    machine.run(
        "mount -t tmpfs -o mode=755 modules /etc/profile.d && "
        f"echo {shlex.quote('module() { ' + _DEAF + '; }')} >/etc/profile.d/modules.sh",
        root=True,
    )
    _configure(machine, modules="[slow/1]")
    said = _fails(machine, "mine")
    assert "failed at step modules: module load slow/1: not done in 8 s" in said


def test_a_session_is_stopped_while_a_module_hangs(machine: Machine) -> None:
    machine.run(
        "mount -t tmpfs -o mode=755 modules /etc/profile.d && "
        "echo 'module() { sleep 1000; }' >/etc/profile.d/modules.sh",
        root=True,
    )
    _configure(machine, "10m", modules="[slow/1]")
    machine.vizdash("start", "mine", "--cpus", "1", "--memory", "256M")
    wait_until(lambda: "sleep 1000" in "".join(machine.processes()), "module")
    (session,) = machine.sessions()
    machine.vizdash("stop", session["id"])
    ended = machine.wait_for_state(session["id"], "ended")
    assert ended["result"] == "cancelled"
    assert machine.leftovers() == []
