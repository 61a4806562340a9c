"""From a key press to a real desktop, on the real cluster."""

from __future__ import annotations

import json

from tests.lab import Lab
from tests.lab.browser import desktop
from tests.lab.desktops import type_in_terminal
from tests.lab.verbs import (
    open_session,
    run_vizdash,
    start_session,
    wait_for_state,
    wait_nothing_left,
)

#: The desktop images' background, #31516f.
BLUE = (0x31, 0x51, 0x6F)


def test_start_open_type_and_stop(lab: Lab) -> None:
    session = start_session(lab, "desktop")
    node = lab.hosts[session["node"]]
    with open_session(lab, session["id"]) as url:
        assert url.startswith("http://127.0.0.1:")
        assert "?" not in url
        with desktop(url, lab.login) as seen:
            seen.wait_share(BLUE)
            picture = seen.save("desktop-on-the-lab")
            assert picture.stat().st_size > 5000
            # The terminal of the image: a click gives it the keys.
            type_in_terminal(lab, seen, "From-the-browser")
    run_vizdash(lab, "stop", session["id"])
    ended = wait_for_state(lab, session["id"], "ended")
    assert ended["result"] == "cancelled"
    wait_nothing_left(node)
    folder = f"/home/alice/.local/state/vizdash/sessions/{session['id']}"
    assert not (lab.login.root / folder.lstrip("/") / "connection").exists()


def test_the_direct_route(lab: Lab, site: None) -> None:
    session = start_session(lab, "desktop", "--cluster", "direct")
    with open_session(lab, session["id"]) as url:
        host = lab.hosts[session["node"]]
        port = int(url.partition("#")[0].removesuffix("/vnc.html").rpartition(":")[2])
        assert url.startswith(f"http://{host.address}:")
        assert 6080 <= port <= 6099
        with desktop(url, lab.login) as seen:
            seen.wait_share(BLUE)


def test_host_runtime(lab: Lab, site: None) -> None:
    session = start_session(lab, "plain")
    with open_session(lab, session["id"]) as url, desktop(url, lab.login) as seen:
        seen.wait_share((0x20, 0x60, 0x40))
    run_vizdash(lab, "stop", session["id"])
    wait_for_state(lab, session["id"], "ended")
    wait_nothing_left(lab.hosts[session["node"]])


def test_a_gpu_is_given(lab: Lab) -> None:
    session = start_session(lab, "desktop", "--gpus", "1")
    assert session["node"] == "viz-node003"
    assert session["gpus"] == 1
    nodes = json.loads(run_vizdash(lab, "nodes", "--json").stdout)["nodes"]
    used = {n["name"]: n["gres"] for n in nodes}["viz-node003"]
    assert used == [{"name": "gpu", "type": "a100", "total": 2, "used": 1}]
