"""What an action is, and the registry that holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from vizdash.model import Node, Session, Snapshot

Target = Literal["session", "node", "image", "any"]

#: Why images can't be changed before the nodes were checked.
NOT_CHECKED = "the nodes have not been checked yet"
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
    """What an action depends on: ``pane`` is the focused pane; ``session``, ``node`` and ``app``
    (of an image) are those under the cursor; ``marked`` are the marked sessions; ``urgent`` is your
    session whose time limit is near. ``image_rights`` is why images can't be changed here (empty:
    they can); ``pictured`` is whether the preview is shown.
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
    image_rights: str = NOT_CHECKED
    pictured: bool = False


def key_label(key: str) -> str:
    """A key in Textual's notation as it is written on the screen."""
    return _LABELS.get(key, key.replace("ctrl+", "^"))


def _always(context: Context) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Action:
    """One action. ``verb`` is its command-line verb (empty: dashboard only) and ``verb_help`` that
    verb's help where it differs: it speaks of arguments, not of rows. ``on`` is what it acts on. A
    ``dangerous`` action asks for confirmation and, as one that ``writes``, is disabled when
    read-only. ``footer`` is its rank in the footer (0: not shown; the highest is dropped first).
    ``disabled_reason`` is why it is disabled (empty: it is enabled).
    """

    id: str
    title: str
    help: str
    keys: tuple[str, ...]
    verb: str = ""
    verb_help: str = ""
    on: Target = "any"
    dangerous: bool = False
    writes: bool = False
    footer: int = 0
    disabled_reason: Callable[[Context], str] = _always

    def reason(self, context: Context) -> str:
        """Why the action is disabled in this context; empty when it is enabled."""
        if context.read_only and (self.writes or self.dangerous):
            return "vizdash is read-only"
        saved = context.snapshot is not None and context.snapshot.saved
        if saved and (self.on != "any" or self.dangerous):
            return "the cluster has not answered yet"
        if self.on == "session" and context.session is None:
            return "no session is selected"
        if self.on == "node" and context.node is None:
            return "no node is selected"
        return self.disabled_reason(context)


class ActionRegistry:
    """Actions by id and by key, in the order in which they are shown."""

    def __init__(self, actions: tuple[Action, ...]) -> None:
        self._by_id: dict[str, Action] = {}
        self._by_key: dict[str, Action] = {}
        for action in actions:
            self.add(action)

    def add(self, action: Action) -> None:
        """Add an action. Raises ValueError when its id or one of its keys is taken."""
        taken = [key for key in action.keys if key in self._by_key]
        if action.id in self._by_id or taken:
            raise ValueError(f"action {action.id}: id or key taken {taken}")
        self._by_id[action.id] = action
        self._by_key.update(dict.fromkeys(action.keys, action))

    def remove(self, action_id: str) -> None:
        """Remove an action. Raises KeyError for an unknown id."""
        action = self._by_id.pop(action_id)
        for key in action.keys:
            del self._by_key[key]

    def remapped(self, keys: Mapping[str, tuple[str, ...]]) -> ActionRegistry:
        """The same actions on the configured ``keys`` (Textual's notation); an empty tuple leaves
        an action without keys. Raises ValueError for an unknown id, or for a key of two actions.
        """
        unknown = [name for name in keys if name not in self._by_id]
        if unknown:
            raise ValueError(f"no action is called {unknown[0]!r}")
        return ActionRegistry(tuple(replace(a, keys=keys.get(a.id, a.keys)) for a in self))

    def by_key(self, key: str) -> Action | None:
        """The action of a key in Textual's notation."""
        return self._by_key.get(key)

    def by_id(self, action_id: str) -> Action:
        """The action with this id. Raises KeyError for an unknown id."""
        return self._by_id[action_id]

    def by_verb(self, verb: str) -> Action:
        """The action of a command-line verb. Raises KeyError for an unknown one."""
        for action in self:
            if action.verb == verb:
                return action
        raise KeyError(verb)

    def verb_help(self, verb: str) -> str:
        """The help of a command-line verb. Raises KeyError for an unknown one."""
        action = self.by_verb(verb)
        return action.verb_help or action.help

    def __iter__(self) -> Iterator[Action]:
        return iter(self._by_id.values())
