"""Keyboard keys: those configured for actions, and which one a click on a key line means."""

from __future__ import annotations

import re
import string

from textual.binding import Binding, BindingType
from textual.keys import Keys

from vizdash.actions import REGISTRY, Action, ActionRegistry
from vizdash.config import Config
from vizdash.config.readers import nearest
from vizdash.errors import ConfigError
from vizdash.util.text import cell_width

#: Keys that work on every screen.
APP_BINDINGS: list[BindingType] = [
    Binding("ctrl+q", "quit", "Quit", show=False, priority=True),
    Binding("ctrl+c", "quit", "Quit", show=False),
    Binding("ctrl+z", "suspend_process", "Suspend", show=False, priority=True),
    Binding("question_mark", "screen_help", "Help", show=False),
    Binding("f1", "screen_help", "Help", show=False, priority=True),  # also in a text field
]
#: Keys of lists and panes, which never reach an action.
_LISTS = "up down j k g G home end pageup pagedown tab shift+tab ctrl+b ctrl+f"
_TAKEN = {
    **dict.fromkeys(_LISTS.split(), "it moves the cursor in lists"),
    **dict.fromkeys(("ctrl+p", "colon"), "it opens the palette"),
    **dict.fromkeys(("ctrl+q", "ctrl+c"), "it quits vizdash"),
}
_MODIFIERS = ("ctrl", "shift", "alt")


def _key_name(sign: str) -> str:
    """Textual's name of the key of a character."""
    if sign == ",":  # which separates keys in a binding
        return "comma"
    (binding,) = Binding.make_bindings([Binding(sign, "")])
    return binding.key


#: The names of keys, without modifiers.
_KEY_NAMES = frozenset(key.value.split("+")[-1] for key in Keys if len(key.value) > 1) | frozenset(
    _key_name(sign) for sign in string.punctuation
)


def configured_actions(config: Config) -> ActionRegistry:
    """The registry with the keys of the config.

    Raises ConfigError, with file, line, key and the nearest valid name, for keys that are invalid.
    """
    ids = tuple(action.id for action in REGISTRY)
    keys: dict[str, tuple[str, ...]] = {}
    for name, wanted in config.ui.keys.items():
        where = _where(config, name)
        if name not in ids:
            raise ConfigError(where, "no such action", nearest(name, ids))
        keys[name] = tuple(_configured_key(where, key) for key in wanted)
    holders: dict[str, Action] = {}
    # Actions with configured keys last, so that the error names them.
    for action in sorted(REGISTRY, key=lambda a: a.id in keys):
        for key in keys.get(action.id, action.keys):
            if (other := holders.setdefault(key, action)) is not action:
                why = f"{key} is already the key of {other.id}"
                raise ConfigError(_where(config, action.id), why, f"see ui.keys.{other.id}")
    return REGISTRY.remapped(keys)


def _where(config: Config, name: str) -> str:
    key, origin = f"ui.keys.{name}", config.ui.keys_from.get(name, "")
    return f"{origin}: {key}" if origin else key


def _configured_key(where: str, written: str) -> str:
    """A key in Textual's notation; punctuation may be written as itself. Raises ConfigError."""
    *modifiers, name = written.split("+") if len(written) > 1 else [written]
    if len(name) == 1 and name in string.punctuation:
        name = _key_name(name)
    for word in modifiers:
        if word not in _MODIFIERS:
            raise ConfigError(where, f"no such key: {written}", nearest(word, _MODIFIERS))
    if len(name) != 1 and name not in _KEY_NAMES:
        close = nearest(written.replace("-", "+"), (*_ctrl(), *_KEY_NAMES))
        fix = close if close.startswith("did") else "e.g. x, X, f5, ctrl+r, slash"
        raise ConfigError(where, f"no such key: {written}", fix)
    key = "+".join((*modifiers, name))
    if key in _TAKEN:
        raise ConfigError(where, f"{key} is reserved: {_TAKEN[key]}", "choose another key")
    return key


def _ctrl() -> tuple[str, ...]:
    return tuple(f"ctrl+{letter}" for letter in string.ascii_lowercase)


_PARTS = re.compile(r"( · |\s{2,})")
_WRITTEN_KEYS = {
    "esc": "escape",
    "/": "slash",
    "?": "question_mark",
    "@": "at",
    "⏎": "enter",
    "↑": "down",
    "↓": "down",
    "←": "right",
    "→": "right",
}
_KEY_WORD = re.compile(r"enter|tab|space|f[1-9][0-2]?|(ctrl\+)?[A-Za-z0-9]")


def key_at(text: str, cell: int) -> str:
    """The key, in Textual's notation, that ``text`` names at this cell: ``text`` is a line of keys
    such as ``esc Back n N Next`` or ``enter copies · esc closes``. Empty where there is none.
    """
    at = 0
    for part in _PARTS.split(text):
        end = at + cell_width(part)
        if at <= cell < end:
            return _written_key(part.split(" ")[0])
        at = end
    return ""


def _written_key(word: str) -> str:
    key = _WRITTEN_KEYS.get(word, word.replace("^", "ctrl+"))
    return key if word in _WRITTEN_KEYS or _KEY_WORD.fullmatch(key) else ""
