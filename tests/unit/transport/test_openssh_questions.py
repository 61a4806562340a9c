"""What ssh(1) asks during a login reaches the user once, and secrets stay out of argv and logs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh
import pytest

from tests.unit.transport.logins import (
    OTP,
    answer_ssh,
    at,
    echo_by_openssh,
    process_texts,
    refusal_by_openssh,
)
from tests.unit.transport.sshd import Behaviour, LateUser, ScriptedUser, SlowUser, Sshd, sshd
from vizdash.errors import Refused, Unreachable

PATIENCE = "vizdash.transport.ssh.login_timeout"
pytestmark = pytest.mark.usefixtures("openssh_key")


async def test_a_password(home: Path) -> None:
    how = Behaviour(password="right")
    person = ScriptedUser([("right",)])
    async with sshd(how) as server:
        server.known(home)
        assert await echo_by_openssh(at(server), person) == "in\n"
    (asked,) = person.asked
    assert (asked.title, asked.lines) == ("Log in to 127.0.0.1", ("127.0.0.1 asks:",))
    assert [(f.label, f.shown) for f in asked.fields] == [("password", False)]
    assert how.tried == ["right"]


async def test_a_wrong_password_is_asked_for_as_often_as_ssh_does(home: Path) -> None:
    how = Behaviour(password="right")
    person = ScriptedUser([("wrong",), ("worse",), ("worst",)])
    async with sshd(how) as server:
        server.known(home)
        with pytest.raises(Refused, match="the password or code was refused"):
            await echo_by_openssh(at(server), person)
    assert how.tried == ["wrong", "worse", "worst"]
    assert "Refused. Try again." in person.asked[1].lines


async def test_a_code_with_the_hosts_words(home: Path) -> None:
    how = Behaviour(rounds=[OTP], banner="Maintenance on Sunday.\n")
    person = ScriptedUser([("424242",)])
    async with sshd(how) as server:
        server.known(home)
        assert await echo_by_openssh(at(server), person) == "in\n"
    (asked,) = person.asked
    assert asked.lines == ("Maintenance on Sunday.", "Second factor", "127.0.0.1 asks:")
    assert asked.fields[0].label == "Verification code"


async def test_a_code_that_takes_the_user_ten_minutes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of vizdash's time limits runs while it is typed."""
    how = Behaviour(rounds=[OTP])
    person = SlowUser([("424242",)])
    person.patch(monkeypatch)
    async with sshd(how) as server:
        server.known(home)
        assert await echo_by_openssh(at(server), person) == "in\n"
    assert (how.tried, len(person.asked)) == (["424242"], 1)


async def test_what_is_typed_while_the_server_hangs_up_is_not_asked_twice(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sshd waits for 120 s (LoginGraceTime). ssh learns of it only once it has the answer."""
    monkeypatch.setattr("vizdash.transport.openssh.login._SLOW_S", 0.5)
    how = Behaviour(rounds=[OTP])
    person = LateUser([("424242",)], how=how)
    async with sshd(how) as server:
        server.known(home)
        assert await echo_by_openssh(at(server), person) == "in\n"
    assert how.tried == ["424242"]
    assert len(person.asked) == 1


async def test_a_code_that_is_refused_is_never_sent_again(home: Path) -> None:
    """Not even where the server hangs up at it."""
    how = Behaviour(rounds=[OTP], hangs_up=True)
    async with sshd(how) as server:
        server.known(home)
        error = await refusal_by_openssh(at(server), ("111111",), ("222222",))
    assert how.tried == ["111111"]
    assert isinstance(error, Unreachable)


async def test_a_host_cannot_pose_as_this_computers_ssh(home: Path) -> None:
    """What it asks for has its name, whatever it says."""
    text = f"Enter passphrase for key '{home}/.ssh/id_ed25519': "
    how = Behaviour(rounds=[("", ((text, False),), ("never",))])
    person = ScriptedUser([None])
    async with sshd(how) as server:
        server.known(home)
        with pytest.raises(Refused, match="it was cancelled"):
            await echo_by_openssh(at(server), person)
    assert person.asked[0].lines[-1] == "127.0.0.1 asks:"
    assert how.tried == []


async def test_a_cancelled_question_sends_nothing(home: Path) -> None:
    how = Behaviour(password="right")
    async with sshd(how) as server:
        server.known(home)
        error = await refusal_by_openssh(at(server), None)
    assert error.line == "login to 127.0.0.1: it was cancelled"
    assert how.tried == []


async def test_a_passphrase_is_asked_for_by_this_computer(home: Path) -> None:
    made = asyncssh.generate_private_key("ssh-ed25519")
    file = home / ".ssh/id_ed25519"
    made.write_private_key(str(file), passphrase="sesame", rounds=50)
    file.chmod(0o600)
    person = ScriptedUser([("wrong",), ("sesame",)])
    async with sshd(Behaviour(keys=[made])) as server:
        server.known(home)
        assert await echo_by_openssh(at(server), person) == "in\n"
    first, second = person.asked
    assert first.lines[-1].startswith("ssh on this computer asks")
    assert first.fields[0].label == f"passphrase of {file}"
    assert second.lines[0] == "Refused. Try again."


async def test_a_push_can_be_waited_for_or_given_up(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{PATIENCE}.SHOW_WAIT_AFTER_S", 0.3)
    push = ("Duo for lena", (("Passcode or option (1-2): ", True),), ("1",))
    how = Behaviour(rounds=[push], push_s=2)
    person = ScriptedUser([("1",)])
    async with sshd(how) as server:
        server.known(home)
        assert await echo_by_openssh(at(server), person) == "in\n"
        assert person.waits >= 1
        assert any("accept the login" in line for _, lines in person.shown for line in lines)
        how.push_s = 600
        with pytest.raises(Refused, match="it was cancelled"):
            await echo_by_openssh(at(server), ScriptedUser([("1",)], gives_up=True))


async def test_without_a_terminal_nothing_is_sent(home: Path) -> None:
    class Nobody(ScriptedUser):
        async def ask(self, prompt: object) -> tuple[str, ...] | None:
            raise Unreachable("Log in", "there is no terminal to ask you on")

    how = Behaviour(password="right")
    async with sshd(how) as server:
        server.known(home)
        with pytest.raises(Unreachable, match="no terminal"):
            await echo_by_openssh(at(server), Nobody())
    assert how.tried == []


async def test_ssh_before_8_4_asks_through_vizdash_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without SSH_ASKPASS_REQUIRE, it does so where DISPLAY is set and no terminal controls it;
    its hosts' words have no mark.
    """

    async def old(ssh: str) -> tuple[int, int]:
        return (8, 0)

    monkeypatch.setattr("vizdash.transport.openssh.login.read_version", old)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("SSH_ASKPASS_REQUIRE", raising=False)
    person = ScriptedUser([("right",)])
    async with sshd(Behaviour(password="right")) as server:
        server.known(home)
        assert await echo_by_openssh(at(server), person) == "in\n"
    assert person.asked[0].fields[0].label == "password"


async def test_a_secret_is_in_no_argv_and_no_environment(home: Path) -> None:
    secret = "Correct-Horse-Battery"

    class SlowTypist(ScriptedUser):
        async def ask(self, prompt: object) -> tuple[str, ...] | None:
            looks.append(asyncio.create_task(search_processes()))
            return (secret,)

    async def search_processes() -> None:
        for _ in range(40):
            found.update(name for name, text in process_texts().items() if secret in text)
            await asyncio.sleep(0.02)

    found: set[str] = set()
    looks: list[asyncio.Task[None]] = []
    async with sshd(Behaviour(password=secret)) as server:
        server.known(home)
        assert await echo_by_openssh(at(server), SlowTypist()) == "in\n"
    await asyncio.gather(*looks)
    assert found == set()


_COUNT = """#!/bin/sh
printf '%s\\n' "$1" >>"$COUNTED"
case $1 in *yes/no*) echo yes ;; *) sed -n "$(wc -l <"$COUNTED")p" "$ANSWERS" ;; esac
"""


async def asked_by_ssh(home: Path, server: Sshd, answers: list[str]) -> list[str]:
    """ssh's own questions, in a login with these answers (one line a question)."""
    (home / "answers").write_text("\n".join(answers) + "\n")
    questions, stdout, stderr = await answer_ssh(
        home, server.port, _COUNT, ANSWERS=str(home / "answers")
    )
    assert stdout == b"in\n", stderr
    return questions


TWO = ("", (("Token: ", False), ("Color: ", True)), ("123", "blue"))


@pytest.mark.parametrize(
    ("how", "answers"),
    [
        (Behaviour(password="right"), ["wrong", "right"]),
        (Behaviour(rounds=[OTP]), ["424242"]),
        (Behaviour(rounds=[OTP, TWO]), ["424242", "123", "blue"]),
    ],
    ids=["a wrong password first", "a code", "rounds of several fields"],
)
async def test_as_many_questions_as_ssh_asks(
    home: Path, how: Behaviour, answers: list[str]
) -> None:
    async with sshd(how) as server:
        server.known(home)
        wanted = await asked_by_ssh(home, server, answers)
        person = ScriptedUser([(answer,) for answer in answers])
        assert await echo_by_openssh(at(server), person) == "in\n"
        assert len(wanted) == len(person.asked) == len(answers)
        assert person.answers == []
