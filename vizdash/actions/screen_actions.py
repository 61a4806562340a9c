"""The actions that the session details and the images by node offer, with their words."""

from __future__ import annotations

from dataclasses import replace

from vizdash.actions import rules
from vizdash.actions.registry import Action, ActionRegistry

#: Actions that here act on the session, elsewhere on other things too.
_TO_IT = {"logs", "time_limit", "copy"}
#: Ranks in the footers of these screens, which hold more than the dashboard's.
_RANKS = {
    "help": 1,
    "deploy": 1,
    "rollback": 1,
    "sort": 3,
    "stop": 1,
    "open": 1,
    "logs": 2,
    "copy": 3,
    "time_limit": 4,
    "upgrade": 5,
    "repeat": 6,
}
_LAST = 7


def session_screen_actions(registry: ActionRegistry) -> ActionRegistry:
    """The actions of the session details, on the configured keys. ``escape`` always closes; the
    screen's other fixed keys give way to configured ones.
    """
    to_it = [_ranked(a) for a in registry if _acts_on_it(a)]
    picture, refresh, help_ = (_ranked(registry.by_id(i)) for i in ("details", "refresh", "help"))
    taken = {key for a in (*to_it, picture, refresh, help_) for key in a.keys}
    back = Action("back", "Back", "Go back to the lists.", ("escape", *({"q"} - taken)), footer=1)
    picture = replace(
        picture,
        title="Preview",
        help="Show the preview alone, or with all details again.",
        disabled_reason=rules.may_enlarge,
        footer=1,
    )
    reload = Action(
        "reload",
        "Reload",
        "Read the log and the preview again.",
        (*({"r"} - taken), *refresh.keys),
        footer=4,
    )
    return ActionRegistry((back, picture, *to_it, reload, help_))


def matrix_screen_actions(registry: ActionRegistry) -> ActionRegistry:
    """The actions of the images by node, on the configured keys."""
    log = replace(
        _ranked(registry.by_id("logs")), title="Build log", disabled_reason=rules.may_see_build_log
    )
    names = ("deploy", "rollback", "sort", "sort_reverse", "help")
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
    return action.id in _TO_IT or (action.on == "session" and action.id not in {"details", "mark"})


def _ranked(action: Action) -> Action:
    keys = tuple(key for key in action.keys if key != "escape")
    return replace(action, keys=keys, footer=_RANKS.get(action.id, _LAST))
