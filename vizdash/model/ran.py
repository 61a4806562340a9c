"""A command that was run, as a person may look it up afterwards."""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ran:
    """``at`` is when it began (seconds since the epoch), ``took_s`` how long it took. ``code``
    is its exit code (None: it did not end by itself) and ``said`` the last line of its stderr, or
    why it could not be run. Its stdin is not kept: it may hold what is nobody's business.
    """

    number: int
    at: float
    argv: tuple[str, ...]
    took_s: float
    code: int | None
    said: str = ""

    @property
    def failed(self) -> bool:
        """Whether it could not be run, or said that it failed."""
        return self.code != 0

    @property
    def line(self) -> str:
        """The command as a person would type it."""
        return shlex.join(self.argv)

    @property
    def brief(self) -> str:
        """The same without the env(1) before it, which says nothing of what is done."""
        words = list(self.argv)
        if words[:1] == ["env"]:
            del words[0]
            while words and (words[0] == "-u" or "=" in words[0]):
                del words[: 2 if words[0] == "-u" else 1]
        return shlex.join(words or self.argv)
