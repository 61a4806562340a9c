"""A program in a real terminal of a given size (tmux(1)): what a person sees and presses."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Sequence
from types import TracebackType

from tests.tmux import Tmux


class Terminal:
    """Runs from construction to its end, or to leaving the ``with``."""

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
        """What is on it now, as lines of text."""
        return self._tmux("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        """Keys by their tmux names (``Enter``, ``Escape``) or letters."""
        self.pressed += keys
        self._tmux("send-keys", *keys)

    def wait(self, pattern: str, seconds: float = 30) -> str:
        """Wait until a regular expression is found on the screen; the screen."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, screen := self.screen()):
            assert self.code() is None, f"it ended before {pattern!r} was seen:\n{screen}"
            assert time.monotonic() < deadline, f"{pattern!r} is not on the screen:\n{screen}"
            time.sleep(0.2)
        return screen

    def wait_gone(self, pattern: str, seconds: float = 30) -> None:
        """Wait until it is on the screen no more. (A key right after Escape would be Alt's.)"""
        deadline = time.monotonic() + seconds
        while re.search(pattern, screen := self.screen()):
            assert time.monotonic() < deadline, f"{pattern!r} is still on the screen:\n{screen}"
            time.sleep(0.2)

    def code(self) -> int | None:
        """The program's exit code; None while it runs."""
        text = self._code.read_text().strip() if self._code.exists() else ""
        return int(text) if text else None

    def wait_end(self, seconds: float = 30) -> int:
        """Wait until the program has ended; its exit code."""
        deadline = time.monotonic() + seconds
        while (code := self.code()) is None:
            assert time.monotonic() < deadline, f"it does not end:\n{self.screen()}"
            time.sleep(0.1)
        return code

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tmux.close()
