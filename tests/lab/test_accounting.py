"""A cluster with accounting: limits, roles and history are Slurm's own."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.lab import Lab
from tests.lab.verbs import list_sessions, run_vizdash, start_session, wait_for_state

SMALL = ("--memory", "1G")


def refused(lab: Lab, *words: str, user: str = "alice") -> str:
    done = run_vizdash(lab, "start", "desktop", *words, user=user, check=False)
    assert done.returncode == 1, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def begin(lab: Lab, *words: str, user: str = "alice") -> dict[str, Any]:
    """A session that is handed in and not waited for."""
    done = run_vizdash(lab, "start", "desktop", *words, "--json", user=user)
    session: dict[str, Any] = json.loads(done.stdout)["session"]
    return session


def one(lab: Lab, session_id: str) -> dict[str, Any]:
    (found,) = (s for s in list_sessions(lab) if s["id"] == session_id)
    return found


def wait_reason(lab: Lab, session_id: str, words: str, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while True:
        found = one(lab, session_id)
        if words in found["reason"]:
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


def test_more_time_than_the_qos_allows_is_refused(accounts: Lab) -> None:
    output = refused(accounts, "--qos", "brief", "--time", "1h")
    assert "more than the QOS allows a job: time" in output


def test_a_qos_may_allow_more_time_than_the_partition(accounts: Lab) -> None:
    output = refused(accounts, "--time", "9h")
    assert "9 h requested, but partition viz allows 8 h at most" in output
    session = begin(accounts, "--qos", "long", "--time", "9h", "--cpus", "1", *SMALL)
    assert one(accounts, session["id"])["time_limit_s"] == 9 * 3600
    wait_for_state(accounts, session["id"], "ready")


def test_someone_elses_account_is_refused(accounts: Lab) -> None:
    output = refused(accounts, "--account", "science", user="bob")
    assert "you may not use this account" in output


def test_a_limit_for_all_makes_a_session_wait_with_its_reason(accounts: Lab) -> None:
    first = start_session(accounts, "desktop", "--qos", "small", "--cpus", "3", *SMALL)
    second = begin(accounts, "--qos", "small", "--cpus", "2", *SMALL)
    wait_reason(accounts, second["id"], "all jobs of the QOS together have reached its limit")
    run_vizdash(accounts, "stop", first["id"])
    wait_for_state(accounts, second["id"], "ready")


def test_a_limit_of_the_user_makes_a_session_wait_with_its_reason(accounts: Lab) -> None:
    first = start_session(accounts, "desktop", "--qos", "single", "--cpus", "1", *SMALL)
    second = begin(accounts, "--qos", "single", "--cpus", "1", *SMALL)
    wait_reason(accounts, second["id"], "more than the QOS allows a user: running jobs")
    run_vizdash(accounts, "stop", first["id"], second["id"])


def test_an_operator_extends_what_its_owner_may_not(accounts: Lab) -> None:
    session = start_session(accounts, "desktop", "--time", "30m", *SMALL)
    denied = run_vizdash(accounts, "extend", session["id"], "1h", check=False)
    assert denied.returncode == 1
    assert f"scontrol update JobId={session['job_id']} TimeLimit=90" in denied.stderr
    assert "only Slurm's operators may" in denied.stderr
    other = run_vizdash(accounts, "extend", session["id"], "1h", user="bob", check=False)
    assert "there is no such session of yours" in other.stderr
    run_vizdash(accounts, "extend", session["id"], "1h", user="vizadmin")
    assert one(accounts, session["id"])["time_limit_s"] == 90 * 60


def test_an_operators_message_shows_on_the_desktop(accounts: Lab) -> None:
    session = start_session(accounts, "desktop", *SMALL)
    words = "100% full: save -- now & 저장 'please' \\x41 $(id)"
    run_vizdash(accounts, "message", session["id"], words, user="vizadmin")
    node = accounts.hosts[session["node"]]
    deadline = time.monotonic() + 120
    while f"Message: {words}" not in node.run("pgrep -u alice -a xmessage; true").stdout:
        assert time.monotonic() < deadline, "the message is not shown"
        time.sleep(0.2)
    now = one(accounts, session["id"])
    assert (now["state"], now["note"], now["viewers"]) == ("ready", "", 0)
    denied = run_vizdash(accounts, "message", session["id"], "hello", user="bob", check=False)
    assert denied.returncode == 2  # bob knows of no such session


def test_stopped_with_a_note_that_its_owner_reads(accounts: Lab) -> None:
    session = start_session(accounts, "desktop", *SMALL)
    note = "node goes down for repair at 18:00"
    run_vizdash(accounts, "stop", session["id"], "--note", note, user="vizadmin")
    ended = wait_for_state(accounts, session["id"], "ended")
    assert (ended["result"], ended["note"]) == ("cancelled", note)
    assert note in run_vizdash(accounts, "sessions").stdout


def test_who_may_drain(accounts: Lab) -> None:
    for user, who in (("alice", "you may not"), ("vizadmin", "an operator may not")):
        denied = run_vizdash(
            accounts, "drain", "viz-node003", "--reason", "x", user=user, check=False
        )
        assert denied.returncode == 1
        assert who in denied.stderr
        # Slurm says the same.
        asked = "scontrol update NodeName=viz-node003 State=DRAIN Reason=x"
        assert accounts.login.run(asked, user=user, check=False).returncode != 0
    reason = "fan 2 failed; 교체 | on Thursday"
    run_vizdash(accounts, "drain", "viz-node003", "--reason", reason, user="root")
    nodes = json.loads(run_vizdash(accounts, "nodes", "--json").stdout)["nodes"]
    (drained,) = (n for n in nodes if n["name"] == "viz-node003")
    assert drained["state"] == "drained"
    assert drained["reason"].startswith(reason)
    run_vizdash(accounts, "resume", "viz-node003", user="root")
    again = run_vizdash(accounts, "resume", "viz-node003", user="root", check=False)
    assert "the node's state does not allow it" in again.stderr


def test_what_ended_is_known_when_slurmctld_has_forgotten(
    accounts: Lab, accounts_site: None
) -> None:
    done = start_session(accounts, "desktop", *SMALL)
    run_vizdash(accounts, "stop", done["id"], "--note", "enough")
    failed = run_vizdash(accounts, "start", "broken", "--wait", check=False)
    assert failed.returncode == 1
    conf = accounts.login.root / "etc/slurm/slurm.conf"
    whole = conf.read_text()
    # slurmctld forgets at once from here on.
    conf.write_text(whole.replace("MinJobAge=300", "MinJobAge=2"))
    accounts.login.run(["scontrol", "reconfigure"])
    try:
        deadline = time.monotonic() + 300
        while accounts.login.run(["squeue", "-h", "-t", "all"]).stdout:
            assert time.monotonic() < deadline, "slurmctld does not forget"
            time.sleep(1)
        assert list_sessions(accounts) == []
        found = ended(accounts)
        (stopped,) = (s for s in found if s["id"] == done["id"])
        assert (stopped["state"], stopped["result"]) == ("ended", "cancelled")
        assert (stopped["note"], stopped["node"]) == ("enough", done["node"])
        assert stopped["started_at"] <= stopped["ended_at"] <= time.time() + 5
        latest = found[0]
        assert (latest["app"], latest["result"], latest["step"]) == ("broken", "failed", "app")
        assert "no licence server" in latest["error"]
        # bob sees his own only, and has none.
        assert ended(accounts, "bob") == []
    finally:
        conf.write_text(whole)
        accounts.login.run(["scontrol", "reconfigure"])


def ended(lab: Lab, user: str = "alice") -> list[dict[str, Any]]:
    done = run_vizdash(lab, "sessions", "--ended", "--json", user=user)
    assert done.stderr == ""
    found: list[dict[str, Any]] = json.loads(done.stdout)["sessions"]
    return found


def test_without_accounting_it_says_what_is_not_known(lab: Lab) -> None:
    session = start_session(lab, "desktop", *SMALL)
    run_vizdash(lab, "stop", session["id"])
    wait_for_state(lab, session["id"], "ended")
    done = run_vizdash(lab, "sessions", "--ended", "--json")
    assert "known for 5 min: cluster lab keeps no accounting" in done.stderr
    assert session["id"] in {s["id"] for s in json.loads(done.stdout)["sessions"]}
    nobody = run_vizdash(lab, "extend", session["id"], "1h", check=False)
    assert "it has ended" in nobody.stderr
    # root is an operator without any accounting.
    running = start_session(lab, "desktop", "--time", "30m", *SMALL)
    run_vizdash(lab, "extend", running["id"], "30m", user="root")
    assert one(lab, running["id"])["time_limit_s"] == 3600


def test_when_it_would_start(accounts: Lab) -> None:
    node = ("--node", "viz-node002", "--memory", "12G")
    now = json.loads(
        run_vizdash(accounts, "start", "desktop", *node, "--test-only", "--json").stdout
    )
    assert now["test"]["fits_now"]
    first = start_session(accounts, "desktop", "--time", "1h", *node)
    later = json.loads(
        run_vizdash(accounts, "start", "desktop", *node, "--test-only", "--json").stdout
    )
    end = one(accounts, first["id"])["started_at"] + 3600
    assert not later["test"]["fits_now"]
    assert abs(later["test"]["expected_start_at"] - end) <= 120
    assert "nothing is free now: starts about" in later["test"]["words"]
    denied = run_vizdash(
        accounts, "start", "desktop", "--qos", "brief", "--time", "1h", "--test-only", check=False
    )
    assert "more than the QOS allows a job: time" in denied.stderr
    assert [s["id"] for s in list_sessions(accounts) if s["state"] != "ended"] == [first["id"]]
