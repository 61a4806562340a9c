"""Base of screens whose keys are actions of the registry (session details, images)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textual import events, on
from textual.screen import Screen, ScreenResultType

from vizdash.actions import ActionRegistry, Context
from vizdash.ui.widgets.columns import Now
from vizdash.ui.widgets.footer import Footer


@dataclass(frozen=True, slots=True)
class ScreenState:
    """What a screen over the dashboard shows: the last snapshot and the user's rights in
    ``context``, the time, and the actions on the keys of the current config.
    """

    context: Context
    now: Now
    registry: ActionRegistry


class ActionScreen(Screen[ScreenResultType]):
    """``choose`` picks this screen's actions from the registry."""

    def __init__(
        self, registry: ActionRegistry, choose: Callable[[ActionRegistry], ActionRegistry]
    ) -> None:
        super().__init__()
        self._registry = registry
        self._choose = choose
        self._actions = choose(registry)
        self._footer = Footer(self._actions, palette=False)

    def use(self, registry: ActionRegistry) -> None:
        """Use the registry of a changed config."""
        if registry is not self._registry:
            self._registry, self._actions = registry, self._choose(registry)
            self._footer.use(self._actions)

    def on_key(self, event: events.Key) -> None:
        """Perform the action of the key."""
        action = self._actions.by_key(event.key)
        if action is not None:
            event.stop()
            self.perform(action.id)

    @on(Footer.Pressed)
    def _pressed(self, event: Footer.Pressed) -> None:
        self.perform(event.action_id)

    def perform(self, action_id: str) -> None:
        """Perform an action of this screen, or show why it can't be performed now."""
