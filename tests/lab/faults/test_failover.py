"""The first of two controllers is lost, or relieved, while a user works with a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.lab import Host, Lab
from tests.lab.faults.failover import lab_with_backup
from tests.lab.faults.fault import BOUND_S, Fault, Record, measuring
from tests.lab.faults.scene import Scene, at_work, rows
from tests.lab.verbs import open_session, run_vizdash, start_session
from tests.waiting import wait_until

_KILLED = "pkill -KILL -x slurmctld; while pgrep -x slurmctld; do sleep 0.1; done"


@pytest.fixture
def controllers(can_lab: None) -> Iterator[tuple[Lab, Host]]:
    with lab_with_backup() as found:
        yield found
        found[0].settle()


def kill_primary(lab: Lab) -> None:
    lab.login.run(_KILLED)


def take_over(lab: Lab) -> None:
    lab.login.run(["scontrol", "takeover"])


LOSES: dict[str, Callable[[Lab], None]] = {
    "slurmctld fails over": kill_primary,
    "slurmctld taken over": take_over,
}


def backup_answers(backup: Host) -> bool:
    """Whether the backup is in control: its log is the only one that says so."""
    log = (backup.root / "var/log/slurmctld.log").read_text(errors="replace")
    lines = [line for line in log.splitlines() if "unning as primary controller" in line]
    return bool(lines)


def works(scene: Scene) -> bool:
    """Whether verbs and the dashboard show the session as before."""
    return (
        scene.listed_session().get("state") == "ready"
        and scene.shows("● ready")
        and not scene.shows("retrying")
    )


@pytest.mark.parametrize("fault", rows(*LOSES))
def test_the_backup_takes_over(
    controllers: tuple[Lab, Host], fault: Fault, record_property: Record
) -> None:
    lab, backup = controllers
    with at_work(lab) as scene, measuring(fault, record_property) as watch:
        watch.start()
        LOSES[fault.name](lab)
        wait_until(lambda: backup_answers(backup), "the backup in control", BOUND_S)
        watch.wait_recovered(lambda: works(scene), "an answer", scene.screen.text)
        scene.check_nothing_lost()
        with open_session(lab, scene.session["id"]) as url:
            page = lab.login.run(["curl", "-s", url.partition("#")[0]], user="alice").stdout
        assert "noVNC" in page
        # Under the backup, all works.
        other = start_session(lab, "plain", "--node", "viz-node003")
        run_vizdash(lab, "stop", other["id"])
        scene.wait_alone()
        # The primary takes control back when it starts.
        lab.login.run(f"{_KILLED}; slurmctld")
        wait_until(lambda: works(scene), "an answer of the first", BOUND_S, scene.screen.text)
        scene.check_nothing_lost()
