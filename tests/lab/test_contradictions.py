"""A session whose comment, home or job state contradict each other."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Lab, recipe
from tests.lab.browser import desktop
from tests.lab.mounts import hidden, read_only, replaced, shared_tmpfs
from tests.lab.test_session import BLUE
from tests.lab.verbs import (
    list_sessions,
    open_session,
    run_vizdash,
    start_session,
    wait_for_state,
    wait_nothing_left,
)

SITES_OWN = "project=4711"
HOME = "/home/alice"
NODE = "viz-node002"


def folder(lab: Lab, session_id: str, root: str = f"{HOME}/.local/state/vizdash/sessions") -> Path:
    return lab.login.root / root.lstrip("/") / session_id


def started(lab: Lab, *words: str) -> dict[str, Any]:
    """A session that is not waited for."""
    done = run_vizdash(lab, "start", "plain", "--json", *words)
    found: dict[str, Any] = json.loads(done.stdout)["session"]
    return found


def live(lab: Lab, user: str = "alice", *words: str) -> list[dict[str, Any]]:
    """Those that wait or run."""
    return [s for s in list_sessions(lab, user, *words) if s["state"] != "ended"]


def comment(lab: Lab, session: dict[str, Any]) -> str:
    done = lab.login.run(["squeue", "-h", "-t", "all", "-j", str(session["job_id"]), "-o", "%k"])
    return done.stdout.strip()


# ---------------------------------------------------------------------- the comment


@pytest.mark.parametrize("scontrol", ["exit 1", "sleep 1000"], ids=["refused", "hangs"])
def test_a_job_without_scontrol_gets_ready_opens_and_ends(
    lab: Lab, site: None, scontrol: str
) -> None:
    with replaced(lab.nodes, "/usr/bin/scontrol", f"#!/bin/sh\n{scontrol}\n"):
        session = start_session(lab, "plain")
        assert " state=pending " in comment(lab, session)
        with open_session(lab, session["id"]) as url, desktop(url, lab.login) as seen:
            seen.wait_share((0x20, 0x60, 0x40))
        assert "ready on" in run_vizdash(lab, "logs", session["id"]).stdout
        run_vizdash(lab, "stop", session["id"])
        ended = wait_for_state(lab, session["id"], "ended")
        assert ended["result"] == "cancelled"
        # The last words are in the folder: nothing waited for scontrol until slurmd's KILL.
        assert "STATE=ended\n" in (folder(lab, session["id"]) / "status").read_text()
        wait_nothing_left(lab.hosts[session["node"]])


def test_a_comment_that_was_refused_is_sent_again(lab: Lab, site: None) -> None:
    """The first update of each job fails, the second one is taken."""
    once = (
        "#!/bin/sh\nmark=/tmp/refused-$SLURM_JOB_ID\n"
        'if [ ! -e "$mark" ]; then : >"$mark"; exit 1; fi\n'
        'rm -f "$mark"\nexec /usr/bin/scontrol.real "$@"\n'
    )
    with contextlib.ExitStack() as stack:
        for host in lab.nodes:
            host.run("cp /usr/bin/scontrol /usr/bin/scontrol.real")
            stack.callback(host.run, "rm -f /usr/bin/scontrol.real")
        stack.enter_context(replaced(lab.nodes, "/usr/bin/scontrol", once))
        session = start_session(lab, "plain")
        deadline = time.monotonic() + 120
        while " state=ready " not in comment(lab, session):
            assert time.monotonic() < deadline, comment(lab, session)
            time.sleep(0.2)
        # A bystander, for whom the comment is all there is, sees it as ready too.
        assert live(lab, "bob", "--all")[0]["state"] == "ready"


@pytest.fixture
def rewritten(lab: Lab) -> Iterator[None]:
    """A site whose job_submit plugin takes the comment for itself."""
    place = lab.login.root / "etc/slurm/job_submit.lua"
    old = place.read_text()
    mark = "function slurm_job_submit(job, partitions, uid)\n"
    assert mark in old
    place.write_text(old.replace(mark, f'{mark}   job.comment = "{SITES_OWN}"\n'))
    yield
    place.write_text(old)


def test_where_a_site_takes_the_comment(lab: Lab, site: None, rewritten: None) -> None:
    waiting = started(lab, "--", "--hold")
    assert comment(lab, waiting) == SITES_OWN
    (seen,) = live(lab)
    assert (seen["id"], seen["job_id"]) == (waiting["id"], waiting["job_id"])
    assert (seen["state"], seen["app"]) == ("pending", "plain")
    lab.login.run(["scontrol", "release", str(waiting["job_id"])])
    ready = wait_for_state(lab, str(waiting["id"]), "ready")
    with open_session(lab, ready["id"]) as url, desktop(url, lab.login) as page:
        page.wait_share((0x20, 0x60, 0x40))
    # It is the site's: the job leaves it alone. Others see what the job's name says.
    assert comment(lab, waiting) == SITES_OWN
    (bystander,) = live(lab, "bob", "--all")
    assert (bystander["id"], bystander["app"]) == (ready["job_id"], "plain")
    assert bystander["state"] == "unknown"
    run_vizdash(lab, "stop", ready["id"])
    assert wait_for_state(lab, ready["id"], "ended")["result"] == "cancelled"
    assert comment(lab, waiting) == SITES_OWN


def test_the_users_identity_does_not_depend_on_their_environment(lab: Lab, site: None) -> None:
    session = start_session(lab, "plain")
    env = {"LOGNAME": "alice", "USER": "alice"}
    done = lab.login.run(["vizdash", "sessions", "--json", "--all"], user="bob", env=env)
    (found,) = [s for s in json.loads(done.stdout)["sessions"] if s["id"] == session["id"]]
    assert found["user"] == "alice"
    own = lab.login.run(["vizdash", "sessions", "--json"], user="bob", env=env)
    assert session["id"] not in own.stdout


# ---------------------------------------------------------------------- the folder


@pytest.fixture
def small_home(lab: Lab) -> Iterator[None]:
    """A home of one MiB, the same on all hosts."""
    options = "size=1m,mode=700,uid=1000,gid=1000"
    with shared_tmpfs((lab.login, *lab.nodes), HOME, options):
        yield


def fill(lab: Lab) -> None:
    lab.login.run("cat /dev/zero >full; cat /dev/zero >fuller", user="alice", check=False)


@contextlib.contextmanager
def full(lab: Lab) -> Iterator[None]:
    """Keeps it full: whatever is freed is taken at once."""
    fill(lab)
    take = "exec 2>/dev/null; while :; do echo >>fuller; done"
    with lab.login.popen(take, user="alice") as taker:
        try:
            yield
        finally:
            taker.terminate()


def test_a_full_home_is_named_before_anything_is_submitted(
    lab: Lab, site: None, small_home: None
) -> None:
    fill(lab)
    done = run_vizdash(lab, "start", "plain", check=False)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert live(lab) == []


def test_a_home_that_fills_before_the_job_runs(lab: Lab, site: None, small_home: None) -> None:
    session = started(lab, "--", "--hold")
    fill(lab)
    lab.login.run(["scontrol", "release", str(session["job_id"])])
    done = run_vizdash(lab, "open", str(session["id"]), check=False)
    assert done.returncode == 1
    ended = wait_for_state(lab, str(session["id"]), "ended")
    assert (ended["result"], ended["step"]) == ("failed", "folder")
    assert ended["error"] == f"no space left in {HOME} on {ended['node']}"
    assert ended["error"] in done.stderr
    # Bystanders know it too: the comment has what the folder could not take.
    others = {s["id"]: s for s in list_sessions(lab, "bob", "--all")}
    assert others[session["id"]]["error"] == ended["error"]


def test_a_home_that_fills_while_the_session_runs(lab: Lab, site: None, small_home: None) -> None:
    session = start_session(lab, "plain")
    before = (folder(lab, session["id"]) / "status").read_text()
    with full(lab):
        with open_session(lab, session["id"]) as url, desktop(url, lab.login) as page:
            page.wait_share((0x20, 0x60, 0x40))
        status = (folder(lab, session["id"]) / "status").read_text()
        ready = next(line for line in before.splitlines() if line.startswith("READY="))
        assert "STATE=ready" in status
        assert ready in status
        assert live(lab)[0]["state"] == "ready"
        run_vizdash(lab, "stop", session["id"])
        wait_for_state(lab, session["id"], "ended")
        status = (folder(lab, session["id"]) / "status").read_text()
    assert "STATE=ended" in status
    assert ready in status
    left = {path.name for path in folder(lab, session["id"]).iterdir()}
    assert not {name for name in left if "reserve" in name}


def test_a_home_that_is_read_only_on_the_node(lab: Lab, site: None) -> None:
    with read_only(lab.hosts[NODE], HOME):
        done = run_vizdash(lab, "start", "plain", "--node", NODE, "--wait", check=False)
        ended = list_sessions(lab)[0]
    assert done.returncode == 1
    assert ended["result"] == "failed"
    why = f"/home/alice is read-only on {NODE}"
    assert ended["error"] == why
    assert why in done.stderr


@pytest.fixture
def scratch(lab: Lab) -> Iterator[None]:
    """A site whose nodes have no homes, and a place that all hosts have."""
    place = lab.login.root / "etc/vizdash"
    place.mkdir()
    text = (recipe.FILES / "site.yaml").read_text()
    line = "  lab: {ready_timeout: 10m}\n"
    assert line in text
    line = "  lab: {ready_timeout: 10m, state_dir: /scratch/%u/vizdash}\n"
    (place / "config.yaml").write_text(text.replace("  lab: {ready_timeout: 10m}\n", line))
    with contextlib.ExitStack() as stack:
        stack.callback((place / "config.yaml").unlink)
        stack.enter_context(hidden(lab.nodes, "/home"))
        hosts = (lab.login, *lab.nodes)
        stack.enter_context(shared_tmpfs(hosts, "/scratch", "size=64m,mode=1777"))
        yield
    place.rmdir()


@pytest.mark.parametrize(("app", "colour"), [("desktop", BLUE), ("plain", (0x20, 0x60, 0x40))])
def test_nodes_without_homes(
    lab: Lab, scratch: None, app: str, colour: tuple[int, int, int]
) -> None:
    session = start_session(lab, app)
    place = folder(lab, session["id"], "/scratch/alice/vizdash/sessions")
    modes = [path.stat().st_mode & 0o777 for path in (place, *place.parents[:3])]
    assert modes == [0o700] * 4
    with open_session(lab, session["id"]) as url, desktop(url, lab.login) as seen:
        seen.wait_share(colour)
    log = run_vizdash(lab, "logs", session["id"]).stdout
    assert "using /scratch/alice/vizdash/home instead" in log
    run_vizdash(lab, "stop", session["id"])
    assert wait_for_state(lab, session["id"], "ended")["result"] == "cancelled"
    wait_nothing_left(lab.hosts[session["node"]])
    assert not (
        lab.login.root / f"home/alice/.local/state/vizdash/sessions/{session['id']}"
    ).exists()


@pytest.mark.parametrize("trap", ["mkdir /scratch/alice", "ln -s /tmp /scratch/alice"])
def test_a_folder_that_another_user_made_before_is_not_used(
    lab: Lab, scratch: None, trap: str
) -> None:
    lab.login.run(trap, user="bob")
    done = run_vizdash(lab, "start", "plain", check=False)
    assert done.returncode == 1
    assert "/scratch/alice" in done.stderr
    assert "it is a link, or not yours" in done.stderr
    assert live(lab) == []


def test_a_folder_that_root_has_linked_for_the_user_is_used(lab: Lab, scratch: None) -> None:
    lab.login.run("chmod 755 /scratch; mkdir /scratch/fs3")
    lab.login.run("install -d -o alice -m 700 /scratch/fs3/alice; ln -s fs3/alice /scratch/alice")
    session = start_session(lab, "plain")
    assert folder(lab, session["id"], "/scratch/fs3/alice/vizdash/sessions").is_dir()
    run_vizdash(lab, "stop", session["id"])
    assert wait_for_state(lab, session["id"], "ended")["result"] == "cancelled"


# ---------------------------------------------------------------------- the job's run


def test_a_suspended_session_is_shown_as_suspended(lab: Lab, site: None) -> None:
    session = start_session(lab, "plain")
    lab.login.run(["scontrol", "suspend", session["job_id"]])
    wait_for_state(lab, session["id"], "suspended")
    done = run_vizdash(lab, "open", session["id"], check=False)
    assert done.returncode == 1
    assert "its job is suspended" in done.stderr
    lab.login.run(["scontrol", "resume", session["job_id"]])
    wait_for_state(lab, session["id"], "ready")


def test_a_requeued_job_starts_from_nothing(lab: Lab, site: None) -> None:
    session = start_session(lab, "plain")
    job, first = session["job_id"], folder(lab, session["id"])
    before = (first / "connection").read_text()
    lab.login.run(
        f"scontrol update JobId={job} Requeue=1; scontrol requeue {job}; scontrol hold {job}"
    )
    wait_for_state(lab, session["id"], "pending")
    assert run_vizdash(lab, "open", session["id"], "--timeout", "1", check=False).returncode == 1
    # The second run is held before it is ready: what it shows then is its own.
    held = lab.login.root / "home/alice/held"
    held.touch()
    stuck = "#!/bin/sh\nwhile [ -e /home/alice/held ]; do sleep 0.1; done\n"
    with replaced(lab.nodes, "/usr/bin/getent", stuck):
        lab.login.run(f"scontrol update JobId={job} StartTime=now; scontrol release {job}")
        found = wait_for_state(lab, session["id"], "starting", seconds=180)
        assert found["job_id"] == job
        for _ in range(5):
            assert live(lab)[0]["state"] == "starting"
        assert not (first / "connection").exists()
        assert "READY=" not in (first / "status").read_text()
        held.unlink()
    wait_for_state(lab, session["id"], "ready", seconds=180)
    assert (first / "connection").read_text() != before
