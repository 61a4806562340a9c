"""Jobs of others, whatever they call themselves, leave the listing right and the screen clean."""

from __future__ import annotations

import re

from tests.lab import Lab
from tests.lab.vd import sessions, start, vizdash

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
    mine = start(lab, "desktop", "--cpus", "1", "--memory", "1G")
    forged = mine["id"]
    claim = f"vizdash/1 id={forged} app=desktop image=1.0 state=failed step=app"
    argv = ["sbatch", "--parsable", "-n1", "--mem=100", f"--comment={claim}", "--wrap=sleep 600"]
    lab.login.run(argv, user="bob")
    (own,) = [s for s in sessions(lab) if s["state"] != "ended"]
    assert own["id"] == mine["id"]
    assert own["state"] == "ready"
    everyone = sessions(lab, "alice", "--all")
    assert [s["user"] for s in everyone if s["id"] == forged].count("alice") == 1
    for session in everyone:
        assert session["mine"] == (session["user"] == "alice")
        assert re.fullmatch(r"[0-9a-f]{8}", session["id"])
        assert session["state"] in {"pending", "starting", "ready", "ending", "ended"}
    # The forged claim does not touch the owner's own session.
    assert vizdash(lab, "stop", forged).returncode == 0
    users = lab.login.run(["squeue", "-h", "-o", "%u"]).stdout.split()
    assert "alice" not in users
    assert users.count("bob") == len(taken) + 1


def test_the_screen_stays_clean(lab: Lab) -> None:
    submit_hostile(lab)
    for words in (("sessions", "--all"), ("nodes",), ("sessions", "--all", "--json")):
        text = vizdash(lab, *words).stdout
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    lines = vizdash(lab, "sessions", "--all").stdout.splitlines()
    assert all(len(line) < 400 for line in lines)
