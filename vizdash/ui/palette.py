"""The command palette: every action of the registry, with the reason of a disabled one."""

from __future__ import annotations

from collections.abc import Iterator

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.markup import escape
from textual.types import IgnoreReturnCallbackType

from vizdash.actions import Action, key_label
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.util.text import escape_control


class Actions(Provider):
    """Offers the enabled actions first; choosing a disabled one shows why it is disabled."""

    def _offers(self) -> Iterator[tuple[Action, str, IgnoreReturnCallbackType]]:
        screen = self.screen
        if not isinstance(screen, Dashboard):
            return
        context = screen.context()
        reasons = {action.id: action.reason(context) for action in screen.registry}
        for action in sorted(screen.registry, key=lambda action: bool(reasons[action.id])):
            why = escape(escape_control(reasons[action.id]))
            text = f"unavailable: {why}" if why else action.help
            if action.keys:
                text = f"{escape(key_label(action.keys[0]))} · {text}"
            yield action, text, lambda chosen=action.id: screen.perform(chosen)

    async def discover(self) -> Hits:
        """All actions, shown before anything is typed."""
        for action, text, run in self._offers():
            yield DiscoveryHit(action.title, run, help=text)

    async def search(self, query: str) -> Hits:
        """The actions that match ``query``."""
        matcher = self.matcher(query)
        for action, text, run in self._offers():
            score = max(matcher.match(action.title), matcher.match(action.help) * 0.8)
            if score > 0:
                yield Hit(score, matcher.highlight(action.title), run, help=text)
