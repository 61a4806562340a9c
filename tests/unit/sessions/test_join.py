"""Which offers of other users count, and which answers are none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizdash.errors import NotFound, Refused, Unreachable, UsageError
from vizdash.model import Job
from vizdash.model.job import JobState
from vizdash.sessions.join import Offer, SharesOfOthers, parse_offers
from vizdash.transport.base import Command, CommandRunner, Result

OFFER = {
    "schema": 1, "session": "3f9a01bc", "job_id": "7", "app": "desktop", "guest": "bob",
    "control": False, "expires_at": None, "owner": "alice", "folder": "/tmp/vizdash-share-abc_1",
}  # fmt: skip


class LoginHost(CommandRunner):
    """A login host that prints the offers, and the first of them with its password."""

    def __init__(self, *offers: dict[str, object], code: int = 0, stderr: str = "") -> None:
        self.offers = offers
        self.code, self.stderr = code, stderr
        self.asked: list[Command] = []

    async def run(self, command: Command) -> Result:
        self.asked.append(command)
        joins = command.argv[-2] == "ask" or "ask /tmp" in (command.input or "")
        shown = [{**o, "password": "gu3stpas"} for o in self.offers[:1]] if joins else self.offers
        return Result(self.code, "".join(json.dumps(o) + "\n" for o in shown), self.stderr)

    def has(self, program: str) -> bool:
        return True


def _others(host: LoginHost, **owner_of: str) -> SharesOfOthers:
    """``owner_of`` names the jobs that are known, by "j" and their id."""

    async def jobs_of(user: str) -> list[Job]:
        return [Job(id[1:], owner, "x", JobState.RUNNING) for id, owner in owner_of.items()]

    return SharesOfOthers(host, jobs_of, trusted=False)


async def test_only_the_owner_of_a_job_offers_its_session() -> None:
    offers = (OFFER, {**OFFER, "owner": "mallory"}, {**OFFER, "job_id": "8"})
    found, note = await _others(LoginHost(*offers), j7="alice", j8="carol").query()
    assert [(offer.owner, offer.job_id) for offer in found] == [("alice", "7")]
    assert note == "mallory offer a job which Slurm does not show as theirs"


async def test_the_password_comes_with_joining_and_is_not_shown() -> None:
    host = LoginHost(OFFER)
    offer = await _others(host, j7="alice").find("3f9a")
    assert offer.password == "gu3stpas"
    assert "gu3stpas" not in repr(offer)
    assert not any("gu3stpas" in word for command in host.asked for word in command.argv)


async def test_another_login_host_is_asked_by_ssh() -> None:
    host = LoginHost(OFFER)
    offer = await _others(host, j7="alice").find("7", "login2")
    assert offer.password
    for command in host.asked:
        assert (command.argv[0], *command.argv[-2:]) == ("ssh", "login2", "exec sh")
        assert "vizdash-share-" in (command.input or "")


@pytest.mark.parametrize("via", ["-oProxyCommand=x", "a b", "$(x)", "a;b"])
async def test_what_is_no_host_is_not_passed_to_ssh(via: str) -> None:
    host = LoginHost(OFFER)
    with pytest.raises(UsageError):
        await _others(host).query(via)
    assert host.asked == []


async def test_none_and_several() -> None:
    with pytest.raises(NotFound, match="nobody shares it with you"):
        await _others(LoginHost()).find("3f9a01bc")
    two = (OFFER, {**OFFER, "session": "3f9a0000", "job_id": "8"})
    with pytest.raises(UsageError, match="3f9a01bc of alice, 3f9a0000 of alice"):
        await _others(LoginHost(*two), j7="alice", j8="alice").find("3f9a")


async def test_the_reason_of_the_login_host() -> None:
    with pytest.raises(Refused, match="there is no python3 on login"):
        await _others(LoginHost(code=127, stderr="there is no python3 on login\n")).query()
    with pytest.raises(Unreachable, match="no route"):
        await _others(LoginHost(code=255, stderr="no route\n")).query("login2")


@pytest.mark.parametrize(
    "change",
    [
        {"session": "../etc"}, {"job_id": "7; x"}, {"app": None}, {"control": 1},
        {"expires_at": -1}, {"expires_at": True}, {"folder": "/tmp/vizdash-share-a/../b"},
        {"folder": "/home/alice"}, {"password": "longer than a password"}, {"owner": 3},
    ],
)  # fmt: skip
def test_an_offer_with_other_values_is_none(change: dict[str, object]) -> None:
    assert len(parse_offers(json.dumps(OFFER))) == 1
    assert parse_offers(json.dumps({**OFFER, **change})) == ()


@given(st.text(max_size=200))
def test_other_text_is_no_offer(text: str) -> None:
    assert all(isinstance(offer, Offer) for offer in parse_offers(text))
