"""A desktop that does not start names the step and the reason soon, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import Host, Lab
from tests.lab.mounts import filled
from tests.lab.verbs import list_sessions, run_vizdash, wait_nothing_left

#: The node that the failures are played on.
NODE = "viz-node002"
#: The site's ready_timeout is ten minutes: what is reported within a call's 90 s was noticed,
#: not waited for.
pytestmark = pytest.mark.usefixtures("site")


def fails(lab: Lab, app: str, *words: str) -> dict[str, str]:
    """The session, in JSON, that ``start --wait`` said had failed."""
    done = run_vizdash(lab, "start", app, "--node", NODE, "--wait", *words, check=False)
    assert done.returncode == 1, done
    last = done.stderr.splitlines()[-1]
    (session,) = (s for s in list_sessions(lab) if f"session {s['id']} " in last)
    assert session["state"] == "ended"
    assert session["result"] == "failed"
    assert f"failed at step {session['step']}: {session['error']}" in last
    assert f"vizdash logs {session['id']}" in last
    assert session["error"] in run_vizdash(lab, "logs", session["id"]).stdout
    wait_nothing_left(lab.hosts[NODE])
    return session


@contextmanager
def hidden(host: Host, path: str) -> Iterator[None]:
    """Without a program."""
    host.run(["mv", path, f"{path}.hidden"])
    try:
        yield
    finally:
        host.run(["mv", f"{path}.hidden", path])


def test_xvnc_is_missing(lab: Lab) -> None:
    with hidden(lab.hosts[NODE], "/usr/bin/Xvnc"):
        session = fails(lab, "plain")
    assert session["step"] == "xvnc"
    assert "Xvnc is not installed" in session["error"]


def test_websockify_is_missing(lab: Lab) -> None:
    with hidden(lab.hosts[NODE], "/usr/bin/websockify"):
        session = fails(lab, "plain")
    assert session["step"] == "websockify"
    assert session["error"] == "websockify is not installed"


def test_apptainer_is_missing(lab: Lab) -> None:
    with hidden(lab.hosts[NODE], "/usr/bin/apptainer"):
        session = fails(lab, "desktop")
    assert session["step"] == "image"
    assert session["error"] == f"neither apptainer nor singularity is installed on {NODE}"


@pytest.mark.parametrize(("mode", "expected"), [("000", "can't be read by alice")])
def test_the_image_is_unreadable(lab: Lab, mode: str, expected: str) -> None:
    image = "/opt/apptainers/apps/desktop/desktop-1.0.sif"
    node = lab.hosts[NODE]
    node.run(["chmod", mode, image])
    try:
        session = fails(lab, "desktop")
    finally:
        node.run(["chmod", "644", image])
    assert session["step"] == "image"
    assert expected in session["error"]


def test_the_image_is_no_image(lab: Lab) -> None:
    folder = "/opt/apptainers/apps/desktop"
    node = lab.hosts[NODE]
    node.run(f"echo junk >{folder}/desktop-0.1.sif")
    try:
        session = fails(lab, "desktop", "--image", "0.1")
    finally:
        node.run(["rm", f"{folder}/desktop-0.1.sif"])
    assert session["step"] == "image"
    assert "desktop-0.1.sif" in session["error"]


def test_all_ports_are_taken(lab: Lab) -> None:
    script = (
        "import socket, time\n"
        "taken = [socket.create_server(('', port)) for port in range(6080, 6100)]\n"
        "print('taken', flush=True)\n"
        "time.sleep(600)\n"
    )
    taker = lab.hosts[NODE].popen(["python3", "-c", script], user="bob")
    try:
        assert taker.stdout is not None
        assert taker.stdout.readline() == "taken\n"
        session = fails(lab, "desktop", "--cluster", "direct")
        assert session["step"] == "websockify"
        assert "ports 6080-6099 are all taken" in session["error"]
        # The tunnel needs no port.
        run_vizdash(lab, "start", "desktop", "--node", NODE, "--wait")
    finally:
        taker.communicate(input="", timeout=1) if taker.poll() is not None else taker.terminate()
        taker.wait(timeout=60)
        for pipe in (taker.stdin, taker.stdout, taker.stderr):
            assert pipe is not None
            pipe.close()


def test_no_disk_space_on_the_node(lab: Lab) -> None:
    node = lab.hosts[NODE]
    with filled(node, "/tmp", "/var/tmp", "/dev/shm"):
        session = fails(lab, "desktop")
    assert session["step"] == "runtime"
    assert "No space left on device" in session["error"]


def test_a_full_tmp_alone_prevents_no_session(lab: Lab) -> None:
    node = lab.hosts[NODE]
    with filled(node, "/tmp"):
        done = run_vizdash(lab, "start", "desktop", "--node", NODE, "--wait")
        run_vizdash(lab, "stop", done.stdout.strip())
    wait_nothing_left(node)


def test_the_app_fails(lab: Lab) -> None:
    session = fails(lab, "broken")
    assert session["step"] == "app"
    assert "code 3: no licence server" in session["error"]


def test_a_module_or_a_bind_is_missing(lab: Lab) -> None:
    session = fails(lab, "modular")
    assert session["step"] == "modules"
    assert session["error"] == f"no module command on {NODE}"
    session = fails(lab, "bound")
    assert session["step"] == "image"
    assert session["error"] == f"bind /nosuch does not exist on {NODE}"
