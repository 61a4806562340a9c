"""Slurm that does not answer: its own message reaches the user, in verbs and in the dashboard."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.lab import Lab
from tests.lab.terminal import terminal

Away = Callable[[Lab], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def no_controller(lab: Lab) -> Iterator[None]:
    lab.stop_slurmctld()
    try:
        yield
    finally:
        lab.login.run(["slurmctld"])
        lab.wait_idle()


@contextlib.contextmanager
def stopped_controller(lab: Lab) -> Iterator[None]:
    pid = (lab.login.root / "run/slurmctld.pid").read_text().strip()
    lab.login.run(["kill", "-STOP", pid])
    try:
        yield
    finally:
        lab.login.run(["kill", "-CONT", pid])
        lab.wait_idle()


@contextlib.contextmanager
def no_munge(lab: Lab) -> Iterator[None]:
    lab.login.run("pkill -x munged; while pgrep -x munged; do sleep 0.1; done")
    try:
        yield
    finally:
        lab.login.run("setpriv --reuid munge --regid munge --init-groups /usr/sbin/munged")
        lab.wait_idle()


@contextlib.contextmanager
def no_configuration(lab: Lab) -> Iterator[None]:
    """slurm.conf goes, as when the file system that it is on does."""
    place = "/etc/slurm/slurm.conf"
    lab.login.run(["mv", place, f"{place}.away"])
    try:
        yield
    finally:
        lab.login.run(["mv", f"{place}.away", place])
        lab.wait_idle()


@pytest.mark.parametrize(
    ("away", "words"),
    [
        (no_controller, "slurmctld does not answer"),
        (stopped_controller, "slurmctld did not answer in time"),
        (no_munge, "munge does not run on this host"),
        # Slurm itself says so at once, and then retries for a minute.
        (no_configuration, "its configuration /etc/slurm/slurm.conf can't be read: No such file"),
    ],
)
def test_slurm_does_not_answer(lab: Lab, away: Away, words: str) -> None:
    env = {"SLURM_CONF": "/etc/slurm/slurm.conf"}
    with terminal(lab.login, ["vizdash"], env=env, size=(180, 40)) as screen:
        screen.wait("viz-node003")
        with away(lab):
            done = lab.login.run(["vizdash", "sessions"], user="alice", env=env, check=False)
            assert done.returncode == 1
            assert done.stderr.startswith(f"vizdash: Slurm: {words}")
            assert len(done.stderr.splitlines()) == 1
            screen.keys("R")
            screen.wait(words, seconds=180)
        screen.keys("R")
        screen.wait(words, seconds=180, gone=True)


def test_a_configuration_that_is_nowhere(lab: Lab) -> None:
    done = lab.login.run(
        ["vizdash", "sessions"], user="alice", env={"SLURM_CONF": "/nonexist"}, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "vizdash: Slurm: its configuration /nonexist can't be read: No such file or directory "
        "(is SLURM_CONF right?)\n"
    )
