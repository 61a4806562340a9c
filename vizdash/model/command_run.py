"""A command that vizdash ran, with its outcome."""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CommandRun:
    """One run of a command.

    ``at`` is its start (seconds since the epoch) and ``took_s`` its duration. ``code`` is its exit
    code (None: it was not started, or was stopped) and ``message`` the last line of its stderr, or
    why it could not be run. Its stdin is not kept, since that may hold secrets.
    """

    number: int
    at: float
    argv: tuple[str, ...]
    took_s: float
    code: int | None
    message: str = ""

    @property
    def failed(self) -> bool:
        """Whether it could not be run, or ended with a code other than 0."""
        return self.code != 0

    @property
    def line(self) -> str:
        """The command line as one would type it."""
        return shlex.join(self.argv)

    @property
    def brief(self) -> str:
        """The command line without a leading env(1)."""
        words = list(self.argv)
        if words[:1] == ["env"]:
            del words[0]
            while words and (words[0] == "-u" or "=" in words[0]):
                del words[: 2 if words[0] == "-u" else 1]
        return shlex.join(words or self.argv)
