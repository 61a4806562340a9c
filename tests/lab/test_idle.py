"""The idle policy: what nobody uses ends with its reason, everything else keeps running."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Lab
from tests.lab.browser import desktop
from tests.lab.test_isolation import connection
from tests.lab.test_lease import config, row
from tests.lab.verbs import open_session, run_vizdash, start_session
from tests.waiting import wait_until
from vizdash.util.assets import assets

_SITE = """
clusters:
  lab:
    ready_timeout: 10m
    idle: {after: 30s, grace: 15s, cpu_percent: 4, keep: true}
apps:
  plain:
    runtime: host
    host_command: "xsetroot -solid '#206040'; exec openbox"
    resources: {cores: 1, memory: 1G, time: 1h}
  busy:
    runtime: host
    host_command: "openbox & while :; do :; done"
    resources: {cores: 1, memory: 1G, time: 1h}
  free:
    runtime: host
    host_command: "xsetroot -solid '#206040'; exec openbox"
    resources: {cores: 1, memory: 1G, time: 1h}
    idle: {after: off}
"""
#: Moves the pointer by one pixel, by XTEST (its protocol, version 2.2, FakeInput).
_MOVE = """
import time
reply = ask(98, 0, struct.pack("<Hxx", 5) + padded(b"XTEST"))
while True:
    x.sendall(struct.pack("<BBHBBxxII8xhh8x", reply[9], 2, 9, 6, 1, 0, root, 1, 0))
    time.sleep(1)
"""


@pytest.fixture
def site(lab: Lab) -> Iterator[Lab]:
    with config(lab, _SITE):
        yield lab


@contextmanager
def moving_pointer(lab: Lab, session: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Somebody uses the session's pointer, whom no viewer's connection shows."""
    node, known = lab.hosts[session["node"]], connection(lab, session)
    script = Path(assets() / "jobs/x11.py").read_text(encoding="utf-8") + _MOVE
    place, name = known["RUNTIME_DIR"], f"tmp/move-{session['id']}.py"
    if session["app"] == "desktop":  # an image has its own /tmp, where its display is
        script = script.replace("/tmp/.X11-unix", f"{place}/work/tmp/.X11-unix")
    (node.root / name).write_text(script)
    argv = ["python3", f"/{name}", place, known["DISPLAY"].lstrip(":")]
    process = node.popen(argv, user="alice")
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=60)
        (node.root / name).unlink()


def test_only_what_nobody_uses_ends(site: Lab) -> None:
    lab = site
    with ExitStack() as until_the_end:
        hold = until_the_end.enter_context
        moved = start_session(lab, "desktop", "--memory", "1G")
        pointer = hold(moving_pointer(lab, moved))
        viewed = start_session(lab, "plain")
        with moving_pointer(lab, viewed):  # until the browser shows it
            url = hold(open_session(lab, viewed["id"]))
            hold(desktop(url, lab.login))
        busy, free = start_session(lab, "busy"), start_session(lab, "free")
        kept = start_session(lab, "plain", "--keep")
        idle = start_session(lab, "desktop", "--memory", "1G")
        # The owner's dashboard and list are told before it ends.
        wait_until(lambda: _warned(lab, idle["id"]), "warning", 240)
        assert "This session is idle and ends in" in run_vizdash(lab, "logs", idle["id"]).stdout
        wait_until(lambda: row(lab, idle["id"])["state"] == "ended", "end", 240)
        others = [row(lab, s["id"]) for s in (moved, viewed, busy, free, kept)]
        assert pointer.poll() is None
    assert [(s["app"], s["state"], s["idle_left_s"]) for s in others] == [
        (s["app"], "ready", None) for s in (moved, viewed, busy, free, kept)
    ]
    ended = row(lab, idle["id"])
    assert ended["result"] == "idle"
    assert str(ended["error"]).startswith("no viewer, no input and no work for ")
    listed = run_vizdash(lab, "sessions", "--ended").stdout
    (line,) = (text for text in listed.splitlines() if idle["id"] in text)
    assert "idle: no viewer, no input and no work for " in line


def _warned(lab: Lab, session_id: str) -> bool:
    found = row(lab, session_id)
    return found["idle_left_s"] is not None or found["state"] == "ended"
