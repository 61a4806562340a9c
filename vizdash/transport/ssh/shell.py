"""A command for a login shell that we do not know, and its answer out of the shell's noise.

sshd gives the command line to the user's login shell (``$SHELL -c LINE``), which may be bash,
tcsh or fish and may print what it likes from its start-up files. So LINE is one that all of them
read alike: without backslash, exclamation mark, newline or quote inside its single quotes. It
starts /bin/sh, which reads the real program from its standard input; a program that did not
arrive whole (the connection broke) is not run, since a job script cut in half must not be
submitted. A random mark on both outputs says where the noise ends.
"""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_WHOLE = "exec /bin/sh -c 's=$(cat); case $s in (*end{mark}) eval \"$s\";; (*) exit 125;; esac'"
_STREAM = "exec /bin/sh -c 'eval \"$(dd bs=1 count={size} 2>/dev/null)\"'"


@dataclass(frozen=True, slots=True)
class Framed:
    """``line`` goes to the login shell, ``program`` to its standard input."""

    line: str
    program: bytes
    mark: bytes


def framed(
    argv: Sequence[str], data: str | None = None, *, environ: Mapping[str, str] | None = None
) -> Framed:
    """A command with all of its input in ``data`` (None: none)."""
    mark = secrets.token_hex(12)
    run = shlex.join(argv)
    body = f"exec {run} </dev/null" if data is None else f"printf %s {shlex.quote(data)} | {run}"
    program = f"{_head(mark, environ or {})}{body}\n#end{mark}"
    return Framed(_WHOLE.format(mark=mark), os.fsencode(program), mark.encode())


def streamed(argv: Sequence[str], *, environ: Mapping[str, str] | None = None) -> Framed:
    """A command whose input goes on after the program, as a stream."""
    mark = secrets.token_hex(12)
    program = os.fsencode(f"{_head(mark, environ or {})}exec {shlex.join(argv)}\n")
    return Framed(_STREAM.format(size=len(program)), program, mark.encode())


def after(mark: bytes, output: bytes) -> bytes | None:
    """What came after the mark's line; None when the mark is not there."""
    _, found, rest = output.partition(mark + b"\n")
    return rest if found else None


def _head(mark: str, environ: Mapping[str, str]) -> str:
    assign = "".join(f"{k}={shlex.quote(v)}; export {k}; " for k, v in environ.items())
    return f"printf '%s\\n' {mark}; printf '%s\\n' {mark} >&2; {assign}"
