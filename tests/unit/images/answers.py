"""Answers as images.sh gives them, for fakes at the command seam."""

from __future__ import annotations

import shlex

from vizdash.transport.base import Command, Result


def words_of(command: Command) -> list[str]:
    """The script's own words: MARK VERB ROOT ARGUMENTS."""
    words = list(command.argv)
    if "--" not in words:
        words = shlex.split(words[-1])
    return words[words.index("--") + 1 :]


def answer(command: Command, *fields: str) -> Result:
    """These fields, between the marks that ``command`` asks for."""
    mark = words_of(command)[0]
    return Result(0, "\0".join([mark, *fields, "end", mark, ""]), "")
