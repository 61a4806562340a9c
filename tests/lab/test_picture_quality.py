"""The picture's quality: as the user chose it, kept, and measured on a slow link."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab import Lab
from tests.lab.verbs import run_vizdash, start_session
from tests.vizdash_command import printed_address

LOW, HIGH = "&quality=0&compression=9", "&quality=9&compression=2"


def _opened(lab: Lab, session_id: str, *words: str) -> str:
    """The address that it prints."""
    argv = ["vizdash", "open", session_id, "--print", *words]
    process: subprocess.Popen[str] = lab.login.popen(argv, user="alice")
    with printed_address(process) as url:
        pass
    return url


@contextmanager
def _full_link(lab: Lab, node: str) -> Iterator[None]:
    """A link of 2 Mbit/s to the login host that another transfer fills already."""
    with lab.slow_link(lab.login, rate="2mbit"):
        command = f"ssh -o BatchMode=yes {node} cat /dev/zero >/dev/null"
        process = lab.login.popen(command, user="alice")
        try:
            yield
        finally:
            lab.login.run("pkill -u alice -f '[c]at /dev/zero'; true")
            process.communicate(timeout=60)


def test_a_choice_is_in_the_address_and_kept(lab: Lab) -> None:
    session = start_session(lab, "desktop", "--memory", "1G")
    plain = _opened(lab, session["id"])
    assert "quality" not in plain
    try:
        assert _opened(lab, session["id"], "--quality", "low").endswith(LOW)
        assert _opened(lab, session["id"]).endswith(LOW)
        assert _opened(lab, session["id"], "--quality", "high").endswith(HIGH)
        with _full_link(lab, session["node"]):
            # Which one it is depends on how busy this machine is, too.
            measured = _opened(lab, session["id"], "--quality", "auto")
            assert measured.endswith((LOW, HIGH)) or "quality" not in measured
        assert "quality" not in _opened(lab, session["id"], "--quality", "medium")
        assert "quality" not in _opened(lab, session["id"])
    finally:
        lab.login.run("rm -f .local/state/vizdash/picture-*.json", user="alice")
    run_vizdash(lab, "stop", session["id"])
