"""A session in TigerVNC's own viewer: its pixels, its password, its place among the viewers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import Lab, native_viewer
from tests.lab.desktops import BLUE
from tests.lab.native_viewer import DISPLAY, Screen, argv_of_all, screen
from tests.lab.verbs import find_leftovers, list_sessions, run_vizdash, start_session
from tests.waiting import wait_until


@pytest.fixture
def viewer_screen(lab: Lab) -> Iterator[Screen]:
    """A screen on the login host, and the viewer."""
    native_viewer.install(lab.login)
    try:
        with screen(lab.login) as shown:
            yield shown
    finally:
        native_viewer.uninstall(lab.login)


@contextmanager
def viewing(
    lab: Lab, session_id: str, *words: str, env: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """``vizdash open --viewer`` while it runs."""
    command = f"{env} exec vizdash open {session_id} --viewer {' '.join(words)}"
    process = lab.login.popen(command, user="alice")
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=180)


def _password(lab: Lab, session_id: str) -> str:
    file = f"~/.local/state/vizdash/sessions/{session_id}/connection"
    return lab.login.run(f"sed -n 's/^PASSWORD=//p' {file}", user="alice").stdout.strip()


def _viewers(lab: Lab, session_id: str, count: int) -> None:
    def is_reported() -> bool:
        found = next(s for s in list_sessions(lab) if s["id"] == session_id)
        return bool(found["viewers"] == count)

    wait_until(is_reported, f"{count} viewers", 180)


def test_the_desktop_is_shown_and_counted_and_no_password_is_seen(
    lab: Lab, viewer_screen: Screen
) -> None:
    session = start_session(lab, "desktop", "--memory", "1G")
    password = _password(lab, session["id"])
    assert len(password) == 8
    files = "find /tmp -path '*vizdash-*' -name viewer -printf '%m %s\\n'"
    with viewing(lab, session["id"], env=f"DISPLAY={DISPLAY}"):
        viewer_screen.wait_colour(BLUE, 200_000)
        assert "xtigervncviewer" in argv_of_all(lab.login)
        for host in (lab.login, lab.hosts[session["node"]]):
            assert password not in argv_of_all(host)
        assert lab.login.run(files).stdout == "600 8\n"
        _viewers(lab, session["id"], 1)
        assert "/s " in run_vizdash(lab, "tunnels").stdout
    _viewers(lab, session["id"], 0)
    assert lab.login.run(files).stdout == ""
    assert run_vizdash(lab, "tunnels").stdout == ""


def test_a_viewer_that_is_closed_ends_the_command(lab: Lab, viewer_screen: Screen) -> None:
    session = start_session(lab, "desktop", "--memory", "1G")
    with viewing(lab, session["id"], env=f"DISPLAY={DISPLAY}") as process:
        viewer_screen.wait_colour(BLUE, 200_000)
        lab.login.run("pkill -KILL -u alice -x xtigervncviewer; true")
        assert process.wait(timeout=180) == 0
        assert process.stderr is not None
        assert "the viewer was closed; the session keeps running" in process.stderr.read()
    run_vizdash(lab, "stop", session["id"])


def test_without_a_screen_there_is_a_line_for_another_computer(
    lab: Lab, viewer_screen: Screen
) -> None:
    """The line, run with the viewer of another computer (here: the same host's)."""
    session = start_session(lab, "desktop", "--memory", "1G")
    with viewing(lab, session["id"]) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().strip() == _password(lab, session["id"])
        lines = [process.stderr.readline() for _ in range(2)]
        assert "there is no screen on login" in lines[0]
        line = lines[1].strip()
        assert line.startswith("ssh -f -o ExitOnForwardFailure=yes -L "), line
        password = "printf '%s\\n' " + _password(lab, session["id"])
        typed = line.replace("vncviewer ", "vncviewer -PasswordFile=typed -Shared ")
        typed = typed.replace("ssh -f ", "ssh -f -o BatchMode=yes -o StrictHostKeyChecking=no ")
        other = lab.login.popen(
            f"{password} | vncpasswd -f >typed; DISPLAY={DISPLAY} sh -c '{typed}'", user="alice"
        )
        try:
            viewer_screen.wait_colour(BLUE, 200_000)
        finally:
            lab.login.run("pkill -KILL -u alice -x xtigervncviewer; rm -f ~alice/typed; true")
            other.communicate(timeout=180)
    run_vizdash(lab, "stop", session["id"])
    wait_until(lambda: "sleep 30" not in find_leftovers(lab.login, "alice"), "ssh's end", 180)


def test_without_any_viewer_it_says_what_to_install(lab: Lab) -> None:
    session = start_session(lab, "desktop", "--memory", "1G")
    done = lab.login.run(
        f"DISPLAY=:99 vizdash open {session['id']} --viewer", user="alice", check=False
    )
    assert done.returncode == 1
    assert "a native viewer: none is on PATH (install TigerVNC's viewer" in done.stderr
    run_vizdash(lab, "stop", session["id"])
