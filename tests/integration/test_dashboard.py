"""The dashboard in a real terminal, on the local engine: keys in, a desktop out."""

from __future__ import annotations

import re

import pytest

from tests.integration.machine import CHECKOUT, Machine
from tests.terminal import Terminal
from tests.waiting import wait_until


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 48)])
def test_start_open_quit_find_and_end(machine: Machine, width: int, height: int) -> None:
    dashboard = machine.argv(["vizdash"], dies_with_us=True)
    with Terminal(dashboard, width, height) as terminal:
        terminal.wait("local", 180)
        terminal.press("n")
        terminal.wait("New session")
        terminal.wait("of this size fits? now", 180)
        terminal.press("Enter")
        terminal.wait(r"ready +desktop", 180)
        # No browser on this machine: what to do on one's own computer is shown instead.
        terminal.press("o")
        screen = terminal.wait(r"http://127\.0\.0\.1:\d+/vnc\.html#autoconnect=1", 180)
        way = re.search(rf"-L \d+:(/tmp/\S+) {machine.user}@", screen)
        assert way is not None, screen
        assert terminal.pressed == ["n", "Enter", "o"]
        page = machine.run(["curl", "-s", "--unix-socket", way[1], "http://localhost/vnc.html"])
        assert "noVNC" in page.stdout
        terminal.press("Escape")
        terminal.wait_gone("autoconnect=1")
        terminal.press("q")
        # An open desktop's tab goes dark: that is asked about.
        terminal.wait(r"Quit vizdash\?")
        terminal.press("y")
        assert terminal.wait_end() == 0
    (session,) = machine.sessions()
    assert session["state"] == "ready"
    with Terminal(dashboard, width, height) as terminal:
        terminal.wait(r"ready +desktop", 180)
        terminal.wait_gone(r"saved \d", 180)  # what an earlier dashboard saw, which nothing acts on
        terminal.press("x")
        terminal.wait(r"Stop this session\?")
        assert session["id"] in terminal.screen()
        terminal.press("y")
        assert terminal.pressed == ["x", "y"]
        wait_until(lambda: machine.sessions()[0]["state"] == "ended", "end of the session", 180)
        terminal.wait("ended|cancelled", 180)
        terminal.press("q")
        assert terminal.wait_end() == 0
    assert machine.sessions()[0]["result"] == "cancelled"
    assert machine.leftovers() == []


def test_make_run_without_the_means_to_install(machine: Machine) -> None:
    """Without root and sudo it prints what to install, and opens nevertheless."""
    machine.hide("Xvnc", "sudo")
    # The Python environment that runs this test exists already.
    make = ["make", "-C", str(CHECKOUT), "-o", ".venv/.vizdash-stamp", "run"]
    with Terminal(machine.argv(make, dies_with_us=True), 100, 24) as terminal:
        screen = terminal.wait("press Enter to continue", 180)
        assert "as root: apt-get install tigervnc-standalone-server" in screen
        terminal.press("Enter")
        terminal.wait("idle", 180)
        terminal.press("q")
        assert terminal.wait_end() == 0
