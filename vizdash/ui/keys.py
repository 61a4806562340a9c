"""A person's own keys, from the config."""

from __future__ import annotations

import string

from textual.keys import Keys, _character_to_key

from vizdash.actions import REGISTRY, Action, ActionRegistry
from vizdash.config import Config
from vizdash.config.fields import nearest
from vizdash.errors import ConfigError

#: Keys that never reach an action: the lists and the panes have them.
_LISTS = "up down j k g G home end pageup pagedown tab shift+tab ctrl+b ctrl+f"
_TAKEN = {
    **dict.fromkeys(_LISTS.split(), "it moves about in the lists"),
    **dict.fromkeys(("ctrl+p", "colon"), "it opens the palette"),
    **dict.fromkeys(("ctrl+q", "ctrl+c"), "it leaves vizdash"),
}
_MODIFIERS = ("ctrl", "shift", "alt")
#: The names of keys, without modifiers.
_NAMES = frozenset(key.value.split("+")[-1] for key in Keys if len(key.value) > 1) | frozenset(
    _character_to_key(sign) for sign in string.punctuation
)


def keyed(config: Config) -> ActionRegistry:
    """The actions on the keys of the config.

    Raises ConfigError, naming file, line, key and the nearest there is, for keys that can't be.
    """
    ids = tuple(action.id for action in REGISTRY)
    keys: dict[str, tuple[str, ...]] = {}
    for name, wanted in config.ui.keys.items():
        where = _where(config, name)
        if name not in ids:
            raise ConfigError(where, "no such action", nearest(name, ids))
        keys[name] = tuple(_key(where, key) for key in wanted)
    holders: dict[str, Action] = {}
    # Those of the config last: they are the ones to blame.
    for action in sorted(REGISTRY, key=lambda a: a.id in keys):
        for key in keys.get(action.id, action.keys):
            if (other := holders.setdefault(key, action)) is not action:
                why = f"{key} is the key of {other.id} already"
                raise ConfigError(_where(config, action.id), why, f"see ui.keys.{other.id}")
    return REGISTRY.remapped(keys)


def _where(config: Config, name: str) -> str:
    key, origin = f"ui.keys.{name}", config.ui.keys_from.get(name, "")
    return f"{origin}: {key}" if origin else key


def _key(where: str, written: str) -> str:
    """A key in Textual's notation; a sign may stand for itself. Raises ConfigError."""
    *modifiers, name = written.split("+") if len(written) > 1 else [written]
    if len(name) == 1 and name in string.punctuation:
        name = _character_to_key(name)
    for word in modifiers:
        if word not in _MODIFIERS:
            raise ConfigError(where, f"no such key: {written}", nearest(word, _MODIFIERS))
    if len(name) != 1 and name not in _NAMES:
        close = nearest(written.replace("-", "+"), (*_ctrl(), *_NAMES))
        mend = close if close.startswith("did") else "e.g. x, X, f5, ctrl+r, slash"
        raise ConfigError(where, f"no such key: {written}", mend)
    key = "+".join((*modifiers, name))
    if key in _TAKEN:
        raise ConfigError(where, f"{key} can't be had: {_TAKEN[key]}", "choose another one")
    return key


def _ctrl() -> tuple[str, ...]:
    return tuple(f"ctrl+{letter}" for letter in string.ascii_lowercase)
