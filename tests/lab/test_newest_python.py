"""Wheel and sdist on the newest Python of Debian (the lab has 3.13, this machine perhaps 3.11)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.lab import recipe
from tests.lab.newest_python import Guest, newest_python

VIZDASH = "/opt/vizdash/bin/vizdash"
PIP = ["/opt/vizdash/bin/pip", "install", "-q", "--no-index", "--find-links", "/var/wheelhouse"]


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def guest(
    request: pytest.FixtureRequest, can_lab: None, tmp_path_factory: pytest.TempPathFactory
) -> Guest:
    """A system in which vizdash was installed from its wheel, or built from its sdist."""
    kind: str = request.param
    folder = tmp_path_factory.mktemp(kind)
    build = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder / "dist")]
    subprocess.run(build, cwd=recipe.CHECKOUT, check=True, capture_output=True)
    (built,) = (folder / "dist").iterdir()
    guest = Guest(newest_python(), folder)
    guest.add(built, f"/root/{built.name}")
    guest.run("python3", "-m", "venv", "/opt/vizdash")
    guest.run(*PIP, "hatchling")
    guest.run(*PIP, "--no-build-isolation", f"/root/{built.name}")
    return guest


def test_verbs_run(guest: Guest) -> None:
    assert "version 0.1.0" in guest.run(VIZDASH, "--version").stdout
    apps = json.loads(guest.run(VIZDASH, "apps", "--json").stdout)["apps"]
    assert {app["name"] for app in apps} >= {"desktop", "gedit", "paraview"}
    nodes = json.loads(guest.run(VIZDASH, "nodes", "--json").stdout)["nodes"]
    assert len(nodes) == 1 and nodes[0]["cores"] >= 1
    assert json.loads(guest.run(VIZDASH, "sessions", "--json").stdout)["sessions"] == []
    assert "complete" in guest.run(VIZDASH, "completion", "bash").stdout


def test_the_dashboard_is_drawn_and_left(guest: Guest) -> None:
    code = (
        "import os, pty, sys, time, select\n"
        "pid, fd = pty.fork()\n"
        "if pid == 0:\n"
        "    os.environ.update(TERM='xterm-256color', LINES='24', COLUMNS='80')\n"
        f"    os.execv('{VIZDASH}', ['vizdash'])\n"
        "import fcntl, termios, struct\n"
        "fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))\n"
        "seen, end = b'', time.monotonic() + 120\n"
        "while b'Sessions' not in seen and time.monotonic() < end:\n"
        "    seen += os.read(fd, 65536)\n"
        "os.write(fd, b'q')\n"
        "while True:\n"
        "    try:\n"
        "        seen += os.read(fd, 65536)\n"
        "    except OSError:\n"
        "        break\n"
        "print(b'Sessions' in seen, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    assert guest.run("python3", "-c", code).stdout.split() == ["True", "0"]


def test_the_pure_tests_pass_there(guest: Guest) -> None:
    """Those of model, parsers and config: what a new Python changes is seen there first."""
    for name in ("tests", "vizdash", "assets", "pyproject.toml", "config.example.yaml"):
        guest.add(recipe.CHECKOUT / name, f"/root/checkout/{name}")
    guest.run(*PIP, "pytest", "pytest-asyncio", "pytest-timeout", "hypothesis")
    folders = [f"tests/unit/{name}" for name in ("model", "engines", "config")]
    # A library's warning about a Python that is newer than it is no error here.
    argv = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default"]
    script = 'cd /root/checkout && exec /opt/vizdash/bin/python "$@"'
    done = guest.run("sh", "-c", script, "sh", *argv, *folders)
    assert " passed" in done.stdout and "failed" not in done.stdout
