"""The one registry of what a person can do: keys, footer, palette, help and verbs use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from vizdash.model import Node, Session, SessionState, Snapshot

Target = Literal["session", "node", "image", "any"]


@dataclass(frozen=True, slots=True)
class Context:
    """What is on the screen and under the cursor."""

    snapshot: Snapshot | None = None
    session: Session | None = None
    node: Node | None = None
    read_only: bool = False
    admin: bool = False
    node_admin: bool = False


def _always(context: Context) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do. ``verb`` is its name on the command line (empty: screen only), ``on``
    what it acts on, ``dangerous`` whether it is confirmed and hidden when read-only;
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


def _may_open(context: Context) -> str:
    session = context.session
    if session is None:
        return "no session is chosen"
    if not session.mine:
        return f"only {session.user} can open it"
    if session.state is not SessionState.READY:
        return f"it is {session.state}"
    return ""


def _may_stop(context: Context) -> str:
    session = context.session
    if session is None:
        return "no session is chosen"
    if not session.mine and not context.admin:
        return f"it belongs to {session.user}"
    if session.state is SessionState.ENDED:
        return "it has ended"
    return ""


def _may_extend(context: Context) -> str:
    session = context.session
    if session is None:
        return "no session is chosen"
    if session.state is SessionState.ENDED:
        return "it has ended"
    if not session.resources.time_s:
        return "it has no time limit"
    return "" if session.mine or context.admin else f"it belongs to {session.user}"


def _may_message(context: Context) -> str:
    session = context.session
    if session is None:
        return "no session is chosen"
    if session.state is not SessionState.READY:
        return f"it is {session.state}"
    if session.legacy:
        return "a job script of the older kind shows no messages"
    return "" if session.mine or context.admin else f"it belongs to {session.user}"


def _may_drain(context: Context) -> str:
    if not context.node_admin:
        return "only Slurm's administrators may"
    node = context.node
    return "it is drained already" if node is not None and "DRAIN" in node.flags else ""


def _may_resume(context: Context) -> str:
    if not context.node_admin:
        return "only Slurm's administrators may"
    node = context.node
    away = node is not None and ("DRAIN" in node.flags or node.state == "DOWN")
    return "" if away else "it is neither drained nor down"


def _may_renew(context: Context) -> str:
    session = context.session
    if session is None:
        return "no session is chosen"
    if not session.mine:
        return f"it belongs to {session.user}"
    return "" if session.newer_version else "no newer image of it is out"


def _may_read(context: Context) -> str:
    session = context.session
    if session is None:
        return "no session is chosen"
    return "" if session.mine else f"only {session.user} can read its log"


REGISTRY = ActionRegistry(
    (
        Action(
            "start",
            "New session",
            "Start a desktop: choose an app and its size.",
            ("n",),
            verb="start",
            writes=True,
        ),
        Action(
            "open",
            "Open",
            "Open the chosen session's desktop in your browser.",
            ("o", "enter"),
            verb="open",
            on="session",
            disabled_reason=_may_open,
        ),
        Action(
            "stop",
            "Stop",
            "End the chosen session; what isn't saved in it is lost.",
            ("x",),
            verb="stop",
            on="session",
            dangerous=True,
            disabled_reason=_may_stop,
        ),
        Action(
            "logs",
            "Log",
            "Show the chosen session's log.",
            ("l",),
            verb="logs",
            on="session",
            disabled_reason=_may_read,
        ),
        Action(
            "extend",
            "Extend",
            "Give the chosen session more time (Slurm's operators may).",
            ("e",),
            verb="extend",
            on="session",
            writes=True,
            disabled_reason=_may_extend,
        ),
        Action(
            "message",
            "Message",
            "Show a message on the chosen session's desktop.",
            ("m",),
            verb="message",
            on="session",
            writes=True,
            disabled_reason=_may_message,
        ),
        Action(
            "drain",
            "Drain",
            "Let no new job onto the chosen node; those that run go on.",
            ("D",),
            verb="drain",
            on="node",
            dangerous=True,
            disabled_reason=_may_drain,
        ),
        Action(
            "resume",
            "Resume",
            "Let jobs onto the chosen node again.",
            ("U",),
            verb="resume",
            on="node",
            dangerous=True,
            disabled_reason=_may_resume,
        ),
        Action(
            "renew",
            "On the newer image",
            "A newer image is out: start a session of the same size on it; the old one goes on.",
            ("N",),
            on="session",
            writes=True,
            disabled_reason=_may_renew,
        ),
        Action(
            "build",
            "Build",
            "Build an app's image from its definition file, as an ordinary user; deploy it then.",
            ("b",),
            verb="build",
            writes=True,
        ),
        Action("refresh", "Refresh", "Ask the cluster again now.", ("R",)),
        Action("focus_nodes", "Nodes", "Go to the nodes.", ("1",)),
        Action("focus_sessions", "Sessions", "Go to the sessions.", ("2",)),
        Action("focus_images", "Images", "Go to the images.", ("3",)),
        Action("help", "Help", "Show every key and what it does.", ("question_mark",)),
        Action("quit", "Quit", "Leave vizdash; sessions keep running.", ("q",)),
    )
)
