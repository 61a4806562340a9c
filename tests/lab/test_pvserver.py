"""ParaView's server as a session, with Debian's own ParaView as its client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PIL import Image

from tests.lab import Lab
from tests.lab.images import build_image
from tests.lab.verbs import (
    open_session,
    run_vizdash,
    start_session,
    wait_for_state,
    wait_nothing_left,
)

NODE = "viz-node002"
IMAGE = "/home/alice/pvserver.sif"
#: The user's own image, in their home: no survey of the image roots knows it.
APPS = """\
apps:
  pvserver:
    kind: pvserver
    image: /home/alice/pvserver.sif
    resources: {cores: 2, memory: 2G, time: 1h}
"""
SPHERE = """
import sys
from paraview.simple import *

Connect("127.0.0.1", int(sys.argv[1]))
assert servermanager.ActiveConnection.IsRemote()
sphere = Sphere(ThetaResolution=32, PhiResolution=32)
view = CreateView("RenderView")
view.ViewSize = [200, 200]
Show(sphere, view).DiffuseColor = [1, 0, 0]
ResetCamera(view)
Render(view)
SaveScreenshot("sphere.png", view)
print("points:", sphere.GetDataInformation().GetNumberOfPoints())
Disconnect()
"""
#: What another user's program gets through the tunnel's port.
STRANGER = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 60) as s:
    s.sendall(b"hello")
    try:
        print(s.recv(100))
    except ConnectionResetError:
        print(b"")
"""
#: Runs a program on an X server of its own (xvfb-run may wait for ever for its X server's signal).
WITH_X = """\
folder=$(mktemp -d)
mkfifo "$folder/display"
Xvfb -displayfd 3 -screen 0 800x600x24 -nolisten tcp -noreset 3>"$folder/display" &
server=$!
read -r number <"$folder/display" || exit
DISPLAY=:$number "$@"
code=$?
kill "$server"
rm -r "$folder"
exit "$code"
"""
#: A pvserver of the node's own, with MPI: the image's program, run by the node's Apptainer without
#: its private /tmp and /dev/shm.
ON_HOST = """\
#!/bin/sh
case $1 in
  --version) exec apptainer -q exec ~/pvserver.sif pvserver "$@" ;;
esac
exec apptainer -q exec ~/pvserver.sif sh ~/other/with-x pvserver "$@"
"""
ON_HOST_APP = """\
  pvhost:
    kind: pvserver
    runtime: host
    environment: {PATH: "/home/alice/other:/usr/local/bin:/usr/bin:/bin"}
    host_command: exec pvserver --mpi --bind-address=127.0.0.1 --server-port="$VIZDASH_PORT"
    resources: {cores: 2, memory: 2G, time: 1h}
"""
#: What MPI makes outside of vizdash's folders.
MPI_FILES = (
    "find /tmp /dev/shm /var/tmp -user alice ! -path '/tmp/vizdash-*' | "
    "grep -E 'ompi|pmix|prte|segment|shm'; true"
)
OTHER_RELEASE = "#!/bin/sh\necho paraview version 5.11.0\n"


@pytest.fixture
def pvserver(lab: Lab) -> Iterator[Lab]:
    """pvserver's image on a node, from its definition."""
    root, _ = Lab.build()
    image = lab.run / IMAGE.lstrip("/")
    image.hardlink_to(build_image(root, "pvserver"))
    lab.login.run("mkdir -p .config/vizdash other; cat >sphere.py", user="alice", input=SPHERE)
    lab.login.run("cat >.config/vizdash/config.yaml", user="alice", input=APPS)
    script = "cat >other/paraview; chmod +x other/paraview"
    lab.login.run(script, user="alice", input=OTHER_RELEASE)
    lab.login.run("cat >other/with-x", user="alice", input=WITH_X)
    yield lab
    lab.login.run("rm -rf .config .cache other sphere.py sphere.png", user="alice")
    image.unlink()


def test_a_sphere_is_drawn_by_a_matching_client_and_another_is_refused(pvserver: Lab) -> None:
    lab, node = pvserver, pvserver.hosts[NODE]
    session = start_session(lab, "pvserver", "--node", NODE)
    assert session["kind"] == "pvserver"
    assert not {"pvserver", "Xvfb"} & set(node.run("ss -Htlnp").stdout.split('"'))
    screen = {"PATH": "/home/alice/other:/usr/local/bin:/usr/bin:/bin", "DISPLAY": ":77"}
    opening = ["vizdash", "open", session["id"]]
    refused = lab.login.run(opening, user="alice", env=screen, check=False)
    assert refused.returncode == 1
    assert "is ParaView 5.11.0, the server is 5.13." in refused.stderr
    with open_session(lab, session["id"]) as url:
        port = url.removeprefix("cs://127.0.0.1:")
        assert port.isdecimal()
        file = f".local/state/vizdash/pvserver/{session['id']}.pvsc"
        assert url in lab.login.run(["cat", file], user="alice").stdout
        stranger = lab.login.run(["python3", "-c", STRANGER, port], user="bob")
        assert stranger.stdout == "b''\n"
        # The client's MPI leaves files in /tmp and /dev/shm where its daemon is ended first.
        contain = ["--contain", "--bind", "/home/alice", "--pwd", "/home/alice"]
        program = ["sh", "other/with-x", "pvpython", "sphere.py", port]
        client = ["apptainer", "-q", "exec", *contain, IMAGE, *program]
        done = lab.login.run(client, user="alice", timeout=300, check=False)
        log = lab.login.run(["vizdash", "logs", session["id"]], user="alice").stdout
        assert "points: 962" in done.stdout, f"{done.stderr}\n{log}"
    with Image.open(lab.login.root / "home/alice/sphere.png") as picture:
        centre, corner = picture.convert("RGB").getpixel((100, 100)), picture.getpixel((2, 2))
    assert isinstance(centre, tuple)
    assert centre[0] > 100 > centre[1], (centre, corner)
    # The server ends with its client.
    assert wait_for_state(lab, session["id"], "ended")["result"] == "finished"
    for host in (node, lab.login):
        wait_nothing_left(host)
    assert lab.login.run(["ls", file], user="alice", check=False).returncode != 0


def test_nothing_of_mpi_stays_on_the_node(pvserver: Lab) -> None:
    lab, node = pvserver, pvserver.hosts[NODE]
    lab.login.run("cat >other/pvserver; chmod +x other/pvserver", user="alice", input=ON_HOST)
    lab.login.run("cat >>.config/vizdash/config.yaml", user="alice", input=ON_HOST_APP)
    # By itself, it leaves them even when it only prints its version.
    by_hand = node.run(f"~/other/pvserver --version; {MPI_FILES}", user="alice").stdout
    assert "/dev/shm/sm_segment" in by_hand
    assert "/tmp/ompi." in by_hand
    node.run("rm -rf /tmp/ompi.* /dev/shm/sm_segment.*", user="alice")
    session = start_session(lab, "pvhost", "--node", NODE)
    assert "sm_segment" in node.run("ls /tmp/vizdash-*/*/tmp", user="alice").stdout
    assert node.run(MPI_FILES, user="alice").stdout == ""
    run_vizdash(lab, "stop", session["id"])
    wait_for_state(lab, session["id"], "ended")
    wait_nothing_left(node, "alice")
    # Killed, it leaves its runtime folder, which the next session on the node removes.
    session = start_session(lab, "pvhost", "--node", NODE)
    node.run("pkill -KILL -u alice")
    wait_for_state(lab, session["id"], "ended")
    assert node.run(MPI_FILES, user="alice").stdout == ""
    session = start_session(lab, "pvserver", "--node", NODE)
    run_vizdash(lab, "stop", session["id"])
    wait_for_state(lab, session["id"], "ended")
    # What Xvfb left is not vizdash's.
    node.run("rm -f /tmp/.X*-lock /tmp/.X11-unix/X*", user="alice")
    wait_nothing_left(node, "alice")
