"""A home whose file server is gone: every call on it hangs, as on a hard NFS mount."""

from __future__ import annotations

from tests.hung_folder import HANG
from tests.integration.machine import Machine
from tests.terminal import Terminal


def hang(machine: Machine) -> None:
    """From now on the user's home hangs."""
    machine.run(["python3", "-c", HANG, str(machine.home)], root=True)


def test_the_dashboard_answers_keys_and_ends_although_the_home_hangs(machine: Machine) -> None:
    # No session runs: what its supervisor waits for in the same folder, the kernel has others wait
    # for where no signal reaches them.
    machine.vizdash("stop", machine.start()["id"])
    dashboard = machine.argv(["vizdash"], dies_with_us=True)
    with Terminal(dashboard, 160, 48) as terminal:
        terminal.wait(r"cancelled +desktop|ended +desktop", 180)
        hang(machine)
        terminal.press("R")
        terminal.wait(r"no answer in 20 s", 180)
        for key in ("Up", "Down", "Up", "Down", "Up", "Down", "R"):  # details, polls, config
            terminal.press(key)
        terminal.press("?")
        terminal.wait("esc closes", 180)
        terminal.press("Escape")
        terminal.wait_gone("esc closes", 180)
        terminal.press("n")
        terminal.wait("enter starts", 180)
        terminal.press("Escape")
        terminal.wait_gone("enter starts", 180)
        terminal.press("q")
        assert terminal.wait_end(180) == 0
