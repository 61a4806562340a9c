"""A screen whose keys are actions of the registry, on the person's own keys."""

from __future__ import annotations

from collections.abc import Callable

from textual import events, on
from textual.screen import Screen, ScreenResultType

from vizdash.actions import ActionRegistry
from vizdash.ui.widgets.footer import Footer


class Keyed(Screen[ScreenResultType]):
    """``choose`` makes this screen's actions of the registry; ``take`` follows a changed config."""

    def __init__(
        self, registry: ActionRegistry, choose: Callable[[ActionRegistry], ActionRegistry]
    ) -> None:
        super().__init__()
        self._registry = registry
        self._choose = choose
        self._actions = choose(registry)
        self._footer = Footer(self._actions, palette=False)

    def take(self, registry: ActionRegistry) -> None:
        """The registry as it stands now."""
        if registry is not self._registry:
            self._registry, self._actions = registry, self._choose(registry)
            self._footer.use(self._actions)

    def on_key(self, event: events.Key) -> None:
        """A key of an action is that action."""
        action = self._actions.by_key(event.key)
        if action is not None:
            event.stop()
            self.action_want(action.id)

    @on(Footer.Pressed)
    def _pressed(self, event: Footer.Pressed) -> None:
        self.action_want(event.action_id)

    def action_want(self, action_id: str) -> None:
        """Do it, or say why it can't be done: each screen its own."""
