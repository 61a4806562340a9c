"""For a person who looks elsewhere: bell, desktop notification and the terminal's title."""

from __future__ import annotations

from collections.abc import Callable

from vizdash.model import SessionState, Snapshot
from vizdash.service import Service
from vizdash.ui.terminal import BELL, notification, window_title


class Signals:
    """Writes sequences to the terminal itself, as the config wants them."""

    def __init__(self, service: Service, write: Callable[[str], None]) -> None:
        self._service = service
        self._write = write
        self._title = ""

    def ring(self, text: str) -> None:
        """Something happened."""
        wanted = self._service.config.ui
        if wanted.bell:
            self._write(BELL)
        if wanted.notify:
            self._write(notification("vizdash", text))

    def entitle(self, snapshot: Snapshot | None) -> None:
        """The cluster, and how many desktops are ready."""
        sessions = snapshot.sessions if snapshot else ()
        ready = sum(s.mine and s.state is SessionState.READY for s in sessions)
        title = "vizdash" + (f" {snapshot.cluster}" if snapshot else "")
        title += f": {ready} ready" if ready else ""
        if title != self._title and self._service.config.ui.title:
            self._title = title
            self._write(window_title(title))

    def close(self) -> None:
        """The title is the shell's again."""
        if self._title:
            self._write(window_title(""))
