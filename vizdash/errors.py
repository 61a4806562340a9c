"""Exceptions: every error shown to a user is a VizdashError.

It has *what* failed, *why*, and the *fix*, and is shown as one line: ``vizdash: what: why (fix)``.
"""

from __future__ import annotations


class VizdashError(Exception):
    """The base of all errors. ``exit_code`` is that of a verb: 1 failed, 2 wrong use."""

    exit_code = 1

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        self.what = what
        self.why = why
        self.fix = fix
        super().__init__(self.line)

    @property
    def line(self) -> str:
        """The error in one line, without the program's name."""
        text = f"{self.what}: {self.why}" if self.why else self.what
        text = f"{text} ({self.fix})" if self.fix else text
        return " ".join(text.split())


class WrongInput(VizdashError):
    """Wrong input of the user; long input is shortened."""

    exit_code = 2

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(shorten(what), shorten(why), shorten(fix))


class UsageError(WrongInput):
    """Wrong use of a verb or an option."""


class ConfigError(WrongInput):
    """A wrong configuration file; names file, line and key."""


class Refused(VizdashError):
    """A request that cannot be met: it does not fit, or is not allowed."""


class NotFound(VizdashError):
    """Something expected is missing: a log, a file, a running job."""


class UnknownName(NotFound):
    """No session, app, node, partition or version has the given name."""

    exit_code = 2


class CommandFailed(VizdashError):
    """A command ended with an exit code other than 0.

    ``argv0`` is the program's name, ``code`` its exit code and ``stderr`` its output there.
    """

    def __init__(self, argv0: str, code: int, stderr: str, fix: str = "") -> None:
        self.argv0 = argv0
        self.code = code
        self.stderr = stderr
        super().__init__(argv0, last_line(stderr) or f"exit code {code}", fix)


class Unreachable(VizdashError):
    """The engine, a host or a socket did not answer."""


class LoginRefused(Unreachable):
    """A host refused the login."""


class HostKeyRefused(Unreachable):
    """A host's key is unknown, changed or revoked: the user has to decide."""


class ConnectionLost(Unreachable):
    """The connection broke while a command ran; it may or may not have finished."""


class TimedOut(VizdashError):
    """Something took too long; ``stderr`` is its output there so far."""

    def __init__(self, what: str, why: str = "", fix: str = "", *, stderr: str = "") -> None:
        self.stderr = stderr
        super().__init__(what, why, fix)


def shorten(text: str, most: int = 400) -> str:
    """Shorten a text of more than ``most`` characters to its beginning and end."""
    if len(text) <= most:
        return text
    return f"{text[: most * 2 // 3]} … {text[-most // 4 :]}"


def last_line(text: str) -> str:
    """The last line of ``text`` that is not blank."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
