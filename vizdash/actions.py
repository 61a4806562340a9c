"""The one registry of what a person can do: keys, footer, palette, help and verbs use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from vizdash.model import Node, Session, SessionState, Snapshot

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
    images can't be changed from here (empty: they can).
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
    if context.marked:
        return "" if stoppable(context) else "none of the marked ones can be stopped"
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


def stoppable(context: Context) -> tuple[Session, ...]:
    """The sessions that a stop would end: the marked ones, or the chosen one."""
    chosen = context.marked or ((context.session,) if context.session else ())
    return tuple(s for s in chosen if s.live and (s.mine or context.admin))


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


def _may_change_images(context: Context) -> str:
    return context.image_rights


def _may_roll_back(context: Context) -> str:
    return context.image_rights or ("" if context.app else "no image is chosen")


def _may_repeat(context: Context) -> str:
    session = context.session
    if session is None:
        return "no session is chosen"
    return "" if session.resources.cores else "its size is not known"


def _has_limit(context: Context) -> str:
    return "" if timed(context) else "no session of yours is chosen whose time is running"


def timed(context: Context) -> Session | None:
    """The session whose time limit is meant: the chosen one, else the one that ends soon."""
    session = context.session
    if session and session.mine and session.live and session.node:
        return session if session.time_left_s is not None else context.urgent
    return context.urgent


def _in_list(context: Context) -> str:
    return "" if context.snapshot else "nothing is shown yet"


REGISTRY = ActionRegistry(
    (
        Action(
            "start",
            "New session",
            "Start a desktop: choose an app and its size.",
            ("n",),
            verb="start",
            writes=True,
            footer=1,
        ),
        Action(
            "open",
            "Open",
            "Open the chosen session's desktop in your browser.",
            ("o", "enter"),
            verb="open",
            on="session",
            footer=1,
            disabled_reason=_may_open,
        ),
        Action(
            "stop",
            "Stop",
            "End the chosen session or the marked ones; what isn't saved is lost.",
            ("x",),
            verb="stop",
            on="session",
            dangerous=True,
            footer=1,
            disabled_reason=_may_stop,
        ),
        Action(
            "logs",
            "Log",
            "Show the chosen session's log: follow it, search in it.",
            ("l",),
            verb="logs",
            on="session",
            footer=2,
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
            "deploy",
            "Deploy",
            "Bring an image to the nodes, check it there, and make it the current one.",
            ("d",),
            verb="deploy",
            on="image",
            writes=True,
            disabled_reason=_may_change_images,
        ),
        Action(
            "rollback",
            "Roll back",
            "Make the version before the current one again; running sessions keep theirs.",
            ("r",),
            verb="rollback",
            on="image",
            dangerous=True,
            disabled_reason=_may_roll_back,
        ),
        Action(
            "matrix",
            "Images × nodes",
            "Which node has which image: version, digest, drift, who runs from it, free space.",
            ("M",),
            verb="images",
            on="image",
        ),
        Action(
            "again",
            "Same again",
            "Start a session like the chosen one: the form is filled in.",
            ("A",),
            on="session",
            writes=True,
            footer=6,
            disabled_reason=_may_repeat,
        ),
        Action(
            "deadline",
            "Time",
            "Its time limit: start the same again, or ask for more time.",
            ("w",),
            footer=5,
            disabled_reason=_has_limit,
        ),
        Action(
            "filter",
            "Filter",
            "Show only rows with these words: !not state:ready user:me.",
            ("slash",),
            footer=3,
            disabled_reason=_in_list,
        ),
        Action("sort", "Sort", "Sort by the next column.", ("s",), footer=5),
        Action("sort_other_way", "Reverse", "Sort the other way round.", ("S",)),
        Action(
            "mark",
            "Mark",
            "Mark the session, to act on several at once.",
            ("space",),
            on="session",
            footer=6,
        ),
        Action("clear", "Clear", "Take filter and marks away.", ("escape",)),
        Action("mine", "Mine/all", "Show only your own sessions, or all.", ("a",), footer=5),
        Action("copy", "Copy", "Copy a cell or the address of this row.", ("c",), footer=6),
        Action("history", "History", "Load and sessions over time.", ("h",), footer=7),
        Action("commands", "Commands", "Every command vizdash ran, and what came of it.", ("C",)),
        Action("theme", "Theme", "The next theme: dark, light, high contrast.", ("T",)),
        Action("tunnels", "Tunnels", "The desktops that are open through this vizdash.", ("t",)),
        Action("clusters", "Clusters", "Go to another cluster of the config.", ("at",)),
        Action(
            "refresh",
            "Refresh",
            "Ask the cluster again now; log in again when the connection is lost.",
            ("R",),
            footer=8,
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
        Action("focus_nodes", "Nodes", "Go to the nodes.", ("1",)),
        Action("focus_sessions", "Sessions", "Go to the sessions.", ("2",)),
        Action("focus_images", "Images", "Go to the images.", ("3",)),
        Action(
            "help", "Help", "Show the keys of this pane, and of all.", ("question_mark",), footer=1
        ),
        Action("quit", "Quit", "Leave vizdash; sessions keep running.", ("q",), footer=2),
    )
)
