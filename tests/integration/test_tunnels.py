"""Tunnels of a dashboard that has ended: found, listed and closed by another vizdash."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.machine import Machine
from tests.terminal import Terminal
from tests.waiting import wait_until

#: A helper that takes addresses for a browser elsewhere, so that the tunnel ends at a port.
BROWSER = {"BROWSER": "/bin/true", "SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22"}


def tunnels(machine: Machine, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(machine.vizdash("tunnels", "--json", *words).stdout)[
        "tunnels"
    ]
    return found


def serves(machine: Machine, address: str) -> bool:
    done = machine.run(["curl", "-sf", "-o", "/dev/null", f"{address}/vnc.html"], check=False)
    return done.returncode == 0


def test_kept_listed_and_closed(machine: Machine) -> None:
    session = machine.start()
    dashboard = machine.argv(["vizdash"], env=BROWSER)
    with Terminal(dashboard, 100, 24) as terminal:
        terminal.wait(r"ready +desktop", 180)
        terminal.press("o")
        terminal.wait("is open in your browser", 180)
        (held,) = tunnels(machine)
        assert held["holder"] == "dashboard"
        terminal.press("q")
        terminal.wait(r"Quit vizdash\?", 180)
        terminal.press("k")
        assert terminal.wait_end(180) == 0
        # The line names the process; tmux's screen shows it after the dashboard's end.
        (kept,) = tunnels(machine)
        assert f"process {kept['pid']} keeps 1 tunnel open" in terminal.screen()
    assert kept == {**held, "pid": kept["pid"], "holder": "background"}
    assert kept["pid"] != held["pid"]
    assert (kept["session"], kept["app"]) == (session["id"], "desktop")
    assert kept["address"] == f"http://127.0.0.1:{kept['port']}"
    assert serves(machine, kept["address"])
    # Another user sees none of it, even in the same folder.
    alien = ["vizdash", "tunnels", "--json"]
    theirs = machine.run(alien, root=True, env={"XDG_STATE_HOME": f"{machine.home}/.local/state"})
    assert json.loads(theirs.stdout)["tunnels"] == []
    with machine.open_session(session["id"]) as url:
        assert {row["holder"] for row in tunnels(machine)} == {"background", "open"}
        machine.run(["kill", "-TERM", str(kept["pid"])])
        wait_until(lambda: not serves(machine, kept["address"]), "end of the tunnel", 180)
        (left,) = tunnels(machine, session["id"])
        assert left["holder"] == "open"
        assert url.startswith(left["address"])
        machine.vizdash("tunnels", "--close", session["id"])
        assert not serves(machine, left["address"])
    wait_until(
        lambda: not any("bin/vizdash" in line for line in machine.processes()),
        "end of every vizdash",
        180,
        lambda: "\n".join(machine.processes()),
    )
    assert tunnels(machine) == []
    assert machine.sessions()[0]["state"] == "ready"
    machine.vizdash("stop", session["id"])
    assert machine.leftovers() == []
