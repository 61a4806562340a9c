"""The registry of actions: unique keys, and a reason for each disabled action."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vizdash.actions import REGISTRY, Action, ActionRegistry, Context, rules
from vizdash.model import Session, SessionState

#: Keys that users know by heart.
KEYS = {
    "n": "start",
    "o": "open",
    "enter": "open",
    "x": "stop",
    "l": "logs",
    "1": "focus_nodes",
    "2": "focus_sessions",
    "3": "focus_images",
    "question_mark": "help",
    "q": "quit",
}


def session(state: SessionState = SessionState.READY, *, mine: bool = True) -> Session:
    return Session("3f9a01bc", "7", "desktop", "bob", state, mine=mine)


def test_a_service_has_no_desktop_to_show_or_to_write_on() -> None:
    service = Context(session=replace(session(), service="web"))
    assert REGISTRY.by_id("message").reason(service) == "a service shows no messages"
    assert rules.may_enlarge(service) == "a service has no desktop"


def test_the_keys_are_those_that_people_know() -> None:
    for key, action_id in KEYS.items():
        action = REGISTRY.by_key(key)
        assert action is not None, key
        assert action.id == action_id


def test_ids_and_keys_are_taken_once() -> None:
    actions = list(REGISTRY)
    keys = [key for action in actions for key in action.keys]
    assert len(set(keys)) == len(keys)
    one = Action("a", "A", "Does a.", ("a",))
    for other in (Action("a", "B", "Does b.", ("b",)), Action("b", "B", "Does b.", ("a",))):
        with pytest.raises(ValueError, match="taken"):
            ActionRegistry((one, other))


def test_lookups() -> None:
    assert REGISTRY.by_verb("stop").id == REGISTRY.by_id("stop").id == "stop"
    assert REGISTRY.by_key("f12") is None
    with pytest.raises(KeyError):
        REGISTRY.by_id("nosuch")


def test_read_only_takes_every_change_away() -> None:
    context = Context(session=session(), read_only=True, admin=True)
    for action in REGISTRY:
        changes = action.writes or action.dangerous
        assert ("read-only" in action.reason(context)) == changes, action.id


def test_what_ends_or_overwrites_something_is_dangerous() -> None:
    assert REGISTRY.by_id("stop").dangerous
    assert not REGISTRY.by_id("quit").dangerous


@pytest.mark.parametrize("action_id", ["open", "stop", "logs"])
def test_without_a_session_there_is_a_reason(action_id: str) -> None:
    assert REGISTRY.by_id(action_id).reason(Context()) == "no session is selected"


@pytest.mark.parametrize(
    ("action_id", "chosen", "admin", "reason"),
    [
        ("open", session(), False, ""),
        ("open", session(mine=False), True, "only bob can open it"),
        ("open", session(SessionState.PENDING), False, "it is pending"),
        ("open", session(SessionState.ENDED), False, "it is ended"),
        ("stop", session(), False, ""),
        ("stop", session(SessionState.PENDING), False, ""),
        ("stop", session(SessionState.UNKNOWN), False, ""),
        ("stop", session(mine=False), False, "it belongs to bob"),
        ("stop", session(mine=False), True, ""),
        ("stop", session(SessionState.ENDED), False, "it has already ended"),
        ("logs", session(SessionState.ENDED), False, ""),
        ("logs", session(mine=False), True, "only bob can read its log"),
    ],
)
def test_reasons(action_id: str, chosen: Session, admin: bool, reason: str) -> None:
    assert REGISTRY.by_id(action_id).reason(Context(session=chosen, admin=admin)) == reason
