"""The number of viewers of a desktop, from its job's comment."""

from __future__ import annotations

import pytest

from vizdash.model import Job, JobState, Session
from vizdash.sessions.comment import Claim, decode, encode
from vizdash.sessions.listing import sessions_from_jobs

START = "vizdash/1 id=3f9a01bc app=desktop image=1.0 "


def session_with(comment: str, state: JobState = JobState.RUNNING) -> Session:
    (session,) = sessions_from_jobs([Job("7", "bob", "n", state, comment=comment)], "alice")
    return session


def test_a_comment_without_viewers_is_still_vizdashs() -> None:
    session = session_with(START + "state=ready step=ready")
    assert (session.viewers, session.idle_since) == (None, None)


def test_no_viewers_since_a_time() -> None:
    session = session_with(START + "state=ready step=ready viewers=0 since=1767225600")
    assert (session.viewers, session.idle_since) == (0, 1767225600)


def test_viewers_are_connected() -> None:
    session = session_with(START + "state=ready step=ready viewers=2 since=1767225600")
    assert (session.viewers, session.idle_since) == (2, None)


@pytest.mark.parametrize("state", [JobState.CANCELLED, JobState.COMPLETING, JobState.PENDING])
def test_only_a_ready_desktop_has_viewers(state: JobState) -> None:
    session = session_with(START + "state=ready step=ready viewers=0 since=1767225600", state)
    assert (session.viewers, session.idle_since) == (None, None)


@pytest.mark.parametrize("viewers", ["-1", "x", "-", "99999999999", "1.5"])
def test_a_forged_number_is_no_number(viewers: str) -> None:
    session = session_with(START + f"state=ready step=ready viewers={viewers} since={viewers}")
    assert session.id == "3f9a01bc"
    assert (session.viewers, session.idle_since) == (None, None)


def test_it_comes_back_as_it_was_written() -> None:
    claim = Claim("3f9a01bc", "desktop", "1.0", "ready", "ready", viewers=1, since=1767225600)
    assert decode(encode(claim)) == claim
