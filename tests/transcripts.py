r"""Transcripts: text files that hold many recorded commands, each with its answer, byte for byte.

A command looks like this:

    == squeue-no-job
    $ squeue --noheader --jobs=999999
    exit 1
    stdout:
    | 17 alice RUNNING
    stderr:
    | slurm_load_jobs error: Invalid job id specified

``==`` gives its name. ``$`` gives its argv, quoted as a shell wants it, and ``exit`` its exit code;
either line is left out if it was not recorded. A stream that is empty has no heading. Each line of
a stream stands behind ``| ``; the bar alone is an empty line.

Everything that is not printable UTF-8 is escaped byte by byte (``\x1b``, and ``\t``, ``\r``; in an
argv also ``\n``), so is a space at the end of a line, and a backslash is doubled. A single
backslash at the end of a line says that no newline follows. Lines that begin with ``#`` are
comments, and blank lines separate; neither occurs within a command.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

_SHORT = {"\\": r"\\", "\t": r"\t", "\r": r"\r", "\n": r"\n"}
_LONG = {text: char.encode() for char, text in _SHORT.items()}
_ESCAPE = re.compile(r"\\(?:[\\trn]|x[0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class RecordedCommand:
    """One command and its answer; ``argv`` is empty and ``code`` None if they were not recorded."""

    name: str
    argv: tuple[str, ...] = ()
    code: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""


def load(path: Path) -> dict[str, RecordedCommand]:
    """A transcript's commands by name. Raises ValueError with file and line if malformed."""
    commands: dict[str, RecordedCommand] = {}
    name = stream = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        if line.startswith("== ") and line[3:] not in commands:
            name, stream = line[3:], ""
            commands[name] = RecordedCommand(name)
        elif line in {"stdout:", "stderr:"} and name:
            stream = line[:-1]
        else:
            try:
                commands[name] = _with_line(commands[name], stream, line)
            except (ValueError, KeyError) as e:
                raise ValueError(f"{path}:{number}: {line!r} is not a line of a transcript") from e
    return commands


def _with_line(command: RecordedCommand, stream: str, line: str) -> RecordedCommand:
    if line.startswith("| ") or line == "|":
        output = _output_line(line[2:])
        match stream:
            case "stdout":
                return replace(command, stdout=command.stdout + output)
            case "stderr":
                return replace(command, stderr=command.stderr + output)
    elif line.startswith("$ "):
        return replace(command, argv=tuple(shlex.split(os.fsdecode(_unescaped(line[2:])))))
    elif line.startswith("exit "):
        return replace(command, code=int(line[5:]))
    raise ValueError(line)


def _output_line(text: str) -> bytes:
    doubled = len(text) - len(text.rstrip("\\"))
    return _unescaped(text[:-1]) if doubled % 2 else _unescaped(text) + b"\n"


def save(path: Path, commands: Iterable[RecordedCommand], comment: str) -> None:
    """Write a transcript; ``comment`` is one line at its top."""
    path.write_text(f"# {comment}\n" + "".join(map(_section, commands)), encoding="utf-8")


def _section(command: RecordedCommand) -> str:
    lines = ["", f"== {command.name}"]
    if command.argv:
        lines.append(f"$ {_escaped(os.fsencode(shlex.join(command.argv)))}")
    if command.code is not None:
        lines.append(f"exit {command.code}")
    for heading, stream in (("stdout:", command.stdout), ("stderr:", command.stderr)):
        if stream:
            *whole, rest = stream.split(b"\n")
            lines.append(heading)
            lines += [f"| {_escaped(line)}".rstrip(" ") for line in whole]
            lines += [f"| {_escaped(rest)}\\"] if rest else []
    return "\n".join(lines) + "\n"


def _escaped(data: bytes) -> str:
    text = data.decode("utf-8", "surrogateescape")
    shown = "".join(
        _SHORT.get(char) or (char if char.isprintable() else _hex(char)) for char in text
    )
    return f"{shown[:-1]}\\x20" if shown.endswith(" ") else shown


def _hex(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


def _unescaped(text: str) -> bytes:
    """Raises ValueError for a backslash that begins no escape."""
    parts, at = [], 0
    for match in _ESCAPE.finditer(text):
        parts += [
            _plain(text[at : match.start()]),
            _LONG.get(match[0]) or bytes.fromhex(match[0][2:]),
        ]
        at = match.end()
    return b"".join([*parts, _plain(text[at:])])


def _plain(text: str) -> bytes:
    if "\\" in text:
        raise ValueError("a backslash that escapes nothing")
    return text.encode("utf-8")
