"""The lab on the command line: ``python -m tests.lab probe|up|laptop|shell|build|clean``."""

from __future__ import annotations

import shutil
import subprocess
import sys

from tests.lab import Lab, probe, recipe
from tests.lab.cluster import sweep
from tests.lab.images import build_service_images
from tests.lab.outside import LAPTOP_USER, outside_network
from tests.lab.root import say

_HELP = """python -m tests.lab COMMAND
  probe   print whether the lab can run here, and if not, which call failed
  up      start the cluster and open vizdash on its login host, as alice
  laptop  the same, but vizdash runs on a laptop that reaches only login's sshd
  shell   start the cluster and open a shell on its login host
  build   build the parts of the lab without starting it
  clean   remove the cache and what killed runs left"""


def _inside(command: str) -> int:
    with Lab.start() as lab:
        hosts = ", ".join(f"{h.name} {h.address}" for h in lab.hosts.values())
        say(f"up: {hosts}; users alice, bob, vizadmin (sudo)")
        argv = lab.login.argv(["script", "-qec", command, "/dev/null"], user="alice")
        return subprocess.call(argv)


def _outside() -> int:
    with Lab.start() as lab, outside_network(lab) as outside:
        say(f"up: laptop {outside.laptop.name}, user {LAPTOP_USER}; alice@login is the cluster")
        command = ["script", "-qec", "vizdash --host alice@login", "/dev/null"]
        return subprocess.call(outside.laptop.argv(command, user=LAPTOP_USER))


def main(words: list[str]) -> int:
    """Run one command; exit code 2 if it is unknown."""
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
        root, _ = Lab.build()
        build_service_images(root)
        return 0
    if command == "clean":
        say(f"swept runs: {sweep()}")
        shutil.rmtree(recipe.CACHE, ignore_errors=True)
        return 0
    print(_HELP, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
