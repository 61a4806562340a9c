"""A file system fills, hangs or cannot be written while a user works with a session."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.hung_folder import HANG
from tests.lab import Lab
from tests.lab.faults.fault import Fault, Record, measuring
from tests.lab.faults.scene import NODE, Make, Scene, at_work, follow, rows
from tests.lab.mounts import filled, read_only, shared_tmpfs
from tests.lab.verbs import run_vizdash

HOME = "/home/alice"
#: Room for a session and the dashboard, as a user's home on all hosts.
_SMALL_HOME = "size=2m,mode=700,uid=1000,gid=1000"


@contextlib.contextmanager
def full_home(scene: Scene) -> Iterator[None]:
    login = scene.lab.login
    fill = "cat /dev/zero >full; : 2>/dev/null; cat /dev/zero >fuller"
    login.run(fill, user="alice", check=False)
    try:
        yield
    finally:
        login.run("rm full fuller", user="alice")


@contextlib.contextmanager
def read_only_home(scene: Scene) -> Iterator[None]:
    with read_only(scene.lab.login, HOME):
        yield


@contextlib.contextmanager
def full_tmp(scene: Scene) -> Iterator[None]:
    with filled(scene.node, "/tmp", "/var/tmp", "/dev/shm"):
        yield


MADE: dict[str, Make] = {
    "home full": full_home,
    "home read-only": read_only_home,
    "/tmp of a node full": full_tmp,
}


@pytest.fixture
def small_home(lab: Lab) -> Iterator[None]:
    with shared_tmpfs((lab.login, *lab.nodes), HOME, _SMALL_HOME):
        yield
        lab.settle()


@pytest.mark.parametrize("fault", rows(*MADE))
def test_a_start_names_it(
    lab: Lab, site: None, small_home: None, fault: Fault, record_property: Record
) -> None:
    words = ("start", "plain", "--node", NODE, "--wait")
    with at_work(lab) as scene, measuring(fault, record_property) as watch:
        watch.start()
        with MADE[fault.name](scene):
            done = run_vizdash(lab, *words, check=False)
            assert done.returncode == 1
            shown = done.stderr.splitlines()[-1]
            watch.wait_seen(
                lambda: all(word in shown for word in fault.words), "cause", shown.strip
            )
            assert scene.listed_session()["state"] == "ready"
        watch.start()
        second = run_vizdash(lab, *words).stdout.strip()
        watch.wait_recovered(lambda: True, "recovery")
        run_vizdash(lab, "stop", second)
        scene.wait_alone()
        scene.check_nothing_lost()


@contextlib.contextmanager
def stale_home(scene: Scene) -> Iterator[None]:
    login = scene.lab.login
    login.run(["python3", "-c", HANG, HOME])
    try:
        yield
        scene.screen.keys("?")
        scene.screen.wait("esc closes")
        scene.screen.keys("Escape")
        scene.screen.wait("esc closes", gone=True)
    finally:
        # The kernel answers what waits when the last one who could is gone (fuse(4)).
        login.run("pkill -KILL -f '^python3 -c .*dev/fuse'; true")
        login.run(["umount", "--lazy", HOME])


@pytest.mark.parametrize("fault", rows("home stale"))
def test_a_stale_home(lab: Lab, site: None, fault: Fault, record_property: Record) -> None:
    with at_work(lab) as scene:
        follow(scene, fault, stale_home, record_property)
