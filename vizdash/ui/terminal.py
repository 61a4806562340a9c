"""What a terminal can be told besides text: a desktop notification, a title, the bell.

OSC 9 (iTerm2, Windows Terminal, kitty, WezTerm, Ghostty), OSC 777 (urxvt, foot, VTE) and OSC 2
(xterm's control sequences, "Set Text Parameters"). Pure: these give the sequences.
"""

from __future__ import annotations

from vizdash.ui.format import escape_control

BELL = "\a"
#: Characters of a title or a notification that are sent.
_MOST = 120


def _safe(text: str) -> str:
    return escape_control(text).replace(";", ",")[:_MOST]


def notification(title: str, body: str) -> str:
    """A desktop notification, both ways; terminals pass over the one they don't know."""
    title, body = _safe(title), _safe(body)
    return f"\x1b]9;{title}: {body}\x1b\\\x1b]777;notify;{title};{body}\x1b\\"


def window_title(text: str) -> str:
    """The terminal's title; empty gives it back to the shell."""
    return f"\x1b]2;{_safe(text)}\x1b\\"
