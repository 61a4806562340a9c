"""Nodes that refuse ssh: the laptop reaches a desktop through one job step (srun(1), --overlap)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from tests.lab import Lab
from tests.lab.desktops import HOST, wait_for_page
from tests.lab.outside import OutsideNetwork, closed_nodes
from tests.lab.test_laptop_dashboard import dashboard, open_by_keys, quit_by_keys
from tests.lab.verbs import wait_for_state


@contextlib.contextmanager
def retried(outside: OutsideNetwork, url: str) -> Iterator[None]:
    """Request the page all the time, as a browser's tab does."""
    over = threading.Event()

    def ask() -> None:
        page = url.partition("#")[0]
        while not over.wait(0.2):
            outside.laptop.run(["curl", "-s", "-m", "30", "-o", "/dev/null", page], check=False)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join()


def test_a_desktop_answers_again_after_a_black_hole(lab: Lab, outside: OutsideNetwork) -> None:
    """At the same address, however often it was asked for meanwhile. The built-in SSH shares what
    matters here: tests/unit/transport/test_ssh_connection_loss.py has both.
    """
    outside.write(".config/vizdash/config.yaml", "clusters:\n  viz: {ssh: openssh}\n")
    with closed_nodes(lab):
        session = outside.start(*HOST, "desktop")
        with dashboard(outside) as screen:
            screen.wait("press o to open", seconds=180)
            url = open_by_keys(outside, screen)
            wait_for_page(outside.laptop, url)
            with retried(outside, url):
                with lab.cut(outside.laptop):
                    screen.keys("R")  # what is being asked for is lost with the connection
                    screen.wait("no connection", seconds=180)
                screen.wait("is back after", seconds=180)
                wait_for_page(outside.laptop, url)
            quit_by_keys(screen)
        outside.vizdash(*HOST, "stop", session["id"])
        wait_for_state(lab, session["id"], "ended", seconds=180)
