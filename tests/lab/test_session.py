"""From a key press to a real desktop, on the real cluster."""

from __future__ import annotations

import json
import time

from tests.lab import Lab
from tests.lab.browser import desktop
from tests.lab.vd import leftovers, opened, sessions, start, vizdash, wait_state

#: The desktop images' background, #31516f.
BLUE = (0x31, 0x51, 0x6F)


def test_start_open_type_and_stop(lab: Lab) -> None:
    lab.login.run("rm -f ~/typed", user="alice")
    session = start(lab, "desktop")
    node = lab.hosts[session["node"]]
    with opened(lab, session["id"]) as url:
        assert url.startswith("http://127.0.0.1:")
        assert "?" not in url
        with desktop(url, lab.login) as seen:
            seen.wait_share(BLUE)
            picture = seen.save("desktop-on-the-lab")
            assert picture.stat().st_size > 5000
            # The terminal of the image: a click gives it the keys.
            seen.click(300, 200)
            seen.page.wait_for_timeout(300)
            seen.type("echo From-the-browser > ~/typed\n")
            deadline = time.monotonic() + 15
            while "From-the-browser" not in lab.login.run("cat ~/typed; true", user="alice").stdout:
                assert time.monotonic() < deadline, f"nothing was typed: {seen.save('typed')}"
                time.sleep(0.2)
    vizdash(lab, "stop", session["id"])
    ended = wait_state(lab, session["id"], "ended")
    assert ended["result"] == "cancelled"
    assert leftovers(node, "alice") == ""
    folder = f"/home/alice/.local/state/vizdash/sessions/{session['id']}"
    assert not (lab.login.root / folder.lstrip("/") / "connection").exists()


def test_scancel_by_hand_leaves_nothing(lab: Lab) -> None:
    session = start(lab, "desktop")
    lab.login.run(["scancel", session["job_id"]], user="alice")
    assert wait_state(lab, session["id"], "ended")["result"] == "cancelled"
    assert leftovers(lab.hosts[session["node"]], "alice") == ""


def test_a_time_out_leaves_nothing_even_of_daemons(lab: Lab, site: None) -> None:
    session = start(lab, "daemon", "--time", "1m")
    node = lab.hosts[session["node"]]
    assert "sleep 98765" in node.run("pgrep -u alice -a").stdout
    # Slurm looks at limits now and then: up to a minute after the limit.
    ended = wait_state(lab, session["id"], "ended", seconds=150)
    assert ended["result"] == "timed out"
    assert leftovers(node, "alice") == ""


def test_the_warning_shows_on_the_desktop_and_does_not_end_it(lab: Lab) -> None:
    session = start(lab, "desktop")
    with opened(lab, session["id"]) as url, desktop(url, lab.login) as seen:
        seen.wait_share(BLUE)
        # What Slurm sends five minutes before the limit (--signal=B:USR1@300).
        signal = ["scancel", "--signal=USR1", "--batch", session["job_id"]]
        with seen.changes((440, 300, 840, 420)):
            lab.login.run(signal, user="alice")
        seen.save("warning-on-the-desktop")
        node = lab.hosts[session["node"]]
        assert "save your work" in node.run("pgrep -u alice -a xmessage").stdout
    assert sessions(lab)[0]["state"] == "ready"


def test_three_sessions_of_two_users_on_one_node(lab: Lab) -> None:
    size = ("--cpus", "1", "--memory", "1G", "--node", "viz-node002")
    first = start(lab, "desktop", *size)
    second = start(lab, "desktop", *size)
    third = start(lab, "desktop", *size, user="bob")
    for session, user in ((first, "alice"), (second, "alice"), (third, "bob")):
        with opened(lab, session["id"], user) as url, desktop(url, lab.login) as seen:
            seen.wait_share(BLUE)
    vizdash(lab, "stop", first["id"])
    wait_state(lab, first["id"], "ended")
    # One ended beside them does not touch the others.
    with opened(lab, second["id"]) as url, desktop(url, lab.login) as seen:
        seen.wait_share(BLUE)


def test_twenty_at_once(lab: Lab) -> None:
    """1 core and 1 GiB each on 4+8+8 cores and 3.5+16+16 GiB: 3 + 8 + 8 = 19 fit."""
    fits = 3 + 8 + 8
    script = "for i in $(seq 20); do vizdash start desktop --cpus 1 --memory 1G --json & done; wait"
    said = lab.login.run(script, user="alice", timeout=120).stdout
    ids = {json.loads(line)["session"]["id"] for line in said.splitlines()}
    assert len(ids) == 20
    deadline = time.monotonic() + 120
    while True:
        now = [s for s in sessions(lab) if s["id"] in ids]
        ready = [s for s in now if s["state"] == "ready"]
        if len(ready) == fits:
            break
        assert not [s for s in now if s["state"] == "ended"], now
        assert time.monotonic() < deadline, [s["state"] for s in now]
        time.sleep(0.5)
    pending = [s for s in now if s["state"] == "pending"]
    assert len(pending) == 20 - fits
    assert all(s["reason"] for s in pending), pending
    for session in (ready[0], ready[9], ready[18]):
        with opened(lab, session["id"]) as url:
            page = url.partition("#")[0]
            assert "noVNC" in lab.login.run(["curl", "-s", page], user="alice").stdout
    vizdash(lab, "stop", ready[0]["id"])
    wait_state(lab, pending[0]["id"], "ready")
    vizdash(lab, "stop", *(ids - {ready[0]["id"]}), timeout=120)


def test_the_direct_route(lab: Lab, site: None) -> None:
    session = start(lab, "desktop", "--cluster", "direct")
    with opened(lab, session["id"]) as url:
        host = lab.hosts[session["node"]]
        port = int(url.partition("#")[0].removesuffix("/vnc.html").rpartition(":")[2])
        assert url.startswith(f"http://{host.address}:")
        assert 6080 <= port <= 6099
        with desktop(url, lab.login) as seen:
            seen.wait_share(BLUE)


def test_host_runtime(lab: Lab, site: None) -> None:
    session = start(lab, "plain")
    with opened(lab, session["id"]) as url, desktop(url, lab.login) as seen:
        seen.wait_share((0x20, 0x60, 0x40))
    vizdash(lab, "stop", session["id"])
    wait_state(lab, session["id"], "ended")
    assert leftovers(lab.hosts[session["node"]], "alice") == ""


def test_gedit_saves_what_is_typed(lab: Lab) -> None:
    lab.login.run("rm -f ~/from-gedit.txt", user="alice")
    session = start(lab, "gedit")
    assert session["node"] != "viz-node001", "the node without the image was kept off"
    with opened(lab, session["id"]) as url, desktop(url, lab.login) as seen:
        # White paper, then letters on it, then the dialog over it.
        seen.wait_share((255, 255, 255), least=0.7)
        seen.click(640, 300)
        with seen.changes((30, 45, 300, 65)):
            seen.type("Typed in the browser.")
        with seen.changes((200, 100, 1080, 600)):
            seen.press("Control+s")
        seen.type("/home/alice/from-gedit.txt\n")
        deadline = time.monotonic() + 20
        while "browser" not in lab.login.run("cat ~/from-gedit.txt; true", user="alice").stdout:
            assert time.monotonic() < deadline, f"nothing was saved: {seen.save('gedit-unsaved')}"
            seen.page.wait_for_timeout(200)
        seen.save("gedit-on-the-lab")
    text = lab.login.run("cat ~/from-gedit.txt", user="alice").stdout
    assert text == "Typed in the browser.\n"


def test_a_gpu_is_given(lab: Lab) -> None:
    session = start(lab, "desktop", "--gpus", "1")
    assert session["node"] == "viz-node003"
    assert session["gpus"] == 1
    nodes = json.loads(vizdash(lab, "nodes", "--json").stdout)["nodes"]
    used = {n["name"]: n["gres"] for n in nodes}["viz-node003"]
    assert used == [{"name": "gpu", "type": "a100", "total": 2, "used": 1}]
