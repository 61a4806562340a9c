"""Renders a job script, with values as shell-quoted assignments instead of environment variables.

sbatch's ``--export=NAME=a,b`` cuts a value at the comma, and ``--export=ALL`` leaks the caller's
environment into the job; a script on stdin has neither problem.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence

from vizdash.errors import Refused

Value = str | int | Sequence[str]
_HEADER = re.compile(r"\s*(#.*)?")
_SOURCE = re.compile(r"^source ([\w-]+\.(?:sh|py))\b.*$", re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_NO_TEXT = re.compile(r"[\ud800-\udfff]")  # bytes of an argument that are not UTF-8


def render_script(
    script: str, values: Mapping[str, Value], part: Callable[[str], str] | None = None
) -> str:
    """``script`` with an assignment block after its leading comments (and #SBATCH lines).

    A job is one file, so a line ``source NAME.sh`` (or, in a here-document, ``source NAME.py``) is
    replaced by what ``part`` returns for the name. Raises Refused for a value with control
    characters, or one that is not UTF-8.
    """
    # In bash only \n ends a line: a form feed in a comment must not start one.
    lines = (_joined(script, part) if part else script).rstrip("\n").split("\n")
    at = next((i for i, line in enumerate(lines) if not _HEADER.fullmatch(line)), len(lines))
    block = ["# Values of this session, set by vizdash."]
    block += [f"{name}={_quoted(name, value)}" for name, value in values.items()]
    return "\n".join([*lines[:at], *block, *lines[at:]]) + "\n"


def _joined(script: str, part: Callable[[str], str]) -> str:
    return _SOURCE.sub(lambda match: _joined(part(match.group(1)), part).rstrip("\n"), script)


def _quoted(name: str, value: Value) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _one(name, value)
    return "( " + " ".join(_one(name, entry) for entry in value) + " )"


def _one(name: str, text: str) -> str:
    if _CONTROL.search(text):
        raise Refused(f"{name} holds a control character", "", "remove it")
    if _NO_TEXT.search(text):
        raise Refused(f"{name} is not UTF-8 text", "", "use UTF-8")
    return shlex.quote(text)
