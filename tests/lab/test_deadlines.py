"""Time limits and waiting jobs in the real program: choices before a limit, expected starts."""

from __future__ import annotations

import re

from tests.lab import Lab
from tests.lab.terminal import terminal
from tests.lab.test_accounting import SMALL, begin, one
from tests.lab.verbs import list_sessions, start_session

#: Wide enough for the whole note of a session.
SIZE = (160, 48)
WARNING = "press w for options"


def limit_s(lab: Lab, session_id: str, user: str) -> int:
    (found,) = (s for s in list_sessions(lab, user) if s["id"] == session_id)
    return int(found["time_limit_s"])


def test_the_choices_before_the_time_limit(accounts: Lab) -> None:
    """A session of five minutes is warned of at half of them."""
    theirs = start_session(accounts, "desktop", "--time", "5m", *SMALL, user="vizadmin")
    own = start_session(accounts, "desktop", "--time", "5m", *SMALL)
    with (
        terminal(accounts.login, ["vizdash"], user="vizadmin", size=SIZE) as operator,
        terminal(accounts.login, ["vizdash"], size=SIZE) as owner,
    ):
        operator.wait(WARNING, seconds=300)
        operator.keys("w")
        operator.wait("Extend it by 5 min")
        operator.keys("e")
        operator.wait(WARNING, gone=True)
        assert limit_s(accounts, theirs["id"], "vizadmin") == 600
        # A user gets the request in the clipboard; an operator's request is carried out.
        owner.tmux("set-option", "-s", "set-clipboard", "on")
        owner.wait(WARNING)
        owner.keys("w")
        assert "Extend it" not in owner.wait("Dismiss")
        owner.keys("r")
        owner.wait("the request is copied")
        request = owner.tmux("show-buffer").strip()
        assert own["id"] in request
        wanted = f"scontrol update JobId={own['job_id']} TimeLimit=10"
        assert request.endswith(f": {wanted}")
        accounts.login.run(wanted, user="vizadmin")
        assert limit_s(accounts, own["id"], "alice") == 600
        # Or the same again, beside it.
        owner.keys("w")
        owner.wait("Dismiss")
        owner.keys("a")
        owner.wait("enter starts")
        owner.keys("Enter")
        owner.wait("press o to open", seconds=180)
        live = [s for s in list_sessions(accounts) if s["state"] != "ended"]
        (again,) = (s for s in live if s["id"] != own["id"])
        for what in ("app", "cores", "memory_mib", "gpus", "partition"):
            assert again[what] == own[what], what


def test_a_session_that_waits_says_when_it_starts(accounts: Lab) -> None:
    """By Slurm's own plan, that its backfill scheduler makes (slurm.conf(5), bf_interval)."""
    node = ("--node", "viz-node002", "--memory", "12G")
    first = start_session(accounts, "desktop", "--time", "1h", *node)
    second = begin(accounts, "--time", "1h", *node)
    with terminal(accounts.login, ["vizdash"], size=SIZE) as screen:
        row = re.compile(r"pending +desktop.* in 5\d min: ")
        screen.until(lambda seen: bool(row.search(seen)), "no expected start in its row", 180)
        screen.wait("starts in about 5")
    end = one(accounts, first["id"])["started_at"] + 3600
    assert abs(one(accounts, second["id"])["expected_start_at"] - end) <= 120
