"""The login host is rebooted under a tunnel that a laptop has open through it."""

from __future__ import annotations

import re

import pytest

from tests.lab import Lab
from tests.lab.browser import desktop
from tests.lab.desktops import BLUE, HOST
from tests.lab.faults.fault import Fault, Record, measuring
from tests.lab.faults.scene import rows
from tests.lab.outside import LAPTOP_USER, OutsideNetwork, fence
from tests.lab.terminal import terminal
from tests.lab.verbs import list_sessions


@pytest.mark.parametrize("fault", rows("login host rebooted"))
def test_the_tab_comes_back(
    lab: Lab, outside: OutsideNetwork, fault: Fault, record_property: Record
) -> None:
    session = outside.start(*HOST, "desktop")
    command = ["vizdash", *HOST, "open", session["id"], "--print"]
    with (
        measuring(fault, record_property) as watch,
        terminal(outside.laptop, command, user=LAPTOP_USER, size=(200, 40)) as screen,
    ):
        found = re.search(r"http://\S+", screen.wait("http://"))
        assert found
        with desktop(found[0], outside.laptop) as seen:
            seen.wait_share(BLUE)
            watch.start()
            lab.login.power_off()
            try:
                watch.wait_seen(
                    lambda: all(w in screen.text() for w in fault.words), "loss", screen.text
                )
            finally:
                fence(lab, lab.restart(lab.login), "eth1")
            watch.start()
            watch.wait_recovered(
                lambda: (
                    "connected to login again" in screen.text()
                    and seen.page.evaluate(
                        "document.documentElement.classList.contains('noVNC_connected')"
                    )
                ),
                "connection",
                screen.text,
            )
            seen.wait_share(BLUE)
            lab.wait_idle(states={"idle", "mixed"})
            (row,) = [row for row in list_sessions(lab) if row["id"] == session["id"]]
            assert (row["state"], row["job_id"]) == ("ready", session["job_id"])
            screen.keys("C-c")
            screen.wait_ended()
    outside.vizdash(*HOST, "stop", session["id"])
