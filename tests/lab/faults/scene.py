"""A user at work when a fault comes: a dashboard in a terminal, and a session on a node."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab import Host, Lab
from tests.lab.faults.fault import Fault, Record, measuring
from tests.lab.faults.table import BY_NAME
from tests.lab.terminal import TmuxPane, terminal
from tests.lab.verbs import list_sessions, run_vizdash, start_session
from tests.waiting import wait_until

#: The node of the session.
NODE = "viz-node002"
#: What the fault is made with: it lasts while this is entered.
Make = Callable[["Scene"], AbstractContextManager[object]]


@dataclass
class Scene:
    """A session of alice's that is ready, and her dashboard, which shows it."""

    lab: Lab
    session: dict[str, Any]
    screen: TmuxPane
    #: What the session's log said.
    log: str
    #: Its processes on the node.
    processes: frozenset[str]

    @property
    def node(self) -> Host:
        """The session's node."""
        return self.lab.hosts[NODE]

    def shows(self, *words: str) -> bool:
        """Whether all of the words are on the screen, whatever lines they are wrapped into."""
        text = " ".join(self.screen.text().split())
        return all(word in text for word in words)

    def listed_session(self) -> dict[str, Any]:
        """The session as ``vizdash sessions`` lists it; {} if it does not."""
        done = run_vizdash(self.lab, "sessions", "--json", check=False)
        if done.returncode != 0:
            return {}
        rows = list_sessions(self.lab)
        return next((row for row in rows if row["id"] == self.session["id"]), {})

    def check_nothing_lost(self) -> None:
        """The session is the one of before: the same job, desktop and log, and no other job."""
        row = self.listed_session()
        same = ("id", "job_id", "node", "app", "state")
        assert {key: row.get(key) for key in same} == {key: self.session[key] for key in same}
        assert desktop_processes(self.node) >= self.processes
        assert run_vizdash(self.lab, "logs", row["id"]).stdout.startswith(self.log)
        assert self.jobs() == [self.session["job_id"]]

    def jobs(self) -> list[str]:
        """The ids of alice's jobs."""
        return self.lab.login.run(["squeue", "-h", "-u", "alice", "-o", "%i"]).stdout.split()

    def wait_alone(self) -> None:
        """Wait until the session's is the only job."""
        wait_until(
            lambda: len(self.jobs()) == 1, "end of other jobs", seen=lambda: str(self.jobs())
        )


def desktop_processes(node: Host) -> frozenset[str]:
    """The ids of what makes up the desktops on a node."""
    return frozenset(node.run("pgrep -u alice 'Xvnc|websockify|openbox'; true").stdout.split())


def rows(*names: str) -> list[Any]:
    """Faults as parameters of a test."""
    return [pytest.param(BY_NAME[name], id=name) for name in names]


@contextlib.contextmanager
def at_work(lab: Lab) -> Iterator[Scene]:
    """Start the session and the dashboard, at its usual pace."""
    session = start_session(lab, "plain", "--node", NODE)
    log = run_vizdash(lab, "logs", session["id"]).stdout
    with terminal(lab.login, ["vizdash"], size=(180, 40)) as screen:
        scene = Scene(lab, session, screen, log, desktop_processes(lab.hosts[NODE]))
        screen.wait("● ready")
        yield scene


def follow(scene: Scene, fault: Fault, make: Make, record: Record) -> None:
    """Make a fault that the dashboard shows by itself, end it, and wait until the dashboard shows
    the session as before.
    """
    with measuring(fault, record) as watch:
        watch.start()
        with make(scene):
            watch.wait_seen(lambda: scene.shows(*fault.words), fault.name, scene.screen.text)
        watch.start()
        watch.wait_recovered(
            lambda: scene.shows("● ready") and not scene.shows(*fault.words),
            f"recovery from {fault.name}",
            scene.screen.text,
        )
        scene.check_nothing_lost()
