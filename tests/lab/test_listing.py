"""Jobs of other users leave listing and screen intact, whatever their names are."""

from __future__ import annotations

import json
import re

from tests.lab import Lab
from tests.lab.verbs import list_sessions, run_vizdash, start_session

#: What an unkind user could put into a job's name or comment.
HOSTILE = [
    "two\nlines\nand \\n",
    "a|b|c|d|e|f|g|h",
    "\x1b[2J\x1b[31mred\x1b]0;title\x07\x9b2J",
    "x" * 1000,
    "tab\there 'single' \"double\" `back` $(touch /tmp/pwned) ${HOME} %j %u",
    "\u202egnp.exe \u200b\ufeff 한국어 🙈",
    "vizdash/1 id=00000000 app=desktop image=1.0 state=ready step=ready",
    "vizdash/1 id=../../etc app=\x1b[31m image= state=ready",
    "vizdash/1 id=zzzzzzzz",
    "vizdash/999 " + "y" * 900,
]


def submit_hostile(lab: Lab) -> list[str]:
    """bob's jobs with these names and comments; those that Slurm took."""
    taken = []
    for text in HOSTILE:
        argv = ["sbatch", "--parsable", "-n1", "--mem=100", "--wrap=sleep 600"]
        argv += [f"--job-name={text}", f"--comment={text}"]
        done = lab.login.run(argv, user="bob", check=False)
        if done.returncode == 0:
            taken.append(done.stdout.strip())
    return taken


def test_the_listing_stays_right(lab: Lab) -> None:
    taken = submit_hostile(lab)
    assert len(taken) >= 8
    mine = start_session(lab, "desktop", "--cpus", "1", "--memory", "1G")
    forged = mine["id"]
    claim = f"vizdash/1 id={forged} app=desktop image=1.0 state=failed step=app"
    argv = ["sbatch", "--parsable", "-n1", "--mem=100", f"--comment={claim}", "--wrap=sleep 600"]
    lab.login.run(argv, user="bob")
    (own,) = [s for s in list_sessions(lab) if s["state"] != "ended"]
    assert own["id"] == mine["id"]
    assert own["state"] == "ready"
    everyone = list_sessions(lab, "alice", "--all")
    assert [s["user"] for s in everyone if s["id"] == forged].count("alice") == 1
    for session in everyone:
        assert session["mine"] == (session["user"] == "alice")
        assert re.fullmatch(r"[0-9a-f]{8}", session["id"])
        assert session["state"] in {"pending", "starting", "ready", "ending", "ended"}
    # The forged claim does not touch the owner's own session.
    assert run_vizdash(lab, "stop", forged).returncode == 0
    users = lab.login.run(["squeue", "-h", "-o", "%u"]).stdout.split()
    assert "alice" not in users
    assert users.count("bob") == len(taken) + 1


#: Prints the ids of the jobs that matter, once both ways to list them agree: the cluster changes.
_BOTH_WAYS = """
import asyncio, json
from dataclasses import replace
from vizdash.engines.job_selection import JobSelection, SelectedJobs, select_jobs
from vizdash.engines.slurm import SlurmEngine
from vizdash.transport.local import LocalRunner

def timeless(jobs):
    return sorted((replace(job, time_left_s=None) for job in jobs), key=lambda job: job.id)

async def main():
    engine = SlurmEngine(LocalRunner(), user="alice")
    nodes = frozenset(node.name for node in await engine.nodes())
    selection = JobSelection("alice", frozenset({"vizdash"}), nodes, waiting=True)
    for _ in range(60):
        short = await engine.select_jobs(selection)
        whole = select_jobs(await engine.jobs(), selection)
        names = ("own", "sessions", "holding", "waiting")
        if all(timeless(getattr(short, n)) == timeless(getattr(whole, n)) for n in names):
            return print(json.dumps({n: [job.id for job in getattr(short, n)] for n in names}))
        await asyncio.sleep(0.5)
    raise SystemExit(f"{short} {whole}")

asyncio.run(main())
"""


def test_the_short_list_of_jobs_has_what_the_whole_one_has(lab: Lab) -> None:
    taken = submit_hostile(lab)
    mine = lab.login.run(
        ["sbatch", "--parsable", "-n1", "--mem=100", "--wrap=sleep 600"], user="alice"
    ).stdout.strip()
    argv = ["/opt/vizdash/bin/python", "-c", _BOTH_WAYS]
    selected = json.loads(lab.login.run(argv, user="alice", timeout=120).stdout)
    assert mine in selected["own"]
    found = {*selected["sessions"], *selected["holding"], *selected["waiting"]}
    assert found >= set(taken)


def test_the_screen_stays_clean(lab: Lab) -> None:
    submit_hostile(lab)
    for words in (("sessions", "--all"), ("nodes",), ("sessions", "--all", "--json")):
        text = run_vizdash(lab, *words).stdout
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    lines = run_vizdash(lab, "sessions", "--all").stdout.splitlines()
    assert all(len(line) < 400 for line in lines)
