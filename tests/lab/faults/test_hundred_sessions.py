"""A hundred sessions at once on three nodes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.conftest import site_files
from tests.lab.faults.fault import Fault, Record, measuring
from tests.lab.faults.scene import rows
from tests.lab.terminal import terminal
from tests.lab.verbs import (
    list_sessions,
    open_session,
    run_vizdash,
    start_session,
    wait_nothing_left,
)

COUNT = 100


def lay(run: Path, host: str, upper: Path) -> None:
    """The nodes claim cores and memory for all sessions."""
    conf = upper / "etc/slurm/slurm.conf"
    text = re.sub(r"CPUs=\d+ RealMemory=\d+", "CPUs=40 RealMemory=40960", conf.read_text())
    conf.write_text(text)


@pytest.fixture
def wide_lab(can_lab: None) -> Iterator[Lab]:
    with Lab.start(lay=lay) as lab, site_files(lab):
        yield lab


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("fault", rows("a hundred sessions"))
def test_a_hundred(wide_lab: Lab, fault: Fault, record_property: Record) -> None:
    lab = wide_lab
    start = "vizdash start plain --cpus 1 --memory 200M --json"
    with (
        measuring(fault, record_property) as watch,
        terminal(lab.login, ["vizdash"], size=(180, 40)) as screen,
    ):
        screen.wait("Nodes 3")
        watch.start()
        many = f"seq {COUNT} | xargs -P 4 -I{{}} {start}"
        output = lab.login.run(many, user="alice", timeout=1200).stdout
        ids = {json.loads(line)["session"]["id"] for line in output.splitlines()}
        assert len(ids) == COUNT

        def ready() -> int:
            return sum(row["state"] == "ready" for row in list_sessions(lab))

        watch.wait_seen(lambda: ready() == COUNT, "ready sessions", lambda: str(ready()))
        screen.wait(f"Sessions {COUNT}")
        for session_id in sorted(ids)[:: COUNT // 3]:
            with open_session(lab, session_id) as url:
                page = lab.login.run(["curl", "-s", url.partition("#")[0]], user="alice").stdout
                assert "noVNC" in page
        watch.start()
        run_vizdash(lab, "stop", *ids, timeout=1200)
        watch.wait_recovered(lambda: ready() == 0, "end of all", lambda: str(ready()))
    lab.settle()
    # Where a hundred end at once on two cores, Slurm kills some before they have removed their
    # folders (KillWait): the next session of the user on that node does so.
    for node in lab.nodes:
        session = start_session(lab, "plain", "--node", node.name)
        run_vizdash(lab, "stop", session["id"])
        lab.settle()
        wait_nothing_left(node)
