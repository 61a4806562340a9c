"""A desktop that fails to come up says at which step and why, soon, and leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import Host, Lab
from tests.lab.vd import leftovers, sessions, vizdash

#: The node that the failures are played on.
NODE = "viz-node002"
#: The site's ready_timeout is ten minutes: what is told within a call's limit of 90 s was noticed,
#: not waited for.
pytestmark = pytest.mark.usefixtures("site")


def fails(lab: Lab, app: str, *words: str) -> dict[str, str]:
    """The session, in JSON, that ``start --wait`` said had failed."""
    done = vizdash(lab, "start", app, "--node", NODE, "--wait", *words, check=False)
    assert done.returncode == 1, done
    session = max(sessions(lab), key=lambda s: int(s["job_id"]))
    assert session["state"] == "ended"
    assert session["result"] == "failed"
    last = done.stderr.splitlines()[-1]
    assert f"failed at step {session['step']}: {session['error']}" in last
    assert f"vizdash logs {session['id']}" in last
    assert session["error"] in vizdash(lab, "logs", session["id"]).stdout
    assert leftovers(lab.hosts[NODE], "alice") == ""
    return session


@contextmanager
def hidden(host: Host, path: str) -> Iterator[None]:
    """Without a program."""
    host.run(["mv", path, f"{path}.hidden"])
    try:
        yield
    finally:
        host.run(["mv", f"{path}.hidden", path])


@contextmanager
def full(host: Host, *folders: str) -> Iterator[None]:
    """File systems that hold nothing more."""
    for folder in folders:
        host.run(["mount", "-t", "tmpfs", "-o", "mode=1777,size=64k", "tmp", folder])
        host.run(f"head -c 1M /dev/zero >{folder}/fills 2>/dev/null; true")
    try:
        yield
    finally:
        for folder in folders:
            host.run(["umount", folder])


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


@pytest.mark.parametrize(("mode", "told"), [("000", "can't be read by alice")])
def test_the_image_is_unreadable(lab: Lab, mode: str, told: str) -> None:
    image = "/opt/apptainers/apps/desktop/desktop-1.0.sif"
    node = lab.hosts[NODE]
    node.run(["chmod", mode, image])
    try:
        session = fails(lab, "desktop")
    finally:
        node.run(["chmod", "644", image])
    assert session["step"] == "image"
    assert told in session["error"]


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
        vizdash(lab, "start", "desktop", "--node", NODE, "--wait")
    finally:
        taker.communicate(input="", timeout=1) if taker.poll() is not None else taker.terminate()
        taker.wait(timeout=60)
        for pipe in (taker.stdin, taker.stdout, taker.stderr):
            assert pipe is not None
            pipe.close()


def test_no_room_on_the_node(lab: Lab) -> None:
    node = lab.hosts[NODE]
    with full(node, "/tmp", "/var/tmp", "/dev/shm"):
        session = fails(lab, "desktop")
    assert session["step"] == "runtime"
    assert "No space left on device" in session["error"]


def test_a_full_tmp_alone_keeps_nobody_out(lab: Lab) -> None:
    node = lab.hosts[NODE]
    with full(node, "/tmp"):
        done = vizdash(lab, "start", "desktop", "--node", NODE, "--wait")
        vizdash(lab, "stop", done.stdout.strip())
    assert leftovers(node, "alice") == ""


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
    assert session["error"] == f"bind /nosuch is not there on {NODE}"
