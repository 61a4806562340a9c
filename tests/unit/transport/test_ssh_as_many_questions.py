"""As many questions as ssh(1) asks, right answers or wrong ones, over both transports."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import asyncssh
import pytest

from tests.unit.transport.logins import answer_ssh, at, echo
from tests.unit.transport.sshd import Behaviour, ScriptedUser, sshd
from tests.unit.transport.test_ssh_like_openssh import write_key
from vizdash.errors import VizdashError

KEY, OTHER = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
RIGHT, PASSPHRASE = "right", "open-sesame"
CODE = [("", (("Code: ", False),), ("1",))]
#: Counts ssh's questions in a file, and answers each of a kind alike.
_ASKPASS = """#!/bin/sh
printf '%s\\n' "$1" >>"$COUNTED"
case $1 in *assphrase*) echo "$PASSPHRASE" ;; *) echo "$PASSWORD" ;; esac
"""


@dataclass
class Case:
    """``server`` is its Behaviour; the user types the same answers again and again."""

    questions: int
    config: str = ""
    server: dict[str, Any] = field(default_factory=lambda: {"password": RIGHT, "rounds": CODE})
    passphrase: str = PASSPHRASE
    password: str = "wrong"


BOTH = {"keys": [KEY], "password": RIGHT}
CASES = {
    "code and password, wrong": Case(6),
    "one attempt of each": Case(2, "NumberOfPasswordPrompts 1"),
    "none allowed": Case(0, "NumberOfPasswordPrompts 0"),
    "no keyboard-interactive": Case(1, "KbdInteractiveAuthentication no", password=RIGHT),
    "the password first": Case(
        1, "PreferredAuthentications password,keyboard-interactive", password=RIGHT
    ),
    "a passphrase": Case(1, server=BOTH),
    "a wrong passphrase, then a password": Case(4, "", BOTH, "wrong", RIGHT),
    "one attempt of a passphrase": Case(2, "NumberOfPasswordPrompts 1", BOTH, "wrong", RIGHT),
    "an empty passphrase": Case(2, "", BOTH, "", RIGHT),
    "a key that is refused": Case(1, "", {"keys": [OTHER], "password": RIGHT}, password=RIGHT),
}


@dataclass
class SteadyUser(ScriptedUser):
    passphrase: str = ""
    password: str = ""

    async def ask(self, prompt: Any) -> tuple[str, ...]:
        self.asked.append(prompt)
        return tuple(
            self.passphrase if "passphrase" in one.label else self.password for one in prompt.fields
        )


async def asked_by_ssh(home: Path, port: int, case: Case) -> tuple[int, bool]:
    """How many questions ssh asks, and whether it logs in."""
    answers = {"PASSPHRASE": case.passphrase, "PASSWORD": case.password}
    questions, stdout, _ = await answer_ssh(home, port, _ASKPASS, **answers)
    return len(questions), stdout == b"in\n"


@pytest.mark.parametrize("name", CASES)
async def test_vizdash_asks_as_often_as_ssh(
    name: str, home: Path, transport: Literal["builtin", "openssh"]
) -> None:
    case = CASES[name]
    write_key(home / ".ssh/id_ed25519", KEY, passphrase=PASSPHRASE, rounds=50)
    (home / ".ssh/config").write_text(f"{case.config}\n")
    async with sshd(Behaviour(**case.server)) as server:
        server.known(home)
        wanted, works = await asked_by_ssh(home, server.port, case)
        user = SteadyUser(passphrase=case.passphrase, password=case.password)
        with contextlib.nullcontext() if works else pytest.raises(VizdashError):
            assert await echo(at(server), user, transport) == "in\n"
        assert len(user.asked) == wanted == case.questions
