"""Reads the output of ``apptainer build``: the current phase, and the cause of a failure.

The messages are those of Apptainer's internal/pkg/build (``sylog.Infof``), unchanged since
Singularity 3. ``%post`` runs under ``sh -ex``, so that each command is printed after a plus sign
before it runs (recorded in tests/recorded/apptainer).
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

#: Phases in the order of a build.
PHASES = (
    "queue", "start", "bootstrap", "setup", "files", "post", "metadata", "test", "squashfs",
    "copy", "check",
)  # fmt: skip

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_INFO = re.compile(r"INFO:\s+(.*)")
_FATAL = re.compile(r"(?:FATAL|ERROR):\s+(.*)")
_TRACE = re.compile(r"\++ (.*)")
_SIGNS = (
    (re.compile(r"Starting build|Verifying bootstrap image|Extracting"), "bootstrap"),
    (re.compile(r"Running setup scriptlet"), "setup"),
    (re.compile(r"Copying .+ to .+"), "files"),
    (re.compile(r"Running post scriptlet"), "post"),
    (re.compile(r"Adding \w+"), "metadata"),
    (re.compile(r"Running test ?script"), "test"),
    (re.compile(r"Creating SIF file"), "squashfs"),
)
_QUEUED = re.compile(r"srun: job \d+ queued")
_ALLOCATED = re.compile(r"srun: job \d+ has been allocated")
_TAIL = 30

#: Text in the log, in lower case, and the fix that it calls for.
_FIXES = (
    ("no space left on device", "free space, or set build.tmpdir in the config"),
    ("disk quota exceeded", "free space, or set build.tmpdir in the config"),
    ("is not defined through either --build-arg", "--arg NAME=VALUE"),
    ("unused build args", "the definition file has no such argument"),
    ("failed to retrieve path", "base must be a file on the build host"),
    ("dial tcp", "no registry can be reached: build from a local base, see build.arguments"),
    ("no such host", "no registry can be reached: build from a local base, see build.arguments"),
    ("temporary failure resolving", "the build host has no network: choose another"),
    ("permission denied (publickey", "check that you can log in to that host by ssh"),
    ("host key verification failed", "log in there by ssh once and check its host key"),
    ("could not resolve hostname", "check the host name"),
    ("you must be the root user", "the account needs subordinate ids: see subuid(5)"),
    ("no mapping entry found", "the account needs subordinate ids: see subuid(5)"),
    ("invalid partition", "see partition in the config"),
    ("requested node configuration is not available", "see build.resources in the config"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BuildFailure:
    """Why a build failed. ``command`` is the command of ``%post`` that failed; empty outside
    ``%post``.
    """

    why: str
    fix: str = ""
    command: str = ""
    tail: tuple[str, ...] = ()


class BuildOutput:
    """Reads the lines of a build and tracks its ``phase``."""

    def __init__(self) -> None:
        self.phase = "start"
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._command = ""
        self._fatal = ""

    def feed(self, line: str) -> str:
        """Read one line; returns the phase that it starts, or empty."""
        text = _COLOUR.sub("", line).strip()
        if text:
            self._tail.append(_COLOUR.sub("", line).rstrip())
        if match := _FATAL.match(text):
            self._fatal = match[1]
        if self.phase in {"post", "setup", "test"} and (match := _TRACE.match(text)):
            self._command = match[1]
        phase = self._phase_of(text)
        if not phase or phase == self.phase:
            return ""
        self.phase = phase
        self._command = ""
        return phase

    def _phase_of(self, text: str) -> str:
        if _QUEUED.match(text):
            return "queue"
        if _ALLOCATED.match(text):
            return "start"
        info = _INFO.match(text)
        if info is None:
            return ""
        return next((name for sign, name in _SIGNS if sign.match(info[1])), "")

    def explain_failure(self, code: int) -> BuildFailure:
        """Return why the build ended with exit code ``code``, from its last lines."""
        tail = tuple(self._tail)
        text = "\n".join(tail).lower()
        fix = next((words for sign, words in _FIXES if sign in text), "")
        if self._command and self.phase in {"post", "setup", "test"}:
            output = self._last_output()
            why = f"%{self.phase} failed at: {self._command}" + (f" ({output})" if output else "")
            return BuildFailure(why, fix, self._command, tail)
        why = self._fatal.removeprefix("While performing build: ")
        why = why or (tail[-1].strip() if tail else f"exit code {code}")
        return BuildFailure(why, fix, "", tail)

    def _last_output(self) -> str:
        """Return the last line that the failing command printed."""
        for line in reversed(self._tail):
            if _TRACE.match(line.strip()):
                return ""
            if not _FATAL.match(line) and not _INFO.match(line):
                return line.strip()
        return ""
