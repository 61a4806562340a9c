"""What an action is, and the registry that holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from vizdash.model import Node, Session, Snapshot

Target = Literal["session", "node", "image", "any"]

#: Why images can't be changed as long as nobody knows better.
NOT_LOOKED = "the nodes have not been looked at yet"
_LABELS = {
    "question_mark": "?",
    "at": "@",
    "enter": "⏎",
    "colon": ":",
    "escape": "esc",
    "slash": "/",
    "exclamation_mark": "!",
}


@dataclass(frozen=True, slots=True)
class Context:
    """What is on the screen and under the cursor: ``pane`` is the pane with the focus, ``marked``
    are sessions that the person marked to act on all of them, ``urgent`` is the session of
    one's own whose time limit is near, ``app`` is that of an image. ``image_rights`` says why
    images can't be changed from here (empty: they can), ``pictured`` whether the session's
    desktop is seen now.
    """

    snapshot: Snapshot | None = None
    session: Session | None = None
    node: Node | None = None
    marked: tuple[Session, ...] = ()
    pane: Target = "any"
    urgent: Session | None = None
    read_only: bool = False
    admin: bool = False
    node_admin: bool = False
    app: str = ""
    image_rights: str = NOT_LOOKED
    pictured: bool = False


def key_label(key: str) -> str:
    """A key in Textual's notation as people write it."""
    return _LABELS.get(key, key.replace("ctrl+", "^"))


def _always(context: Context) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do. ``verb`` is its name on the command line (empty: screen only), ``on``
    what it acts on, ``dangerous`` whether it is confirmed and hidden when read-only, ``footer``
    its rank in the line of keys (0: not there; the highest goes first when the room is short);
    ``disabled_reason`` says why it can't be done now (empty: it can).
    """

    id: str
    title: str
    help: str
    keys: tuple[str, ...]
    verb: str = ""
    on: Target = "any"
    dangerous: bool = False
    writes: bool = False
    footer: int = 0
    disabled_reason: Callable[[Context], str] = _always

    def reason(self, context: Context) -> str:
        """Why it can't be done in this context; empty when it can."""
        if context.read_only and (self.writes or self.dangerous):
            return "this vizdash is read-only"
        if self.on == "session" and context.session is None:
            return "no session is chosen"
        if self.on == "node" and context.node is None:
            return "no node is chosen"
        return self.disabled_reason(context)


class ActionRegistry:
    """Actions in the order in which they are shown."""

    def __init__(self, actions: tuple[Action, ...]) -> None:
        self._by_id: dict[str, Action] = {}
        self._by_key: dict[str, Action] = {}
        for action in actions:
            self.add(action)

    def add(self, action: Action) -> None:
        """Raises ValueError when the id or a key is taken."""
        taken = [key for key in action.keys if key in self._by_key]
        if action.id in self._by_id or taken:
            raise ValueError(f"action {action.id}: id or key taken {taken}")
        self._by_id[action.id] = action
        self._by_key.update(dict.fromkeys(action.keys, action))

    def remove(self, action_id: str) -> None:
        """Take an action out. Raises KeyError for an unknown one."""
        action = self._by_id.pop(action_id)
        for key in action.keys:
            del self._by_key[key]

    def remapped(self, keys: Mapping[str, tuple[str, ...]]) -> ActionRegistry:
        """The same actions on a person's own keys (Textual's notation); no keys: none.

        Raises ValueError for an unknown action or a key that two actions want.
        """
        unknown = [name for name in keys if name not in self._by_id]
        if unknown:
            raise ValueError(f"no action is called {unknown[0]!r}")
        return ActionRegistry(tuple(replace(a, keys=keys.get(a.id, a.keys)) for a in self))

    def by_key(self, key: str) -> Action | None:
        """The action of a key in Textual's notation."""
        return self._by_key.get(key)

    def by_id(self, action_id: str) -> Action:
        """Raises KeyError for an unknown one."""
        return self._by_id[action_id]

    def by_verb(self, verb: str) -> Action:
        """The action of a command-line verb. Raises KeyError for an unknown one."""
        return next(a for a in self if a.verb == verb)

    def __iter__(self) -> Iterator[Action]:
        return iter(self._by_id.values())
