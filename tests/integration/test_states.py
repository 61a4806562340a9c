"""Sessions live and end in any order of events, and the state shown is the truth.

A hypothesis state machine on the local engine, with real desktops: sessions are started (also from
each other's desktops), their apps quit, their parts are killed, they are stopped and suspended, the
home fills up. After every event what vizdash shows is compared with what must be, and what is there
with what belongs to sessions that live. ``make states`` runs more of it (VIZDASH_STATES).
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.integration.machine import Machine
from tests.integration.test_session import configure
from tests.waiting import wait_until

#: Runs of the machine, and events in each.
RUNS = int(os.environ.get("VIZDASH_STATES", "4"))
EVENTS = 8
#: Seconds in which all must be settled: generous, for a busy machine.
SETTLES = 180
#: An app that does what is written to its pipe. The pipe may end without a word, when it is opened
#: again before the last writer has closed it.
APP = """\
apps:
  obeys:
    runtime: host
    host_command: >-
      openbox & xterm & mkfifo ~/pipe.$VIZDASH_SESSION_ID;
      while :; do read -r word rest <~/pipe.$VIZDASH_SESSION_ID || continue;
      case $word in
      quit) echo "told to end" >&2; exit $rest;;
      start) vizdash start obeys --wait >~/started.$rest & ;;
      esac; done
    resources: {cores: 1, memory: 64M, time: 1h}
"""
#: Patterns of a part's command line, and how its session ends when the part is killed.
PARTS = {
    "Xvnc": (r"^[^ ]*Xvnc .*{id}", "xvnc", "Xvnc ended with code 137 (signal KILL)"),
    "websockify": (r"websockify", "websockify", "websockify ended with"),
    "app": (r"^[^ ]*bash -c .*pipe", "app", "the app ended with code 137 (signal KILL)"),
    "inner script": (
        r"bash (-p )?{folder}/inner.sh",
        "ready",
        "its first process ended with code 137",
    ),
    "job script": (r"^[^ ]*bash .*/{id}/script", "ready", "the job script was killed"),
    "supervisor": (r"supervise.sh .*/{id} ", "ready", "the session's supervisor was killed"),
}


#: What every status file holds, whatever its session's state and whichever process wrote it last.
STATUS = {"STATE", "STEP", "RESULT", "ERROR", "UPDATED", "NODE", "JOB_ID", "READY"}


@dataclass
class Expected:
    """What must be shown of a session."""

    state: str = "ready"
    result: str = ""
    step: str = ""
    error: str = ""
    suspended: bool = False


class Sessions(RuleBasedStateMachine):
    """The model: what each session must be, and a machine on which it is."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine()
        self.expected: dict[str, Expected] = {}
        self.cores = min(3, len(os.sched_getaffinity(0)))
        self.full = False
        self.started = 0

    @initialize(random=st.randoms(use_true_random=True))
    def set_up(self, random: Random) -> None:
        """A small home, and what belongs to no session. What is picked, and which part is killed
        next, is ``random``'s: hypothesis alone would try the first of each again and again.
        """
        self.random = random
        self.parts = random.sample(sorted(PARTS), len(PARTS))
        home, user = self.machine.home, self.machine.user
        self.machine.run(
            f"mount -t tmpfs -o size=4m,mode=700,uid=$(id -u {user}),gid=$(id -g {user}) "
            f"home {home} && mkdir -m 700 /tmp/vizdash-00000001.AAAAAAAA",
            root=True,
        )
        configure(self.machine, APP)
        self.machine.run(
            "setsid -f sleep 54321 >/dev/null 2>&1; "
            "mkdir /tmp/vizdash-mine; touch /tmp/vizdash-mine/file"
        )
        # Most can go wrong where one session was started from another's desktop.
        self.start()
        if self.cores > 1:
            self.start_from(self.living()[0])

    # ------------------------------------------------------------------ events
    # Every event can happen at any time (what it lacks is made first): hypothesis leaves some of
    # them out of each run, and gives a run up in which none of the others can happen.

    def living(self) -> list[str]:
        return [id for id, session in self.expected.items() if session.state == "ready"]

    def awake(self) -> list[str]:
        return [id for id in self.living() if not self.expected[id].suspended]

    def one_awake(self) -> str:
        """A session whose app follows the test's commands."""
        if not self.living():
            self.start()
        if not self.awake():
            self.suspend_or_resume()
        return self.random.choice(self.awake())

    def one(self) -> str:
        """A session that lives."""
        if not self.living():
            self.start()
        return self.random.choice(self.living())

    def make_room(self) -> None:
        if len(self.living()) == self.cores:
            self.stop()
            self.shown_is_true()

    @rule()
    def any_event(self) -> None:
        """The rule that hypothesis takes first, because of its name: one of the others."""
        others = (
            self.fill_or_free_the_home,
            self.kill,
            self.kill,
            self.quit,
            self.start,
            self.start_from_a_desktop,
            self.stop,
            self.suspend_or_resume,
        )
        self.random.choice(others)()

    @rule()
    def start(self) -> None:
        """From a terminal of the user's own; with a full home that fails and says why."""
        self.make_room()
        if self.full and self.random.random() < 0.5:
            done = self.machine.vizdash("start", "obeys", "--wait", check=False)
            assert done.returncode == 1, done
            assert "Traceback" not in done.stderr
            assert "No space left on device" in done.stderr, done.stderr
            # What a stopped session left behind may be room enough to begin, not to run.
            if begun := re.search(r"session (\w{8}) is job", done.stderr):
                self.expected[begun[1]] = Expected("ended")
        if self.full:
            self.fill_or_free_the_home()
        done = self.machine.vizdash("start", "obeys", "--wait", "--json")
        self.expected[json.loads(done.stdout)["session"]["id"]] = Expected()

    @rule()
    def start_from_a_desktop(self) -> None:
        if self.cores > 1:
            self.make_room()
            if self.full:
                self.fill_or_free_the_home()
            if len(self.living()) < self.cores:
                self.start_from(self.one_awake())

    def start_from(self, session: str) -> None:
        self.started += 1
        output = self.machine.outside(f"~/started.{self.started}")
        self.tell(session, f"start {self.started}")
        wait_until(
            lambda: output.exists() and output.read_text().count("\n") > 0
            and not any("bin/vizdash start" in line for line in self.machine.processes()),
            "session from a desktop", SETTLES,
        )  # fmt: skip
        self.expected[output.read_text().strip()] = Expected()

    def tell(self, session: str, words: str) -> None:
        self.machine.run(["timeout", "180", "bash", "-c", f"echo {words} >~/pipe.{session}"])

    @rule()
    def quit(self) -> None:
        session, code = self.one_awake(), self.random.choice([0, 3])
        self.tell(session, f"quit {code}")
        error = "" if code == 0 else "the app ended with code 3: told to end"
        self.ends(session, "failed" if code else "finished", "app" if code else "", error)

    @rule()
    def kill(self) -> None:
        session, part = self.one(), self.parts[0]
        self.parts = [*self.parts[1:], part]
        pattern, step, error = PARTS[part]
        (folder,) = self.machine.outside("/tmp").glob(f"vizdash-{session}.*")
        found = pattern.format(id=session, folder=f"/tmp/{folder.name}")
        pids = self.pids(session, found)
        assert pids, (part, self.machine.processes())
        for pid in pids:  # the others may end with the first
            self.machine.run(["kill", "-KILL", pid], root=True, check=pid == pids[0])
        self.ends(session, "failed", step, error)

    def pids(self, session: str, pattern: str) -> list[str]:
        """The processes of one session whose command line matches."""
        script = (
            f"for pid in $(pgrep -f -- '{pattern}'); do "
            f"grep -qszE '(SESSION_ID|SUPERVISOR_OF)={session}' /proc/$pid/environ && echo $pid; "
            "done; true"
        )
        return self.machine.run(script, root=True).stdout.split()

    @rule()
    def stop(self) -> None:
        session = self.one()
        self.machine.vizdash("stop", session, check=not self.full)
        self.ends(session, "cancelled", "", "")

    @rule()
    def suspend_or_resume(self) -> None:
        """The app alone: its desktop answers."""
        session = self.expected[id := self.one()]
        session.suspended = not session.suspended
        signal = "STOP" if session.suspended else "CONT"
        pids = self.pids(id, "^[^ ]*bash -c .*pipe")
        self.machine.run(["kill", f"-{signal}", *pids], root=True)

    @rule()
    def fill_or_free_the_home(self) -> None:
        self.full = not self.full
        script = "head -c 9M /dev/zero >fill 2>/dev/null; true" if self.full else "rm fill"
        self.machine.run(script)

    def ends(self, session: str, result: str, step: str, error: str) -> None:
        # With a full home the result cannot be written; that it ended is still seen.
        self.expected[session] = (
            Expected("ended") if self.full else Expected("ended", result, step, error)
        )

    # ------------------------------------------------------------------ what must hold

    def wrong(self) -> list[str]:
        """What is not as it must be."""
        found: list[str] = []
        shown: dict[str, dict[str, Any]] = {s["id"]: s for s in self.machine.sessions()}
        if shown.keys() != self.expected.keys():
            return [f"shown are {sorted(shown)}, not {sorted(self.expected)}"]
        for id, must in self.expected.items():
            has = shown[id]
            if has["state"] != must.state:
                found.append(f"{id} is {has['state']}, not {must.state}")
            elif must.result and (
                (has["result"], has["step"]) != (must.result, must.step)
                or not has["error"].startswith(must.error)
            ):
                found.append(f"{has} is not {must}")
        return found + self.left()

    def left(self) -> list[str]:
        """What exists and should not, or should exist and does not."""
        processes = self.machine.processes()
        living = set(self.living())
        found = []
        if sum("sleep 54321" in line for line in processes) != 1:
            found.append("the bystander was ended")
        if sum(line.split(" ")[1].endswith("Xvnc") for line in processes) != len(living):
            found.append("there are more or fewer X servers than sessions")
        if not living:
            found += [line for line in processes if "sleep 54321" not in line]
        names = {path.name for path in self.machine.outside("/tmp").iterdir()}
        folders = {name for name in names if name.startswith("vizdash-")}
        kept = {"vizdash-00000001.AAAAAAAA", "vizdash-mine"}
        if not kept <= folders or {n[8:16] for n in folders - kept} != living:
            found.append(f"folders are {sorted(folders)}")
        sockets = self.machine.outside("/tmp/.X11-unix")
        count = len(list(sockets.iterdir())) if sockets.exists() else 0
        if count != len(living):
            found.append(f"{count} X sockets for {len(living)} sessions")
        found += [
            f"{id} has a connection file"
            for id in self.expected.keys() - living
            if self.machine.outside(f"~/.local/state/vizdash/sessions/{id}/connection").exists()
        ]
        return found + self.lost()

    def lost(self) -> list[str]:
        """Status files that were replaced by less: each of these sessions was ready once."""
        found = []
        for id in self.expected:
            text = self.machine.outside(f"~/.local/state/vizdash/sessions/{id}/status").read_text()
            keys = {line.partition("=")[0] for line in text.splitlines()}
            if not text.endswith("\n") or STATUS - keys:
                found.append(f"the status of {id} is {text!r}")
        return found

    @invariant()
    def shown_is_true(self) -> None:
        seen: list[str] = []

        def right() -> bool:
            seen[:] = self.wrong()
            return not seen

        wait_until(right, "true state", SETTLES, lambda: "; ".join(seen))

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:  # else a first failure would be hidden by a second
                self.stop_all()
        finally:
            self.machine.stop()

    def stop_all(self) -> None:
        # One of them with a full home, which may take the last words that a session has.
        if self.living():
            if not self.full:
                self.fill_or_free_the_home()
            self.stop()
            self.shown_is_true()
        if self.full:
            self.fill_or_free_the_home()
        for session in self.living():
            self.machine.vizdash("stop", session)
            self.ends(session, "cancelled", "", "")
        self.shown_is_true()


@pytest.mark.timeout(600 * RUNS)
def test_states_are_true_and_nothing_is_left(can_run: None) -> None:
    run_state_machine_as_test(
        Sessions,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=EVENTS + 1,  # and set_up
            derandomize=True,
            database=None,
            deadline=None,
            print_blob=False,
            report_multiple_bugs=False,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
        _min_steps=EVENTS,  # else the first run has none
    )  # fmt: skip
