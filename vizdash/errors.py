"""The exception tree.

Every error a person can meet is a VizdashError with *what* failed, *why*, and the *mend*; it is
shown as one line: ``vizdash: what: why (mend)``.
"""

from __future__ import annotations


class VizdashError(Exception):
    """Base of all. ``exit_code`` is the command line's (1 failed, 2 wrong use)."""

    exit_code = 1

    def __init__(self, what: str, why: str = "", mend: str = "") -> None:
        self.what = what
        self.why = why
        self.mend = mend
        super().__init__(self.line)

    @property
    def line(self) -> str:
        """The error in one line, without the program's name."""
        text = f"{self.what}: {self.why}" if self.why else self.what
        text = f"{text} ({self.mend})" if self.mend else text
        return " ".join(text.split())


class WrongInput(VizdashError):
    """What a person wrote can't be used. However much that was, the line stays short."""

    exit_code = 2

    def __init__(self, what: str, why: str = "", mend: str = "") -> None:
        super().__init__(shortened(what), shortened(why), shortened(mend))


class UsageError(WrongInput):
    """Wrong use of a verb or an option."""


class ConfigError(WrongInput):
    """A config file that can't be used; names file, line and key."""


class Refused(VizdashError):
    """What was asked can't be had: does not fit, not allowed, not there."""


class NotFound(VizdashError):
    """Something that should be there is not: a log, a file, a job that has ended."""


class Unknown(NotFound):
    """There is no session, app, node, partition or version of the name that was given."""

    exit_code = 2


class CommandFailed(VizdashError):
    """A command ended with a code that says it failed.

    ``argv0`` is the program's name alone, ``code`` its exit code and ``stderr`` what it said.
    """

    def __init__(self, argv0: str, code: int, stderr: str, mend: str = "") -> None:
        self.argv0 = argv0
        self.code = code
        self.stderr = stderr
        super().__init__(argv0, last_line(stderr) or f"exit code {code}", mend)


class Unreachable(VizdashError):
    """The engine, a host or a socket did not answer."""


class LoginRefused(Unreachable):
    """A host answered, and let the person not in."""


class HostKeyRefused(Unreachable):
    """A host's key is unknown, changed or revoked: only a person can decide on it."""


class ConnectionLost(Unreachable):
    """The connection broke while a command ran: it may have done its work, or not."""


class TimedOut(VizdashError):
    """Something took longer than it was given; ``stderr`` is what it had printed by then."""

    def __init__(self, what: str, why: str = "", mend: str = "", *, stderr: str = "") -> None:
        self.stderr = stderr
        super().__init__(what, why, mend)


def shortened(text: str, most: int = 400) -> str:
    """``text``, or its beginning and end where it has more than ``most`` characters."""
    if len(text) <= most:
        return text
    return f"{text[: most * 2 // 3]} … {text[-most // 4 :]}"


def last_line(text: str) -> str:
    """The last line of ``text`` that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
