"""Answers in the format of images.sh, for fake command runners."""

from __future__ import annotations

import shlex

from vizdash.transport.base import Command, Result


def words_of(command: Command) -> list[str]:
    """The script's arguments: MARK VERB ROOT ARGUMENTS."""
    words = list(command.argv)
    if "--" not in words:
        words = shlex.split(words[-1])
    return words[words.index("--") + 1 :]


def answer(command: Command, *fields: str) -> Result:
    """An answer with these fields between the marks of ``command``."""
    mark = words_of(command)[0]
    return Result(0, "\0".join([mark, *fields, "end", mark, ""]), "")
