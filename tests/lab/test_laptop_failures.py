"""Logins that fail: one clear line each, and no automatic second try."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import Lab
from tests.lab.one_time_codes import otp_sshd
from tests.lab.outside import LAPTOP_USER, OutsideNetwork, sshd
from tests.lab.terminal import TmuxPane, terminal


def refused(outside: OutsideNetwork, host: str) -> str:
    """The one line, without a terminal to ask on."""
    done = outside.vizdash("--host", host, "nodes", check=False, timeout=240)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("vizdash: ")
    return lines[0]


def test_a_changed_host_key_is_refused_with_its_line(lab: Lab, outside: OutsideNetwork) -> None:
    outside.trust_host_keys("login", "[login]:2203")
    with sshd(lab.login, 2203, key="/etc/ssh/other_key"):
        line = refused(outside, "alice@login:2203")
    assert "changed" in line
    assert f"/home/{LAPTOP_USER}/.ssh/known_hosts:2" in line
    outside.trust_host_keys("login")


def test_no_such_host(outside: OutsideNetwork) -> None:
    assert "unknown host name" in refused(outside, "alice@nowhere.example.org")


def test_nothing_there(outside: OutsideNetwork) -> None:
    outside.trust_host_keys("[login]:2210")
    assert "refuses the connection" in refused(outside, "alice@login:2210")
    outside.trust_host_keys("login")


@pytest.mark.parametrize("address", ["192.0.2.1", "10.78.0.99"])
def test_no_route(outside: OutsideNetwork, address: str) -> None:
    """A host in a network without a route, and a host that does not answer."""
    assert "no route" in refused(outside, f"alice@{address}")


def test_a_key_that_is_not_known_there(outside: OutsideNetwork) -> None:
    assert "none of your keys was accepted" in refused(outside, "bob@login")


@contextmanager
def asked(outside: OutsideNetwork, host: str, verb: str = "nodes") -> Iterator[TmuxPane]:
    """vizdash on a terminal of the laptop."""
    command = f"vizdash --host {shlex.quote(host)} {verb}"
    with terminal(outside.laptop, command, user=LAPTOP_USER) as screen:
        yield screen


def lines_of(screen: TmuxPane) -> list[str]:
    return [row for row in screen.wait_ended().splitlines() if row.startswith("vizdash: ")]


def test_an_unknown_host_key_is_shown_and_asked_once(lab: Lab, outside: OutsideNetwork) -> None:
    outside.trust_host_keys()
    public = "/etc/ssh/ssh_host_ed25519_key.pub"
    fingerprint = lab.login.run(["ssh-keygen", "-l", "-f", public]).stdout.split()[1]
    try:
        # Without a terminal: one line that shows how to add it.
        line = refused(outside, "alice@login")
        assert f"its key is not known: ED25519 {fingerprint}, and there is no terminal" in line
        assert line.endswith("(run `ssh login` once and compare the fingerprint)")
        with asked(outside, "alice@login") as screen:
            assert fingerprint in screen.wait("SHA256:")
            screen.type("no")
            screen.keys("Enter")
            assert len(lines_of(screen)) == 1
            assert screen.code() == 1
        with asked(outside, "alice@login") as screen:
            screen.wait("SHA256:")
            screen.type("yes")
            screen.keys("Enter")
            screen.wait("viz-node003", seconds=180)
        # It is remembered, and not asked again.
        assert "viz-node001" in outside.vizdash("--host", "alice@login", "nodes").stdout
        assert outside.run("ssh-keygen", "-F", "login").count("ssh-ed25519") == 1
    finally:
        outside.trust_host_keys("login")


PASSWORDS = ("PasswordAuthentication yes", "PubkeyAuthentication no")


def test_a_password_is_asked_for_and_a_wrong_one_refused(lab: Lab, outside: OutsideNetwork) -> None:
    lab.login.run(["chpasswd"], input="alice:Correct-Horse\n")
    outside.trust_host_keys("[login]:2204")
    try:
        with sshd(lab.login, 2204, PASSWORDS):
            with asked(outside, "alice@login:2204") as screen:
                screen.wait("assword")
                screen.type("Correct-Horse")
                screen.keys("Enter")
                seen = screen.wait("viz-node003", seconds=180)
                assert "Correct-Horse" not in seen
            with asked(outside, "alice@login:2204") as screen:
                _answer_until_ended(screen, "wrong", "assword")
                (line,) = lines_of(screen)
                assert "refused" in line
                assert screen.code() == 1
            line = refused(outside, "alice@login:2204")
            assert "no terminal" in line
    finally:
        lab.login.run(["usermod", "-p", "*", "alice"])
        outside.trust_host_keys("login")


def test_a_wrong_code_is_refused(lab: Lab, outside: OutsideNetwork) -> None:
    outside.trust_host_keys("[login]:2202")
    try:
        with otp_sshd(lab.login, 2202), asked(outside, "alice@login:2202") as screen:
            _answer_until_ended(screen, "000000", "Verification code")
            (line,) = lines_of(screen)
            assert "refused" in line
            assert screen.code() == 1
    finally:
        outside.trust_host_keys("login")


def _answer_until_ended(screen: TmuxPane, answer: str, question: str) -> None:
    """Give the same wrong answer to each question; there must be few of them."""
    for count in range(1, 5):
        screen.until(
            lambda seen, n=count: screen.ended() or seen.count(question) >= n,  # type: ignore[misc]
            "neither asked nor ended",
        )
        if screen.ended():
            return
        screen.type(answer)
        screen.keys("Enter")
    screen.wait_ended()
