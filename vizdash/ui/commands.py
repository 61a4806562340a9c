"""The palette: the registry's actions that can be done now."""

from __future__ import annotations

from collections.abc import Iterator

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.types import IgnoreReturnCallbackType

from vizdash.actions import REGISTRY, Action
from vizdash.ui.screens.dashboard import Dashboard


class Actions(Provider):
    """Offers what the footer offers, and the panes."""

    def _enabled(self) -> Iterator[tuple[Action, IgnoreReturnCallbackType]]:
        screen = self.screen
        if not isinstance(screen, Dashboard):
            return
        context = screen.context()
        for action in REGISTRY:
            if not action.reason(context):
                yield action, lambda chosen=action.id: screen.action_want(chosen)

    async def discover(self) -> Hits:
        """All of them, before anything is typed."""
        for action, run in self._enabled():
            yield DiscoveryHit(action.title, run, help=action.help)

    async def search(self, query: str) -> Hits:
        """Those that match."""
        matcher = self.matcher(query)
        for action, run in self._enabled():
            score = max(matcher.match(action.title), matcher.match(action.help) * 0.8)
            if score > 0:
                yield Hit(score, matcher.highlight(action.title), run, help=action.help)
