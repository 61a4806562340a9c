"""The dashboard on a laptop: a whole session by keys, one-time codes, and an interrupted link."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.lab.browser import Desktop, browser, desktop
from tests.lab.desktops import BLUE, HOST, open_from_laptop, type_in_terminal, view_from_laptop
from tests.lab.one_time_codes import code, otp_sshd
from tests.lab.outside import LAPTOP_USER, OutsideNetwork, authorize_key, closed_nodes, jump_host
from tests.lab.terminal import TmuxPane, terminal
from tests.lab.verbs import list_sessions, wait_for_state, wait_nothing_left

#: Two clusters of one config: the same login host, as two people.
_CLUSTERS = """
default_cluster: viz
clusters:
  viz: {host: alice@login}
  other: {host: bob@login}
"""
_BROWSER = '#!/bin/sh\n{ echo "$1"; curl -s "$1"; } >~/.page && mv ~/.page ~/page\n'


@pytest.fixture(params=["builtin", "openssh"])
def ssh(request: pytest.FixtureRequest, outside: OutsideNetwork) -> str:
    """The config has each of the two log in."""
    text = f"clusters:\n  viz: {{ssh: {request.param}}}\n"
    outside.write(".config/vizdash/config.yaml", text)
    return str(request.param)


@contextlib.contextmanager
def dashboard(outside: OutsideNetwork, *host: str) -> Iterator[TmuxPane]:
    """vizdash in a terminal of the laptop, with a browser that keeps the page it is given."""
    outside.write("browser", _BROWSER)
    outside.run("sh", "-c", "chmod +x browser; rm -f page")
    env = {"BROWSER": f"/home/{LAPTOP_USER}/browser", "COLORTERM": "truecolor"}
    command = ["vizdash", *(host or HOST)]
    with terminal(outside.laptop, command, user=LAPTOP_USER, size=(140, 40), env=env) as screen:
        yield screen


def start_by_keys(lab: Lab, screen: TmuxPane) -> dict[str, str]:
    """The form's defaults, Enter, and the session that comes of it."""
    screen.wait("Nodes 3", seconds=180)
    before = {s["id"] for s in list_sessions(lab)}
    screen.keys("n")
    screen.wait("enter starts")
    screen.keys("Enter")
    deadline = time.monotonic() + 120
    while not (new := [s for s in list_sessions(lab) if s["id"] not in before]):
        assert time.monotonic() < deadline, screen.text()
        time.sleep(1)
    assert len(new) == 1
    wait_for_state(lab, new[0]["id"], "ready", seconds=180)
    # The row under the cursor says so, and not a word that was there before.
    screen.wait("press o to open", seconds=180)
    return new[0]


def open_by_keys(outside: OutsideNetwork, screen: TmuxPane) -> str:
    """Press o; the address is in the page that the browser was given."""
    screen.keys("o")
    deadline = time.monotonic() + 120
    while not (text := outside.run("sh", "-c", "cat page; true")):
        assert time.monotonic() < deadline, f"no browser was started:\n{screen.text()}"
        time.sleep(0.2)
    found = re.search(r'location\.replace\((".*?")\)', text)
    assert found is not None, text
    return text.partition("/open/")[0] + str(json.loads(found[1]))


def stop_by_keys(lab: Lab, screen: TmuxPane, session: dict[str, str]) -> None:
    screen.keys("2")
    screen.keys("x")
    screen.wait("Stop this session?")
    screen.keys("y")
    assert wait_for_state(lab, session["id"], "ended", seconds=180)["result"] == "cancelled"


def quit_by_keys(screen: TmuxPane) -> None:
    screen.keys("q")
    deadline = time.monotonic() + 120
    while not screen.ended():
        if "Quit vizdash?" in screen.text():
            screen.keys("y")
        assert time.monotonic() < deadline, screen.text()
        time.sleep(0.3)
    assert screen.code() == 0


def to_cluster(screen: TmuxPane, way: str, user: str) -> None:
    """Switch to the next or previous cluster; the header shows the account there."""
    screen.keys("@")
    screen.wait("Clusters")
    screen.keys(way, "Enter")
    pattern = re.compile(rf"^ *vizdash .*· {user}\b", re.MULTILINE)
    screen.until(lambda seen: bool(pattern.search(seen)), f"it is not {user}'s", 180)


def test_a_whole_session_by_keys(lab: Lab, outside: OutsideNetwork) -> None:
    authorize_key(outside, lab.login, "bob")
    outside.write(".config/vizdash/config.yaml", _CLUSTERS)
    with dashboard(outside, "--cluster", "viz") as screen:
        session = start_by_keys(lab, screen)
        url = open_by_keys(outside, screen)
        assert screen.pressed == ["n", "Enter", "o"]
        screen.keys("v")
        screen.wait_colour(BLUE)  # its picture, over the one connection
        screen.keys("Escape")
        screen.wait("Nodes 3")
        with desktop(url, outside.laptop) as seen:
            seen.wait_share(BLUE)
            to_cluster(screen, "Down", "bob")
            # The tab lives on, while its cluster is not checked.
            type_in_terminal(lab, seen, "By-keys")
            to_cluster(screen, "Up", "alice")
        stop_by_keys(lab, screen, session)
        quit_by_keys(screen)
    outside.run("rm", ".config/vizdash/config.yaml")
    node = next(s["node"] for s in list_sessions(lab) if s["id"] == session["id"])
    wait_nothing_left(lab.hosts[node])


@pytest.mark.usefixtures("ssh")
def test_through_a_jump_host(lab: Lab, outside: OutsideNetwork) -> None:
    config = "Host inner\n  HostName 10.77.0.10\n  User alice\n  ProxyJump alice@jump\n"
    inner = ("--host", "inner")
    outside.write(".ssh/config", config)
    try:
        with jump_host(outside):
            outside.trust_host_keys("jump", "10.77.0.10")
            # By the verbs, and the same session by keys.
            session = outside.start(*inner, "desktop")
            with view_from_laptop(outside, session["id"], *inner) as seen:
                type_in_terminal(lab, seen, "Through-the-jump-host")
            with dashboard(outside, *inner) as screen:
                screen.wait("press o to open", seconds=180)
                with desktop(open_by_keys(outside, screen), outside.laptop) as seen:
                    seen.wait_share(BLUE)
                stop_by_keys(lab, screen, session)
                quit_by_keys(screen)
    finally:
        outside.run("rm", ".ssh/config")
        outside.trust_host_keys("login")


def test_one_code_is_enough_for_everything(lab: Lab, outside: OutsideNetwork, ssh: str) -> None:
    """The key, then a code that works once: a second login would need another."""
    outside.trust_host_keys("[login]:2202")
    try:
        with (
            otp_sshd(lab.login, 2202) as secret,
            dashboard(outside, "--host", "alice@login:2202") as screen,
        ):
            screen.wait("Verification code", seconds=180)
            if ssh == "builtin":
                # A user may take longer than any time-out of a network.
                time.sleep(25)
            first = code(secret)
            screen.type(first)
            screen.keys("Enter")
            session = start_by_keys(lab, screen)
            with desktop(open_by_keys(outside, screen), outside.laptop) as seen:
                seen.wait_share(BLUE)
                type_in_terminal(lab, seen, "After-one-code")
                lost_with_a_code(lab, screen, secret, first)
                says_so_and_comes_back(outside, screen, seen)
            stop_by_keys(lab, screen, session)
            assert "Verification code" not in screen.text()
            quit_by_keys(screen)
    finally:
        outside.trust_host_keys("login")


def lost_with_a_code(lab: Lab, screen: TmuxPane, secret: str, used: str) -> None:
    """A login with questions is not tried before the user requests it."""
    kill_logins(lab, "^sshd-session: alice")
    screen.wait("have to log in again — press R to log in")
    time.sleep(3)  # automatic attempts would come after half a second, and after another one
    assert "Verification code" not in screen.text()
    assert lab.login.run("pgrep -u alice -f '^sshd-session: alice'; true").stdout == ""
    screen.keys("R")
    screen.wait("Verification code")
    while (new := code(secret)) == used:
        time.sleep(0.5)
    screen.type(new)
    screen.keys("Enter")
    screen.wait("is back after")


def says_so_and_comes_back(outside: OutsideNetwork, screen: TmuxPane, seen: Desktop) -> None:
    """After a loss that is over: the dashboard and the same tab."""
    screen.wait("no connection", gone=True, seconds=180)
    seen.page.wait_for_function(
        "document.documentElement.classList.contains('noVNC_connected')", timeout=90_000
    )
    seen.wait_share(BLUE, seconds=180)


def test_cut_killed_and_kept(lab: Lab, outside: OutsideNetwork) -> None:
    """One tab, through a black hole, a killed sshd and the end of the dashboard itself."""
    with dashboard(outside) as screen:
        session = start_by_keys(lab, screen)
        url = open_by_keys(outside, screen)
        with desktop(url, outside.laptop) as seen:
            seen.wait_share(BLUE)
            with lab.cut(outside.laptop):
                began = time.monotonic()
                screen.wait("no connection", seconds=180)
                seen.page.wait_for_timeout(max(0, 20 - (time.monotonic() - began)) * 1000)
            screen.wait("is back after", seconds=180)
            says_so_and_comes_back(outside, screen, seen)
            type_in_terminal(lab, seen, "After-the-cut")
            screen.wait("is back after", gone=True, seconds=180)
            kill_logins(lab, "^sshd-session: alice")
            # It is back before a user could read that it was lost: that is reported too.
            screen.wait("is back after", seconds=180)
            says_so_and_comes_back(outside, screen, seen)
            type_in_terminal(lab, seen, "After-the-kill")
            assert sum(s["state"] == "ready" for s in list_sessions(lab)) == 1
            screen.keys("q")
            screen.wait("Quit vizdash?")
            screen.keys("k")
            screen.wait_ended()
            assert screen.code() == 0
            # The holder keeps connection and port: the tab does not notice.
            assert len(holders(outside)) == 1
            type_in_terminal(lab, seen, "After-the-end")
    outside.vizdash(*HOST, "stop", session["id"])
    assert wait_for_state(lab, session["id"], "ended")["result"] == "cancelled"
    deadline = time.monotonic() + 120
    while left := holders(outside):
        assert time.monotonic() < deadline, left
        time.sleep(0.5)
    assert outside.laptop.run(f"find /tmp -user {LAPTOP_USER} -name 'vizdash-*'").stdout == ""


def holders(outside: OutsideNetwork) -> list[str]:
    """The vizdash processes of LAPTOP_USER on the laptop."""
    return outside.laptop.run(f"pgrep -u {LAPTOP_USER} -f bin/vizdash; true").stdout.split()


def kill_logins(lab: Lab, pattern: str) -> None:
    """Kill the sshd processes that serve alice's connections."""
    lab.login.run(["pkill", "-KILL", "-u", "alice", "-f", pattern])


def steps(lab: Lab, session: dict[str, str]) -> list[str]:
    """The job's steps besides its script's own."""
    output = lab.login.run(["squeue", "-h", "-s", "-j", session["job_id"], "-o", "%i"]).stdout
    return [step for step in output.split() if not step.endswith((".batch", ".extern"))]


def test_nodes_that_take_no_ssh(lab: Lab, outside: OutsideNetwork) -> None:
    """The srun route is found automatically; each viewer costs one job step at most."""
    with closed_nodes(lab), contextlib.ExitStack() as stack:
        session = outside.start(*HOST, "desktop")
        chromium = stack.enter_context(browser(outside.laptop))
        for viewers in (1, 2):
            url = stack.enter_context(open_from_laptop(outside, session["id"]))
            page = chromium.new_page()
            page.goto(url)
            seen = Desktop(page)
            seen.wait_share(BLUE)
            assert 1 <= len(steps(lab, session)) <= viewers
        type_in_terminal(lab, seen, "By-srun")
        stack.close()
        deadline = time.monotonic() + 120
        while left := steps(lab, session):
            assert time.monotonic() < deadline, left
            time.sleep(0.5)
        outside.vizdash(*HOST, "stop", session["id"])
        wait_for_state(lab, session["id"], "ended")
        wait_nothing_left(lab.hosts[session["node"]])
