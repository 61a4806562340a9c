"""A cluster with accounting: limits, roles and history are Slurm's own."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.lab import Lab
from tests.lab.vd import sessions, start, vizdash, wait_state

SMALL = ("--memory", "1G")


def refused(lab: Lab, *words: str, user: str = "alice") -> str:
    done = vizdash(lab, "start", "desktop", *words, user=user, check=False)
    assert done.returncode == 1, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def begin(lab: Lab, *words: str, user: str = "alice") -> dict[str, Any]:
    """A session that is handed in and not waited for."""
    done = vizdash(lab, "start", "desktop", *words, "--json", user=user)
    session: dict[str, Any] = json.loads(done.stdout)["session"]
    return session


def wait_reason(lab: Lab, session_id: str, words: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        (found,) = (s for s in sessions(lab) if s["id"] == session_id)
        if words in found["reason"]:
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


def test_more_time_than_the_qos_allows_is_refused(accounts: Lab) -> None:
    said = refused(accounts, "--qos", "brief", "--time", "1h")
    assert "more than the QOS allows a job: time" in said


def test_someone_elses_account_is_refused(accounts: Lab) -> None:
    said = refused(accounts, "--account", "science", user="bob")
    assert "you may not use this account" in said


def test_a_limit_of_all_makes_one_wait_and_says_so(accounts: Lab) -> None:
    first = start(accounts, "desktop", "--qos", "small", "--cpus", "3", *SMALL)
    second = begin(accounts, "--qos", "small", "--cpus", "2", *SMALL)
    wait_reason(accounts, second["id"], "all jobs of the QOS together have reached its limit")
    vizdash(accounts, "stop", first["id"])
    wait_state(accounts, second["id"], "ready")


def test_a_limit_of_the_user_makes_one_wait_and_says_so(accounts: Lab) -> None:
    first = start(accounts, "desktop", "--qos", "single", "--cpus", "1", *SMALL)
    second = begin(accounts, "--qos", "single", "--cpus", "1", *SMALL)
    wait_reason(accounts, second["id"], "more than the QOS allows a user: running jobs")
    vizdash(accounts, "stop", first["id"], second["id"])
