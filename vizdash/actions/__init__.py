"""The registry of actions: keys, footer, palette, help and verbs are made from it."""

from vizdash.actions.catalogue import REGISTRY
from vizdash.actions.registry import NOT_CHECKED, Action, ActionRegistry, Context, Target, key_label
from vizdash.actions.rules import is_out_of_service, stoppable, timed
from vizdash.actions.screen_actions import matrix_screen_actions, session_screen_actions

__all__ = [
    "NOT_CHECKED",
    "REGISTRY",
    "Action",
    "ActionRegistry",
    "Context",
    "Target",
    "is_out_of_service",
    "key_label",
    "matrix_screen_actions",
    "session_screen_actions",
    "stoppable",
    "timed",
]
