"""What can be done on the screens of one session and of every image: to it, and to the screen."""

from __future__ import annotations

from dataclasses import replace

from vizdash.actions import rules
from vizdash.actions.registry import Action, ActionRegistry

#: What is done to one session here, though elsewhere to other things too.
_TO_IT = {"logs", "deadline", "copy"}
#: Ranks in these screens' lines of keys, which have room for more than the dashboard's.
_RANKS = {
    "help": 1,
    "deploy": 1,
    "rollback": 1,
    "sort": 3,
    "stop": 1,
    "open": 1,
    "logs": 2,
    "copy": 3,
    "deadline": 4,
    "renew": 5,
    "again": 6,
}
_LAST = 7


def looking(registry: ActionRegistry) -> ActionRegistry:
    """The actions of that screen, on the person's own keys. ``escape`` always leads back; the
    screen's other fixed keys are its own unless the person gave them to an action.
    """
    to_it = [_ranked(a) for a in registry if _acts_on_it(a)]
    picture, refresh, help_ = (_ranked(registry.by_id(i)) for i in ("look", "refresh", "help"))
    taken = {key for a in (*to_it, picture, refresh, help_) for key in a.keys}
    back = Action("back", "Back", "Go back to the lists.", ("escape", *({"q"} - taken)), footer=1)
    picture = replace(
        picture,
        title="Picture",
        help="Its desktop on the whole screen, or everything again.",
        disabled_reason=rules.may_enlarge,
        footer=1,
    )
    reload = Action(
        "reload",
        "Reload",
        "Ask for its log and its picture again.",
        (*({"r"} - taken), *refresh.keys),
        footer=4,
    )
    return ActionRegistry((back, picture, *to_it, reload, help_))


def judging(registry: ActionRegistry) -> ActionRegistry:
    """The actions of the screen that shows every image on every node, on the person's own keys."""
    log = replace(
        _ranked(registry.by_id("logs")), title="Build log", disabled_reason=rules.may_see_build_log
    )
    names = ("deploy", "rollback", "sort", "sort_other_way", "help")
    here = (log, *(_ranked(registry.by_id(name)) for name in names))
    taken = {key for a in here for key in a.keys}
    again = registry.by_id("matrix").keys
    keys = ("escape", *(key for key in ("q", *again) if key not in taken))
    back = Action("back", "Back", "Go back to the lists.", keys, footer=1)
    unfold = Action(
        "unfold",
        "Unfold",
        "Show the nodes of a row one by one, or fold them again.",
        (*({"enter"} - taken),),
        footer=2,
    )
    return ActionRegistry((back, unfold, *here))


def _acts_on_it(action: Action) -> bool:
    return action.id in _TO_IT or (action.on == "session" and action.id not in {"look", "mark"})


def _ranked(action: Action) -> Action:
    keys = tuple(key for key in action.keys if key != "escape")
    return replace(action, keys=keys, footer=_RANKS.get(action.id, _LAST))
