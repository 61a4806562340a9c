"""Leases: an ordinary user extends a session, which ends itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Lab
from tests.lab.verbs import list_sessions, run_vizdash, start_session, wait_for_state
from tests.waiting import wait_until

_SITE = """
clusters:
  lab: {ready_timeout: 10m, lease: {max: 10m}}
apps:
  plain:
    runtime: host
    host_command: "xsetroot -solid '#206040'; exec openbox"
    resources: {cores: 1, memory: 1G, time: 5m}
"""


@contextlib.contextmanager
def config(lab: Lab, text: str) -> Iterator[Path]:
    place = lab.login.root / "etc/vizdash/config.yaml"
    place.parent.mkdir(parents=True)
    place.write_text(text)
    try:
        yield place
    finally:
        place.unlink()
        place.parent.rmdir()


@pytest.fixture
def leases(lab: Lab) -> Iterator[Lab]:
    with config(lab, _SITE):
        yield lab


def limits(lab: Lab, job_id: str) -> str:
    shown = lab.login.run(["scontrol", "--oneliner", "show", "job", job_id]).stdout
    return " ".join(word for word in shown.split() if word.startswith("Time"))


def leased(lab: Lab, *words: str) -> dict[str, Any]:
    """A ready session with a limit beyond its lease. Backfill may give a job no more than its least
    time limit, as while nodes come up or still end a job: then the next one is tried, once no
    node does.
    """
    for _ in range(8):
        session = start_session(lab, *words)
        if session["time_limit_s"] > session["lease_s"]:
            return session
        run_vizdash(lab, "stop", session["id"])
        lab.wait_idle(states=("idle", "mixed", "allocated"))
    raise AssertionError(f"Slurm gives no more than the lease: {limits(lab, session['job_id'])}")


def seconds(lab: Lab, user: str = "alice") -> int:
    return int(lab.login.run(["date", "+%s"], user=user).stdout)


def folder_of(session: dict[str, Any]) -> str:
    return f"/home/alice/.local/state/vizdash/sessions/{session['id']}"


def end_of_lease(lab: Lab, session: dict[str, Any]) -> int:
    text = lab.login.run(["cat", f"{folder_of(session)}/lease"], user="alice").stdout
    return int(text.strip().removeprefix("LEASE_END="))


def row(lab: Lab, session_id: str, user: str = "alice") -> dict[str, Any]:
    (found,) = (s for s in list_sessions(lab, user, "--all") if s["id"] == session_id)
    return found


def test_the_time_of_a_suspension_does_not_count(leases: Lab) -> None:
    lab = leases
    session = leased(lab, "plain")
    end = end_of_lease(lab, session)
    lab.login.run(["scontrol", "suspend", session["job_id"]])
    before = wait_for_state(lab, session["id"], "suspended")["lease_left_s"]
    time.sleep(40)
    assert before - 3 <= row(lab, session["id"])["lease_left_s"] <= before
    lab.login.run(["scontrol", "resume", session["job_id"]])
    wait_until(lambda: end_of_lease(lab, session) >= end + 38, "the later end")
    after = row(lab, session["id"])
    left = end_of_lease(lab, session) - seconds(lab)
    assert left - 3 <= after["lease_left_s"] <= left + 3
    assert before - 20 <= after["lease_left_s"] <= before + 3
    run_vizdash(lab, "stop", session["id"])


def test_an_ordinary_user_extends_a_session_that_then_ends_itself(leases: Lab) -> None:
    lab = leases
    session = leased(lab, "plain")
    before, limit = limits(lab, session["job_id"]), session["time_limit_s"]
    assert "TimeMin=00:05:00" in before
    assert session["lease_s"] == 300 < limit <= 600
    assert 0 < session["lease_left_s"] <= 300
    lease_end = end_of_lease(lab, session)
    done = run_vizdash(lab, "extend", session["id"], "1m")
    assert "the lease of session" in done.stderr
    assert end_of_lease(lab, session) == lease_end + 60
    longer = row(lab, session["id"])
    assert session["lease_left_s"] - 300 < longer["lease_left_s"] <= 360
    # Others see the lease's length, and cannot change its end.
    assert row(lab, session["id"], "bob")["lease_left_s"] is None
    assert run_vizdash(lab, "extend", session["id"], "1m", user="bob", check=False).returncode == 2
    # No further than the limit; then a request to an operator is printed.
    run_vizdash(lab, "extend", session["id"], "5h")
    full = run_vizdash(lab, "extend", session["id"], "1m", check=False)
    assert full.returncode == 1
    assert "has reached the job's time limit" in full.stderr
    assert limits(lab, session["job_id"]) == before
    # The end of a lease is what its file says: in two minutes, which is warned of, and then now.
    folder = folder_of(session)
    lab.login.run(f"echo LEASE_END={seconds(lab) + 140} >{folder}/lease", user="alice")
    warning = "shown on the desktop: The lease of this session ends in"
    wait_until(lambda: warning in run_vizdash(lab, "logs", session["id"]).stdout, "warning")
    end_at = seconds(lab)
    lab.login.run(f"echo LEASE_END={end_at} >{folder}/lease", user="alice")
    ended = wait_for_state(lab, session["id"], "ended")
    assert limits(lab, session["job_id"]) == before
    assert (ended["result"], ended["error"]) == ("timed out", "its lease is over")
    assert ended["ended_at"] >= end_at
    listed = run_vizdash(lab, "sessions", "--ended").stdout
    (line,) = (text for text in listed.splitlines() if session["id"] in text)
    assert line.endswith("timed out: its lease is over")
    assert "lease" not in lab.login.run(["ls", folder], user="alice").stdout.split()


def test_the_limit_is_that_of_the_qos(accounts: Lab) -> None:
    """QOS brief allows 30 minutes (and refuses more), association and partition hours."""
    site = _SITE.replace("max: 10m", "max: 4h")
    words = ("plain", "--time", "20m", "--qos")
    with config(accounts, site):
        brief, normal = leased(accounts, *words, "brief"), leased(accounts, *words, "normal")
        assert "TimeMin=00:20:00" in limits(accounts, brief["job_id"])
        assert brief["lease_s"] == normal["lease_s"] == 1200
        assert 1200 < brief["time_limit_s"] <= 1800
        assert 1200 < normal["time_limit_s"] <= 4 * 3600


def test_the_limit_is_that_of_the_default_qos(accounts: Lab) -> None:
    """Neither the user nor the site names a QOS: the association has a default one."""
    change = "sacctmgr -iQ modify user alice set DefaultQOS="
    accounts.login.run(f"{change}brief")
    try:
        with config(accounts, _SITE.replace("max: 10m", "max: 4h")):
            session = leased(accounts, "plain", "--time", "20m")
            assert session["qos"] == "brief"
            assert 1200 < session["time_limit_s"] <= 1800
    finally:
        accounts.settle()
        accounts.login.run(f"{change}-1")


def test_the_limit_is_that_of_the_partitions_qos(accounts: Lab) -> None:
    sacctmgr = "sacctmgr -iQ"
    accounts.login.run(f"{sacctmgr} add qos hidden set Flags=DenyOnLimit MaxWall=25")
    conf = accounts.login.root / "etc/slurm/slurm.conf"
    whole = conf.read_text()
    conf.write_text(whole.replace("PartitionName=viz ", "PartitionName=viz QOS=hidden ", 1))
    try:
        accounts.login.run(["scontrol", "reconfigure"])
        with config(accounts, _SITE.replace("max: 10m", "max: 4h")):
            session = leased(accounts, "plain", "--time", "20m")
            assert 1200 < session["time_limit_s"] <= 1500
            run_vizdash(accounts, "extend", session["id"], "1h")
            full = run_vizdash(accounts, "extend", session["id"], "1h", check=False)
            assert f"scontrol update JobId={session['job_id']} TimeLimit=" in full.stderr
    finally:
        accounts.settle()
        conf.write_text(whole)
        accounts.login.run(["scontrol", "reconfigure"])
        accounts.login.run(f"{sacctmgr} delete qos hidden")
