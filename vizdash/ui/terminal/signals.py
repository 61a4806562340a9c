"""The bell, desktop notifications and the terminal's title, written past the screen.

OSC 9 (iTerm2, Windows Terminal, kitty, WezTerm, Ghostty), OSC 777 (urxvt, foot, VTE) and OSC 2
(xterm's control sequences, "Set Text Parameters").
"""

from __future__ import annotations

from collections.abc import Callable

from vizdash.config.model import UiSettings
from vizdash.model import SessionState, Snapshot
from vizdash.util.text import escape_control

BELL = "\a"
#: Maximum characters of a title or a notification.
_MAX_CHARS = 120


def notification(title: str, body: str) -> str:
    """The sequences of a desktop notification: terminals ignore the one that they don't know."""
    title, body = _safe(title), _safe(body)
    return f"\x1b]9;{title}: {body}\x1b\\\x1b]777;notify;{title};{body}\x1b\\"


def window_title(text: str) -> str:
    """The sequence of the terminal's title; an empty title gives it back to the shell."""
    return f"\x1b]2;{_safe(text)}\x1b\\"


def _safe(text: str) -> str:
    return escape_control(text).replace(";", ",")[:_MAX_CHARS]


class TerminalSignals:
    """Writes the signals that the config allows; ``write`` takes control sequences."""

    def __init__(self, settings: Callable[[], UiSettings], write: Callable[[str], None]) -> None:
        self._settings = settings
        self._write = write
        self._title = ""

    def ring(self, text: str) -> None:
        """Ring the bell and show ``text`` as a desktop notification."""
        settings = self._settings()
        if settings.bell:
            self._write(BELL)
        if settings.notify:
            self._write(notification("vizdash", text))

    def set_title(self, snapshot: Snapshot | None) -> None:
        """Name the cluster and count your ready desktops in the terminal's title."""
        sessions = snapshot.sessions if snapshot else ()
        ready = sum(s.mine and s.state is SessionState.READY for s in sessions)
        title = "vizdash" + (f" {snapshot.cluster}" if snapshot else "")
        title += f": {ready} ready" if ready else ""
        if title != self._title and self._settings().title:
            self._title = title
            self._write(window_title(title))

    def close(self) -> None:
        """Give the title back to the shell."""
        if self._title:
            self._write(window_title(""))
