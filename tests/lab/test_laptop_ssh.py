"""What works with the user's own ssh on the laptop works with vizdash, against a real sshd."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.lab.one_time_codes import code, otp_sshd
from tests.lab.outside import LAPTOP_USER, OutsideNetwork, sshd
from tests.lab.terminal import terminal
from tests.lab.verbs import run_vizdash, start_session

PORT = 2220
LOG = "/run/offered.log"


@contextlib.contextmanager
def ssh_config(outside: OutsideNetwork, text: str) -> Iterator[None]:
    outside.write(".ssh/config", text)
    try:
        yield
    finally:
        outside.run("rm", ".ssh/config")


def test_the_canonical_name_is_the_one_that_counts(lab: Lab, outside: OutsideNetwork) -> None:
    """Its block applies, and it is the name that is asked about and remembered."""
    outside.trust_host_keys()
    # ssh looks it up with a dot at its end, which /etc/hosts takes literally.
    names = "login.viz.example.org login.viz.example.org."
    outside.laptop.run(f"echo 10.78.0.10 {names} >> /etc/hosts")
    text = (
        "CanonicalizeHostname yes\nCanonicalDomains viz.example.org\n"
        "CanonicalizeFallbackLocal no\nHost *.viz.example.org\n  User alice\n"
    )
    try:
        with ssh_config(outside, text):
            command = "vizdash --host login nodes"
            with terminal(outside.laptop, command, user=LAPTOP_USER) as screen:
                assert "login.viz.example.org" in screen.wait("SHA256:", seconds=180)
                screen.type("yes")
                screen.keys("Enter")
                screen.wait("viz-node003", seconds=180)
            assert "viz-node001" in outside.vizdash("--host", "login", "nodes").stdout
            # ssh agrees.
            assert outside.run("ssh", "-o", "BatchMode=yes", "login", "id -un") == "alice\n"
    finally:
        outside.laptop.run("sed '/login.viz.example.org/d' /etc/hosts > /h; cat /h > /etc/hosts")
        outside.trust_host_keys("login")


#: Config, and what ssh-add gets, for the keys a, b and c and the default id_ed25519.
KEYS = {
    "the agent's first": ("", "a b"),
    "the named one before them": ("IdentityFile ~/.ssh/c\n", "a b c"),
    "only the named": ("IdentitiesOnly yes\nIdentityFile ~/.ssh/b\n", "a b"),
    "files alone": ("IdentityFile ~/.ssh/b\nIdentityFile ~/.ssh/a\n", ""),
}


def offered(lab: Lab) -> list[str]:
    """The fingerprints in sshd's log, in their order; it is emptied."""
    path = lab.login.root / LOG.lstrip("/")
    text = path.read_text()
    path.write_text("")
    return re.findall(r"Failed publickey for alice .* (SHA256:\S+)", text)


@pytest.mark.parametrize("name", KEYS)
def test_keys_are_offered_as_ssh_offers_them(lab: Lab, outside: OutsideNetwork, name: str) -> None:
    """By the log of a real sshd that accepts none of them."""
    config, held = KEYS[name]
    outside.trust_host_keys(f"[login]:{PORT}")
    for key in "abc":
        outside.run(
            "sh", "-c", f"test -f .ssh/{key} || ssh-keygen -q -t ed25519 -N '' -f .ssh/{key}"
        )
    settings = ("LogLevel VERBOSE", "AuthorizedKeysFile none", "MaxAuthTries 20")
    add = f"cd .ssh && ssh-add -q {held} &&" if held else ""
    target = f"alice@login:{PORT}"
    try:
        with ssh_config(outside, config), sshd(lab.login, PORT, settings, log=LOG):
            for command in (
                f"ssh -o BatchMode=yes -p {PORT} alice@login true",
                f"vizdash --host {target} nodes",
            ):
                script = f"{add} cd && {command}" if add else command
                outside.laptop.run(
                    ["ssh-agent", "sh", "-c", script], user=LAPTOP_USER, check=False, timeout=240
                )
                if command.startswith("ssh"):
                    wanted = offered(lab)
            assert wanted
            assert offered(lab) == wanted
    finally:
        outside.trust_host_keys("login")


PUSH_PAM = """auth required pam_exec.so quiet /bin/sleep 25
auth required pam_permit.so
account required pam_permit.so
"""
PUSH = (
    "UsePAM yes",
    "PAMServiceName sshd-push",
    "KbdInteractiveAuthentication yes",
    "AuthenticationMethods publickey,keyboard-interactive:pam",
)


def test_a_push_of_25_s_is_waited_for(lab: Lab, outside: OutsideNetwork) -> None:
    """A second factor on a phone: the server says nothing until it is approved."""
    (lab.login.root / "etc/pam.d/sshd-push").write_text(PUSH_PAM)
    outside.trust_host_keys(f"[login]:{PORT}")
    command = f"vizdash --host alice@login:{PORT} nodes"
    try:
        with (
            sshd(lab.login, PORT, PUSH),
            terminal(outside.laptop, command, user=LAPTOP_USER) as screen,
        ):
            screen.wait("Waiting for login to accept the login", seconds=180)
            screen.wait("viz-node003", seconds=120)
    finally:
        outside.trust_host_keys("login")


def test_a_stall_of_8_s_costs_no_code(lab: Lab, outside: OutsideNetwork) -> None:
    """It is shown while it lasts, and the login is kept."""
    outside.trust_host_keys("[login]:2221")
    try:
        with (
            otp_sshd(lab.login, 2221) as secret,
            terminal(outside.laptop, "vizdash --host alice@login:2221", user=LAPTOP_USER) as screen,
        ):
            screen.wait("Verification code", seconds=180)
            screen.type(code(secret))
            screen.keys("Enter")
            screen.wait("viz-node003", seconds=180)
            with lab.cut(outside.laptop):
                screen.wait("no answer for", seconds=180)
            screen.wait("answers again", seconds=180)
            assert "Verification code" not in screen.text()
            assert "have to log in" not in screen.text()
            screen.keys("q")
            screen.wait_ended()
    finally:
        outside.trust_host_keys("login")


#: What is to be said on the login host.
UNKNOWN = (
    "its host key is in neither ~/.ssh/known_hosts nor /etc/ssh/ssh_known_hosts",
    "run `ssh viz-node00",
    "once and compare the fingerprint",
)


def test_nodes_whose_host_keys_the_user_does_not_know(lab: Lab) -> None:
    """On the login host: doctor, images, deploy and open name host, file and fix."""
    known = lab.login.root / "etc/ssh/ssh_known_hosts"
    before = known.read_text()
    own = "/home/alice/by-ssh.yaml"
    lab.login.run(f"echo 'clusters: {{viz: {{engine: slurm, tunnel: ssh}}}}' >{own}", user="alice")
    session = start_session(lab, "desktop", "--cpus", "1", "--memory", "512M")
    try:
        known.write_text("")
        for words in (
            ("doctor",),
            ("images",),
            ("deploy", "desktop"),
            ("open", session["id"], "--print", "--config", own),
        ):
            done = run_vizdash(lab, *words, check=False)
            output = done.stdout + done.stderr
            assert all(part in output for part in UNKNOWN), (words, output)
            assert done.returncode == (0 if words == ("images",) else 1)
    finally:
        known.write_text(before)
        run_vizdash(lab, "stop", session["id"])
        lab.login.run(["rm", own])


def test_nodes_whose_host_keys_are_unknown(lab: Lab, outside: OutsideNetwork) -> None:
    """Host, file and fix are named, by doctor first of all."""
    known = lab.login.root / "etc/ssh/ssh_known_hosts"
    before = known.read_text()
    try:
        known.write_text("")
        done = outside.vizdash("--host", "alice@login", "doctor", check=False)
        (line,) = [row for row in done.stdout.splitlines() if "ssh to nodes" in row]
        assert "neither ~/.ssh/known_hosts nor /etc/ssh/ssh_known_hosts on login" in done.stdout
        assert "viz-node001" in line
        assert done.returncode == 1
    finally:
        known.write_text(before)
