"""A login by vizdash asks exactly what ssh asks, whatever the kind of login."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab import Lab
from tests.lab.one_time_codes import SETTINGS as CODE
from tests.lab.one_time_codes import code, otp_secret
from tests.lab.outside import LAPTOP_USER, OutsideNetwork, sshd
from tests.lab.terminal import TmuxPane, terminal
from tests.lab.test_laptop_openssh import _GSS as GSS
from tests.lab.test_laptop_openssh import _PIN as PIN
from tests.lab.test_laptop_openssh import kinit, realm, token

__all__ = ["token"]

PORT, JUMP = 2250, 2251
PASSWORD, PASSPHRASE = "Correct-Horse", "Battery-Staple"
#: Appends each question to ~/asked, and answers it; the code is in ~/code.
ASKPASS = f"""#!/bin/sh
printf '%s\\n' "$*" >>~/asked
case "$*" in
  *passphrase*) echo {PASSPHRASE} ;;
  *PIN*) echo {PIN} ;;
  *"Verification code"*) cat ~/code ;;
  *password*) echo {PASSWORD} ;;
  *) exit 1 ;;
esac
"""
#: The lines of a terminal in which vizdash asks.
ASKED = re.compile(
    r"^(?:password|passphrase of .*|Verification code|PIN of .*|Type yes to .*): *$", re.MULTILINE
)
PUSH_PAM = """auth required pam_exec.so quiet /bin/sleep 5
auth required pam_permit.so
account required pam_permit.so
"""
PUSH = (
    "UsePAM yes",
    "PAMServiceName sshd-short-push",
    "KbdInteractiveAuthentication yes",
    "AuthenticationMethods publickey,keyboard-interactive:pam",
)
BY_PASSWORD = ("PasswordAuthentication yes", "PubkeyAuthentication no")
BY_LOCKED = ("AuthorizedKeysFile /etc/ssh/locked_keys",)
BY_HELD = ("AuthorizedKeysFile /etc/ssh/held_keys",)
LOCKED = "IdentityFile ~/.ssh/locked\n  IdentitiesOnly yes\n"
#: Needs a shell: quotes, a redirection, a job in the background. ssh stops its first process after
#: its last message. If that process were the one that passes it on, the other end would sometimes
#: not hear of the end, and the job in the background would keep the connection open.
PROXY = "ProxyCommand bash -c 'exec 3<>/dev/tcp/login/'%p'; cat <&3 & cat >&3; exit' 2>/dev/null\n"


@dataclass(frozen=True)
class Way:
    """A kind of login. ``questions`` are those of ssh; ``config`` belongs to the host's block."""

    questions: int
    sshd: tuple[str, ...] = ()
    config: str = ""
    #: The settings of the jump host's sshd; none without a jump host.
    jump: tuple[str, ...] | None = None
    #: Whether an agent holds the key.
    agent: bool = False


WAYS = {
    "a key without passphrase": Way(0),
    "a password": Way(1, BY_PASSWORD),
    "a key with a passphrase": Way(1, BY_LOCKED, LOCKED),
    "an agent": Way(0, BY_HELD, agent=True),
    "a key and a one-time code": Way(1, CODE),
    "a push that takes a while": Way(0, PUSH),
    "a jump host by user and port": Way(
        1, config=f"ProxyJump alice@login:{JUMP}\n", jump=BY_PASSWORD
    ),
    "a jump host that asks, too": Way(
        2, BY_LOCKED, f"{LOCKED}  ProxyJump alice@login:{JUMP}\n", jump=BY_PASSWORD
    ),
    "a ProxyCommand for a shell": Way(1, BY_PASSWORD, PROXY),
}


class Answers:
    """The answers to vizdash's and ssh's questions. A one-time code works once."""

    def __init__(self, secret: str = "") -> None:
        self._secret = secret
        self._used: set[str] = set()

    def of(self, question: str) -> str:
        """The answer to a question of vizdash."""
        if question.startswith("Verification"):
            return self.next_code()
        if question.startswith("PIN"):
            return PIN
        return PASSPHRASE if question.startswith("passphrase") else PASSWORD

    def next_code(self) -> str:
        while (new := code(self._secret)) in self._used:
            time.sleep(0.5)
        self._used.add(new)
        return new


def asked_by_ssh(outside: OutsideNetwork, host: str, answers: Answers, *, agent: bool) -> list[str]:
    """The questions of ssh(1) itself until it has run a command."""
    outside.run("rm", "-f", "asked")
    outside.write("code", f"{answers.next_code()}\n")
    environ = {"SSH_ASKPASS": f"/home/{LAPTOP_USER}/askpass", "SSH_ASKPASS_REQUIRE": "force"}
    done = outside.laptop.run(
        with_agent(f"ssh {host} id -un", agent=agent), user=LAPTOP_USER, env=environ
    )
    assert done.stdout == "alice\n"
    return outside.run("sh", "-c", "cat asked 2>/dev/null; true").splitlines()


def asked_by_vizdash(
    outside: OutsideNetwork, host: str, answers: Answers, *, agent: bool, ssh: str
) -> list[str]:
    """The questions of vizdash until it shows the nodes."""
    outside.write(".config/vizdash/config.yaml", f"clusters:\n  viz: {{ssh: {ssh}}}\n")
    command = with_agent(f"vizdash --host {host} nodes", agent=agent)
    with terminal(outside.laptop, command, user=LAPTOP_USER) as screen:
        asked: list[str] = []
        while len(found := next_question(screen, len(asked))) > len(asked):
            screen.type(answers.of(found[-1]))
            screen.keys("Enter")
            asked = found
        seen = screen.wait_ended()
        assert screen.code() == 0, seen
        assert "viz-node003" in seen
        return ASKED.findall(seen)


def next_question(screen: TmuxPane, count: int) -> list[str]:
    """The questions so far, when there is another one or the command has ended."""
    seen = screen.until(
        lambda seen: len(ASKED.findall(seen)) > count or screen.ended(), "neither asked nor ended"
    )
    return ASKED.findall(seen)


def with_agent(command: str, *, agent: bool) -> list[str]:
    held = f"ssh-add -q ~/.ssh/held && {command}"
    return ["ssh-agent", "sh", "-c", held] if agent else ["sh", "-c", command]


@pytest.fixture
def laptop(lab: Lab, outside: OutsideNetwork) -> Iterator[OutsideNetwork]:
    """The laptop with ``askpass``, and keys that only some sshds accept; alice has a password."""
    outside.write("askpass", ASKPASS)
    outside.run("chmod", "700", "askpass")
    for name, passphrase in (("locked", PASSPHRASE), ("held", "")):
        outside.run("ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", f".ssh/{name}")
        (lab.login.root / f"etc/ssh/{name}_keys").write_text(outside.run("cat", f".ssh/{name}.pub"))
    (lab.login.root / "etc/pam.d/sshd-short-push").write_text(PUSH_PAM)
    lab.login.run(["chpasswd"], input=f"alice:{PASSWORD}\n")
    try:
        yield outside
    finally:
        lab.login.run(["usermod", "-p", "*", "alice"])
        lab.login.run("rm -f /etc/ssh/locked_keys /etc/ssh/held_keys /etc/pam.d/sshd-short-push")
        outside.run("sh", "-c", "rm -f askpass asked code .ssh/config .ssh/locked* .ssh/held*")
        outside.trust_host_keys("login")


@pytest.mark.parametrize("name", WAYS)
def test_vizdash_asks_as_often_as_ssh(lab: Lab, laptop: OutsideNetwork, name: str) -> None:
    way = WAYS[name]
    laptop.trust_host_keys(f"[login]:{PORT}", f"[login]:{JUMP}")
    laptop.write(
        ".ssh/config",
        f"Host way\n  HostName login\n  Port {PORT}\n  User alice\n  {way.config}",
    )
    with contextlib.ExitStack() as stack:
        secret = stack.enter_context(otp_secret(lab.login))
        stack.enter_context(sshd(lab.login, PORT, way.sshd))
        if way.jump is not None:
            stack.enter_context(sshd(lab.login, JUMP, way.jump))
        answers = Answers(secret)
        by_ssh = asked_by_ssh(laptop, "way", answers, agent=way.agent)
        assert len(by_ssh) == way.questions, by_ssh
        for ssh in ("builtin", "openssh"):
            ours = asked_by_vizdash(laptop, "way", answers, agent=way.agent, ssh=ssh)
            assert len(ours) == way.questions, (ssh, ours, by_ssh)


def test_a_kerberos_ticket_needs_no_question(lab: Lab, laptop: OutsideNetwork) -> None:
    laptop.trust_host_keys(f"[login]:{GSS}")
    laptop.write(
        ".ssh/config",
        f"Host way\n  HostName login\n  Port {GSS}\n  User alice\n  GSSAPIAuthentication yes\n",
    )
    settings = ("GSSAPIAuthentication yes", *BY_PASSWORD)
    answers = Answers()
    try:
        with realm(lab, laptop), sshd(lab.login, GSS, settings):
            kinit(laptop)
            assert asked_by_ssh(laptop, "way", answers, agent=False) == []
            for ssh in ("auto", "openssh"):
                ours = asked_by_vizdash(laptop, "way", answers, agent=False, ssh=ssh)
                assert ours == [], (ssh, ours)
    finally:
        laptop.run("sh", "-c", "kdestroy -q; true")


def test_a_token_needs_its_pin_once(lab: Lab, laptop: OutsideNetwork, token: str) -> None:
    answers = Answers()
    by_ssh = asked_by_ssh(laptop, token, answers, agent=False)
    assert len(by_ssh) == 1
    for ssh in ("auto", "openssh"):
        ours = asked_by_vizdash(laptop, token, answers, agent=False, ssh=ssh)
        assert len(ours) == 1, (ssh, ours)
