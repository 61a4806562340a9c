"""The connections of a deploy, which all its commands on a node share: nobody else uses or
exchanges their sockets, and nothing is left of them, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.faults.test_killed_images import images
from tests.lab.gedit_builds import ADMIN
from tests.lab.test_doors import answers
from tests.lab.verbs import find_leftovers, run_vizdash, wait_nothing_left
from tests.waiting import wait_until

__all__ = ["images"]

NODE = "viz-node002"
_DEPLOY = ("deploy", "gedit", "--node", NODE)
#: vizdash with a protection taken away by the first argument.
_PATCHED = """
import sys
from vizdash.cli.program import main
from vizdash.transport import node_connections
from vizdash.util import files
exec(sys.argv.pop(1))
sys.argv[0] = "vizdash"
main()
"""
_ANY_PLACE = "files._check_place = lambda place: None"
_CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


def sockets(lab: Lab, folder: str = "/tmp") -> list[str]:
    """The sockets of connections to nodes on the login host."""
    found = (lab.login.root / folder[1:]).glob("vizdash-run_*/0")
    return [f"/{path.relative_to(lab.login.root)}" for path in found]


@contextlib.contextmanager
def held_deploy(
    lab: Lab, version: str = "1.1", *, patch: str = "", folder: str = ""
) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    """A deploy that is stopped (SIGSTOP) with an open connection: the process, the PID of its
    vizdash on this machine, and the sockets.
    """
    program = ("/opt/vizdash/bin/python", "-c", _PATCHED, patch) if patch else ("vizdash",)
    variables = ("env", f"TMPDIR={folder}") if folder else ()
    argv = (*variables, *program, *_DEPLOY, "--version", version)
    with lab.login.popen(argv, user=ADMIN) as process:
        pid = process.pid
        try:
            places = [folder, "/tmp"] if folder else ["/tmp"]
            deadline = time.monotonic() + 120
            while not any(sockets(lab, place) for place in places):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline, "no connection"
                time.sleep(0.005)
            pid = _vizdash(process.pid)
            os.kill(pid, signal.SIGSTOP)
            open_now = [path for place in places for path in sockets(lab, place)]
            assert open_now
            yield process, pid, open_now
        finally:
            # nsenter(1) stops with its child.
            for one in (pid, process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, signal.SIGCONT)
            process.communicate(timeout=240)


def _vizdash(pid: int) -> int:
    """The vizdash that nsenter(1) has started."""
    return int(subprocess.check_output(["pgrep", "-P", str(pid)]))


@pytest.mark.usefixtures("images")
def test_another_user_and_the_sockets(lab: Lab) -> None:
    def connects(user: str) -> bool:
        done = lab.login.run(["python3", "-c", _CONNECT, socket], user=user, check=False)
        return done.returncode == 0

    def logs_in(user: str) -> str:
        ask = ["ssh", "-S", socket, "-o", "ProxyCommand=false", NODE, "id", "-un"]
        return lab.login.run(ask, user=user, check=False).stdout

    with held_deploy(lab) as (_, _, (socket,)):
        folder = str(Path(socket).parent)
        assert lab.login.run(["stat", "-c", "%a %U", folder]).stdout == f"700 {ADMIN}\n"
        assert logs_in(ADMIN) == f"{ADMIN}\n", "the connection is not alive"
        assert not connects("bob")
        assert lab.login.run(["ls", folder], user="bob", check=False).returncode != 0
        lab.login.run(["chmod", "777", folder])
        assert not connects("bob"), "the folder alone kept bob out"
        lab.login.run(["chmod", "666", socket])
        assert connects("bob")
        # Even then, ssh serves nobody but its own user.
        assert logs_in("bob") == ""
        assert logs_in(ADMIN) == f"{ADMIN}\n"
        lab.login.run(["chmod", "700", folder])


@pytest.mark.usefixtures("images")
def test_a_temporary_folder_in_which_bob_may_rename(lab: Lab) -> None:
    """He could put a socket of his at the path of a connection, and answer for the node."""
    place = "/srv/scratch"
    lab.login.run(["install", "-d", "-m", "777", place])
    try:
        with held_deploy(lab, "1.0", folder=place) as (_, _, found):
            assert all(path.startswith("/tmp/") for path in found)
            assert lab.login.run(["ls", "-A", place]).stdout == ""
        with held_deploy(lab, folder=place, patch=_ANY_PLACE) as (_, _, found):
            (socket,) = found
            folder = str(Path(socket).parent)
            assert folder.startswith(place)
            exchange = f"mv {folder} {place}/away && mkdir -m 755 {folder} && touch {socket}"
            lab.login.run(exchange, user="bob")
            assert lab.login.run(["stat", "-c", "%U", socket], user=ADMIN).stdout == "bob\n"
            lab.login.run(f"rm -r {folder} && mv {place}/away {folder}")
    finally:
        lab.login.run(["rm", "-r", place])


def _left(lab: Lab) -> str:
    return "".join(find_leftovers(host, ADMIN) for host in (lab.login, lab.hosts[NODE]))


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("end", ["CONT", "INT", "TERM"])
def test_nothing_is_left(lab: Lab, end: str) -> None:
    with held_deploy(lab) as (_, pid, _):
        assert _left(lab) != ""
        os.kill(pid, getattr(signal, f"SIG{end}"))
        os.kill(pid, signal.SIGCONT)
    for host in (lab.login, lab.hosts[NODE]):
        wait_nothing_left(host, ADMIN)


@pytest.mark.usefixtures("images")
def test_nothing_is_left_of_a_failure(lab: Lab) -> None:
    with answers(lab.hosts[NODE], "/bin/false"):
        done = run_vizdash(lab, *_DEPLOY, "--version", "1.1", user=ADMIN, check=False)
        assert done.returncode == 1
        wait_nothing_left(lab.login, ADMIN)
    # The search would find what is left.
    patch = "node_connections.remove_private_folder = files.release_private_folder"
    argv = ["/opt/vizdash/bin/python", "-c", _PATCHED, patch, *_DEPLOY, "--version", "1.1"]
    lab.login.run(argv, user=ADMIN)
    left = find_leftovers(lab.login, ADMIN).split()
    assert len(left) == 1 and left[0].startswith("/tmp/vizdash-run_"), left
    lab.login.run(["rm", "-r", *left])


@pytest.mark.usefixtures("images")
def test_a_killed_deploy_leaves_an_empty_folder_until_the_next(lab: Lab) -> None:
    with held_deploy(lab) as (_, pid, (socket,)):
        os.kill(pid, signal.SIGKILL)
    folder = str(Path(socket).parent)
    wait_nothing_left(lab.hosts[NODE], ADMIN)
    wait_until(
        lambda: find_leftovers(lab.login, ADMIN).split() == [folder],
        "the end of ssh and of its socket",
        seen=lambda: find_leftovers(lab.login, ADMIN),
    )
    assert lab.login.run(["stat", "-c", "%a %U", folder]).stdout == f"700 {ADMIN}\n"
    lab.login.run(["touch", "-d", "2 hours ago", folder])
    run_vizdash(lab, *_DEPLOY, "--version", "1.1", user=ADMIN)
    wait_nothing_left(lab.login, ADMIN)
