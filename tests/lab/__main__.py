"""The lab for people: ``python -m tests.lab probe | up | laptop | shell | build | clean``."""

from __future__ import annotations

import shutil
import subprocess
import sys

from tests.lab import Lab, probe, recipe
from tests.lab.campus import PERSON, campus
from tests.lab.cluster import sweep
from tests.lab.root import say

_HELP = """python -m tests.lab COMMAND
  probe   say whether the lab can run here, and if not, which call failed
  up      bring the cluster up and open vizdash on its login host, as alice
  laptop  the same, but vizdash runs on a laptop outside that reaches only login's sshd
  shell   bring the cluster up and open a shell there instead
  build   build what the lab is made of, without starting it
  clean   remove what killed runs left, and the cache"""


def _inside(command: str) -> int:
    with Lab.start() as lab:
        hosts = ", ".join(f"{h.name} {h.address}" for h in lab.hosts.values())
        say(f"up: {hosts}; users alice, bob, vizadmin (sudo)")
        argv = lab.login.argv(["script", "-qec", command, "/dev/null"], user="alice")
        return subprocess.call(argv)


def _outside() -> int:
    with Lab.start() as lab, campus(lab) as outside:
        say(f"up: laptop {outside.laptop.name}, user {PERSON}; alice@login is the cluster")
        command = ["script", "-qec", "vizdash --host alice@login", "/dev/null"]
        return subprocess.call(outside.laptop.argv(command, user=PERSON))


def main(words: list[str]) -> int:
    """Run one command; exit code 2 for an unknown one."""
    command = words[0] if words else ""
    if command in {"up", "laptop", "shell", "build"} and (problems := probe()):
        say("; ".join(problems))
        return 1
    if command == "probe":
        problems = probe()
        print("\n".join(problems) or "the lab can run here")
        return 1 if problems else 0
    if command == "up":
        return _inside("vizdash")
    if command == "laptop":
        return _outside()
    if command == "shell":
        return _inside("bash -l")
    if command == "build":
        Lab.build()
        return 0
    if command == "clean":
        say(f"swept runs: {sweep()}")
        shutil.rmtree(recipe.CACHE, ignore_errors=True)
        return 0
    print(_HELP, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
