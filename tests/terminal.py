"""A program in a real terminal of a given size, by tmux(1)."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from tests.tmux import Tmux


class Terminal(AbstractContextManager["Terminal"]):
    """A program in a terminal, until the ``with`` is left."""

    def __init__(self, argv: Sequence[str], width: int = 80, height: int = 24) -> None:
        self._tmux = Tmux()
        self._code = self._tmux.folder / "code"
        #: Every key so far.
        self.pressed: list[str] = []
        command = f"{shlex.join(argv)}; echo $? >{self._code}; sleep 3600"
        try:
            self._tmux("new-session", "-d", "-x", str(width), "-y", str(height), command)
        except BaseException:
            self._tmux.close()
            raise

    def screen(self) -> str:
        """The screen as lines of text."""
        return self._tmux("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        """Press keys, by their tmux names (``Enter``, ``Escape``) or letters."""
        self.pressed += keys
        self._tmux("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        """Give the terminal another size."""
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    @contextlib.contextmanager
    def attach(self, width: int, height: int) -> Iterator[subprocess.Popen[bytes]]:
        """Attach a client of this size, which sets the terminal's, and detach it afterwards."""
        with self._tmux.attach(width, height) as client:
            yield client

    def wait(self, pattern: str, seconds: float = 180) -> str:
        """Wait until a regular expression matches the screen; returns the screen."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, screen := self.screen()):
            assert self.code() is None, f"it ended before {pattern!r} was seen:\n{screen}"
            assert time.monotonic() < deadline, f"{pattern!r} is not on the screen:\n{screen}"
            time.sleep(0.2)
        return screen

    def wait_gone(self, pattern: str, seconds: float = 180) -> None:
        """Wait until a regular expression no longer matches, as before a key after Escape."""
        deadline = time.monotonic() + seconds
        while re.search(pattern, screen := self.screen()):
            assert time.monotonic() < deadline, f"{pattern!r} is still on the screen:\n{screen}"
            time.sleep(0.2)

    def code(self) -> int | None:
        """The program's exit code; None while it runs."""
        text = self._code.read_text().strip() if self._code.exists() else ""
        return int(text) if text else None

    def wait_end(self, seconds: float = 180) -> int:
        """Wait until the program has ended; its exit code."""
        deadline = time.monotonic() + seconds
        while (code := self.code()) is None:
            assert time.monotonic() < deadline, f"it does not end:\n{self.screen()}"
            time.sleep(0.1)
        return code

    def __exit__(self, *error: object) -> None:
        self._tmux.close()
