"""Sites that reserve nodes or hide partitions: the form, the rows, and the output of verbs."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.lab.terminal import terminal
from tests.lab.verbs import list_sessions, run_vizdash, wait_for_state

ALL = "viz-node00[1-3]"


@contextlib.contextmanager
def reservation(lab: Lab, *words: str) -> Iterator[None]:
    """A reservation ``r``, for as long as this lasts."""
    create = ["scontrol", "create", "reservation", "ReservationName=r", *words]
    lab.login.run(create)
    try:
        yield
    finally:
        lab.login.run("scancel -u alice; true")
        lab.login.run(["scontrol", "delete", "ReservationName=r"])
        lab.wait_idle()


@contextlib.contextmanager
def maintenance(lab: Lab) -> Iterator[tuple[str, str]]:
    """Of all nodes, from 59 min from now on, for two hours; its times."""
    start = int(time.time()) + 59 * 60
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(start))
    words = (f"StartTime={when}", "Duration=120", f"Nodes={ALL}", "Users=root")
    with reservation(lab, *words, "Flags=MAINT,IGNORE_JOBS"):
        yield lab_clock(lab, start), lab_clock(lab, start + 7200)


def lab_clock(lab: Lab, at: int) -> str:
    return lab.login.run(["date", "-d", f"@{at}", "+%H:%M"]).stdout.strip()


@pytest.fixture
def plain(lab: Lab, site: None) -> Lab:
    return lab


def test_maintenance_is_shown_in_form_row_and_nodes(plain: Lab) -> None:
    lab = plain
    with maintenance(lab) as (start, end):
        pattern = re.compile(
            rf"maintenance from .*{start} to .*{end}; up to [45][0-9] min starts now"
        )
        done = run_vizdash(lab, "start", "plain", "--time", "2h")
        assert pattern.search(done.stderr), done.stderr
        mine = wait_for_state(lab, done.stdout.strip(), "pending")
        deadline = time.monotonic() + 120
        while not pattern.search(mine["reason"]):
            assert time.monotonic() < deadline, mine["reason"]
            time.sleep(0.3)
            (mine,) = [s for s in list_sessions(lab) if s["id"] == mine["id"]]
        table = run_vizdash(lab, "nodes").stdout
        assert len(pattern.findall(table)) == 3, table
        rows = json.loads(run_vizdash(lab, "nodes", "--json").stdout)["nodes"]
        assert all(r["reservations"][0]["maintenance"] for r in rows)
        form = re.compile(rf"○ {pattern.pattern}")
        for size in ((160, 48), (80, 24)):
            with terminal(lab.login, ["vizdash"], size=size) as screen:
                screen.wait("Nodes 3", seconds=180)
                screen.keys("1")
                screen.until(lambda seen: pattern.search(seen) is not None, "not at the node")
                screen.keys("n")
                screen.until(lambda seen: form.search(seen) is not None, "not in the form")
        short = run_vizdash(lab, "start", "plain", "--time", "30m", "--wait", "--json")
        assert json.loads(short.stdout)["session"]["state"] == "ready"


def test_a_node_that_is_reserved_for_others(plain: Lab) -> None:
    lab = plain
    words = ("StartTime=now", "Duration=60", "Nodes=viz-node002", "Users=bob")
    with reservation(lab, *words):
        message = "viz-node002 is reserved for bob until "
        output = run_vizdash(lab, "start", "plain", "--node", "viz-node002", "--test-only").stderr
        assert message in output
        done = run_vizdash(lab, "start", "plain", "--node", "viz-node002")
        assert message in done.stderr
        mine = wait_for_state(lab, done.stdout.strip(), "pending")
        deadline = time.monotonic() + 120
        while message not in mine["reason"]:
            assert time.monotonic() < deadline, mine["reason"]
            time.sleep(0.3)
            (mine,) = [s for s in list_sessions(lab) if s["id"] == mine["id"]]
        assert "reserved for bob until " in run_vizdash(lab, "nodes").stdout
        his = run_vizdash(
            lab, "start", "plain", "--reservation", "r", "--wait", "--json", user="bob"
        )
        session = json.loads(his.stdout)["session"]
        assert (session["state"], session["node"]) == ("ready", "viz-node002")
        run_vizdash(lab, "stop", session["id"], user="bob")
        wait_for_state(lab, session["id"], "ended", user="bob")


def test_a_hidden_partition_takes_sessions_and_is_not_named(plain: Lab) -> None:
    lab = plain
    hidden = ["PartitionName=secret", f"Nodes={ALL}", "Hidden=YES", "State=UP"]
    lab.login.run(["scontrol", "create", *hidden])
    try:
        done = run_vizdash(lab, "start", "plain", "--partition", "secret", "--wait", "--json")
        session = json.loads(done.stdout)["session"]
        assert (session["state"], session["partition"]) == ("ready", "secret")
        wrong = run_vizdash(lab, "start", "plain", "--partition", "secre", check=False)
        assert "partition 'secre' is not there" in wrong.stderr
        assert "secret" not in wrong.stderr
        run_vizdash(lab, "stop", session["id"])
        wait_for_state(lab, session["id"], "ended")
    finally:
        lab.login.run(["scontrol", "delete", "PartitionName=secret"])


def test_a_raw_argument_is_neither_promised_nor_refused(plain: Lab) -> None:
    """It would be refused by the default partition's limit, and the argument lifts that."""
    lab = plain
    roomy = ["PartitionName=roomy", f"Nodes={ALL}", "State=UP", "MaxTime=UNLIMITED"]
    lab.login.run(["scontrol", "create", *roomy])
    try:
        done = run_vizdash(lab, "start", "plain", "--time", "9h", "--", "-p", "roomy")
        assert "only the scheduler knows what fits with -p" in done.stderr
        (mine,) = [s for s in list_sessions(lab) if s["id"] == done.stdout.strip()]
        assert mine["partition"] == "roomy"
        run_vizdash(lab, "stop", mine["id"])
        wait_for_state(lab, mine["id"], "ended")
    finally:
        lab.login.run(["scontrol", "delete", "PartitionName=roomy"])
