"""From the key to a ready desktop, on the lab's real cluster: vizdash against the same job by hand.

By hand: the very script that vizdash would send, rendered beforehand, handed to sbatch by a shell
script that looks for the connection file every 0.1 s. vizdash has to do the rest as well: start
Python, ask what fits, make the folder. The bar is by hand + 0.3 s.
"""

from __future__ import annotations

import time

from bench.sides import Sides, in_turn, row
from tests.lab import Lab, probe
from tests.lab.root import say

ALLOWED_S = 0.3
_PYTHON = "/opt/vizdash/bin/python"
#: Renders a job as vizdash does, and prints the shell commands that submit it and wait.
_RENDER = """
import asyncio, shlex
from vizdash.config import load
from vizdash.service.factory import connect
from vizdash.engines.slurm.commands import sbatch
from vizdash.model import SessionRequest
from vizdash.sessions.last_request import build_request
from vizdash.sessions import folder, submit
from vizdash.sessions.start_plan import resolve_plan
config, _ = load()
app = config.apps["desktop"]
image = submit.image_path(app, config.cluster, "")
plan = resolve_plan(build_request(app, {}), app, config.cluster, runtime="apptainer", image=image)
place = folder.make_folder(plan.session_id)
job = submit.build_job_request(plan, config.cluster, engine="slurm", folder=str(place))
command = sbatch(job)
(place / "script").write_text(command.input)
print(shlex.join(command.argv) + f" <{shlex.quote(str(place))}/script")
print(f"until [ -s {shlex.quote(str(place))}/connection ]; do sleep 0.1; done")
"""


def _seconds(lab: Lab, command: list[str] | str) -> float:
    began = time.perf_counter()
    lab.login.run(command, user="alice", timeout=120)
    took = time.perf_counter() - began
    lab.login.run(["scancel", "--user=alice"])
    while lab.login.run(["squeue", "-h", "-u", "alice"]).stdout.strip():
        time.sleep(0.2)
    return took


def by_hand(lab: Lab) -> float:
    """Seconds from sbatch to the connection file."""
    lines = lab.login.run([_PYTHON, "-c", _RENDER], user="alice").stdout
    return _seconds(lab, f"set -e\n{lines}")


def by_vizdash(lab: Lab) -> float:
    """Seconds that ``vizdash start desktop --wait`` takes."""
    return _seconds(lab, ["vizdash", "start", "desktop", "--wait"])


def run(rounds: int = 5) -> Sides | None:
    """Bring the lab up and start sessions in turn."""
    if problems := probe():
        say(f"not measured, no lab here: {'; '.join(problems)}")
        return None
    with Lab.start() as lab:
        by_vizdash(lab), by_hand(lab)  # what is read for the first time is cached
        sides = in_turn(lambda: by_vizdash(lab), lambda: by_hand(lab), rounds)
    bar = sides.their_median + ALLOWED_S
    held = "held" if sides.our_median <= bar else "NOT HELD"
    note = f"\n  the bar, by hand + {ALLOWED_S:g} s, is {bar:.2f} s: {held}"
    row("vizdash start desktop --wait", sides, "the same script, sbatch, a loop", note)
    return sides
