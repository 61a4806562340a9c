"""vizdash on the login host, as a user's script calls it."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.lab import Host, Lab


def vizdash(
    lab: Lab, *words: str, user: str = "alice", check: bool = True, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """One verb."""
    return lab.login.run(["vizdash", *words], user=user, check=check, timeout=timeout)


def start(lab: Lab, *words: str, user: str = "alice") -> dict[str, Any]:
    """A ready session, as JSON."""
    done = vizdash(lab, "start", *words, "--wait", "--json", user=user)
    session: dict[str, Any] = json.loads(done.stdout)["session"]
    assert session["state"] == "ready", done.stderr
    return session


def sessions(lab: Lab, user: str = "alice", *words: str) -> list[dict[str, Any]]:
    """What ``vizdash sessions --json`` says."""
    done = vizdash(lab, "sessions", "--json", *words, user=user)
    found: list[dict[str, Any]] = json.loads(done.stdout)["sessions"]
    return found


def wait_state(
    lab: Lab, session_id: str, state: str, user: str = "alice", seconds: float = 180
) -> dict[str, Any]:
    """Wait until a session has a state."""
    deadline = time.monotonic() + seconds
    while True:
        found = next((s for s in sessions(lab, user) if s["id"] == session_id), None)
        if found is not None and found["state"] == state:
            return found
        assert time.monotonic() < deadline, f"{session_id} is {found}, not {state}"
        time.sleep(0.3)


@contextmanager
def opened(lab: Lab, session_id: str, user: str = "alice") -> Iterator[str]:
    """The address that ``vizdash open --print`` gives, while it holds."""
    process = lab.login.popen(["vizdash", "open", session_id, "--print"], user=user)
    assert process.stdout is not None and process.stderr is not None
    said: list[str] = []
    errors = process.stderr
    reader = threading.Thread(target=lambda: said.extend(errors), daemon=True)
    reader.start()
    try:
        url = process.stdout.readline().strip()
        assert url, "".join(said)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)
        reader.join(timeout=60)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def leftovers(host: Host, user: str) -> str:
    """Processes, sockets and files in /tmp of a user on a host. Not xterm's theme of its mouse
    pointer (its init_colored_cursor): an xterm that is ended while it starts leaves that behind.
    """
    script = (
        f"pgrep -u {user} -a; "
        f"find /tmp /dev/shm /var/tmp -user {user} "
        "! -path '*/.X11-unix' ! -path '/tmp/xterm??????*'; "
        "ss -xlH | grep -E 'vizdash|X11-unix/X' ; true"
    )
    return host.run(script).stdout
