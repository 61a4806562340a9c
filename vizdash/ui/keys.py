"""A person's own keys, from the config."""

from __future__ import annotations

from vizdash.actions import REGISTRY, ActionRegistry
from vizdash.config import Config
from vizdash.errors import ConfigError


def keyed(config: Config) -> ActionRegistry:
    """The actions on the keys of the config. Raises ConfigError for keys that can't be."""
    try:
        return REGISTRY.remapped(config.ui.keys)
    except ValueError as e:
        mend = f"actions: {', '.join(a.id for a in REGISTRY)}"
        raise ConfigError("ui.keys", str(e), mend) from e
