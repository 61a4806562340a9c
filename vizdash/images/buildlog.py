"""What ``apptainer build`` says, read as it comes: which phase it is in, and why it failed.

Its messages are those of Apptainer's internal/pkg/build (``sylog.Infof``), the same since
Singularity 3; ``%post`` runs under ``sh -ex``, so that each command is told, after a plus sign,
before it runs (recorded in tests/recorded/apptainer).
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

#: Phases in the order in which a build goes through them.
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

#: Words in the log, and what mends that.
_MENDS = (
    ("no space left on device", "give the build room: build.tmpdir in the config"),
    ("disk quota exceeded", "give the build room: build.tmpdir in the config"),
    ("is not defined through either --build-arg", "--arg NAME=VALUE"),
    ("unused build args", "the definition file asks for no such argument"),
    ("failed to retrieve path", "base must be a file on the machine that builds"),
    ("dial tcp", "no registry is reached: build from a local base, see build.arguments"),
    ("no such host", "no registry is reached: build from a local base, see build.arguments"),
    ("temporary failure resolving", "the machine that builds has no network: choose another"),
    ("permission denied (publickey", "does ssh to that host work for you?"),
    ("host key verification failed", "log in there once by ssh and check its key"),
    ("could not resolve hostname", "check the host's name"),
    ("you must be the root user", "the account needs subordinate ids: see subuid(5)"),
    ("no mapping entry found", "the account needs subordinate ids: see subuid(5)"),
    ("invalid partition", "see partition in the config"),
    ("requested node configuration is not available", "see build.resources in the config"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a build failed. ``command`` is the one of ``%post`` that did (empty: not in there)."""

    why: str
    mend: str = ""
    command: str = ""
    tail: tuple[str, ...] = ()


class BuildLog:
    """Reads a build's lines. ``phase`` is where it is; ``feed`` says when that changes."""

    def __init__(self) -> None:
        self.phase = "start"
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._command = ""
        self._fatal = ""

    def feed(self, line: str) -> str:
        """Take one line; the phase that it begins, or empty."""
        text = _COLOUR.sub("", line).strip()
        if text:
            self._tail.append(_COLOUR.sub("", line).rstrip())
        if found := _FATAL.match(text):
            self._fatal = found[1]
        if self.phase in {"post", "setup", "test"} and (found := _TRACE.match(text)):
            self._command = found[1]
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

    def failure(self, code: int) -> Failure:
        """Why it ended with ``code``, from its last words."""
        tail = tuple(self._tail)
        text = "\n".join(tail).lower()
        mend = next((words for sign, words in _MENDS if sign in text), "")
        if self._command and self.phase in {"post", "setup", "test"}:
            said = self._said()
            why = f"%{self.phase} failed at: {self._command}" + (f" ({said})" if said else "")
            return Failure(why, mend, self._command, tail)
        why = self._fatal.removeprefix("While performing build: ")
        why = why or (tail[-1].strip() if tail else f"exit code {code}")
        return Failure(why, mend, "", tail)

    def _said(self) -> str:
        """The last thing that the failing command said."""
        for line in reversed(self._tail):
            if _TRACE.match(line.strip()):
                return ""
            if not _FATAL.match(line) and not _INFO.match(line):
                return line.strip()
        return ""
