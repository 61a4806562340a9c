"""The one registry of what a person can do: keys, footer, palette, help and verbs use it."""

from vizdash.actions.listed import REGISTRY
from vizdash.actions.looking import judging, looking
from vizdash.actions.registry import (
    NOT_LOOKED,
    Action,
    ActionRegistry,
    Context,
    Target,
    key_label,
)
from vizdash.actions.rules import stoppable, timed

__all__ = [
    "NOT_LOOKED",
    "REGISTRY",
    "Action",
    "ActionRegistry",
    "Context",
    "Target",
    "judging",
    "key_label",
    "looking",
    "stoppable",
    "timed",
]
