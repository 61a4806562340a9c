"""Raw sbatch arguments: which of them vizdash can judge, and what they say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vizdash.model import SessionRequest

#: Options that change neither where nor when a job may start, by name: whether a value follows.
_HARMLESS = {
    "acctg-freq": True,
    "chdir": True,
    "comment": True,
    "cpu-freq": True,
    "error": True,
    "export": True,
    "export-file": True,
    "get-user-env": False,
    "input": True,
    "job-name": True,
    "kill-on-invalid-dep": True,
    "mail-type": True,
    "mail-user": True,
    "no-requeue": False,
    "open-mode": True,
    "output": True,
    "parsable": False,
    "profile": True,
    "propagate": False,
    "quiet": False,
    "signal": True,
    "verbose": False,
    "wckey": True,
    # Limits of accounts and QOS are left to the engine, whoever names them.
    "account": True,
    "qos": True,
    # Judged by what they say.
    "constraint": True,
    "reservation": True,
}
_LETTERS = {
    "A": "account",
    "C": "constraint",
    "D": "chdir",
    "J": "job-name",
    "Q": "quiet",
    "e": "error",
    "i": "input",
    "o": "output",
    "q": "qos",
    "v": "verbose",
}


def undecided(extra: Sequence[str]) -> str:
    """The first of sbatch's raw arguments whose effect only the scheduler knows; else empty."""
    for word, name, _ in _options(extra):
        if name not in _HARMLESS:
            return word.partition("=")[0]
    return ""


def asked(request: SessionRequest, name: str) -> str:
    """What ``request`` says of sbatch's option ``name``: in its raw arguments, where the last one
    wins, else in its own field.
    """
    said: str = getattr(request, name)
    for _, option, value in _options(request.extra):
        if option == name and value is not None:
            said = value
    return said


def _options(extra: Sequence[str]) -> Iterator[tuple[str, str, str | None]]:
    """Each option as it stands there, its name, its value (None for a missing one). A word that is
    none (a script's name) has no name; what follows an option that is not among those above may be
    its value.
    """
    words = iter(extra)
    value: str | None
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
        elif word.startswith("-") and len(word) > 1:
            name, value = _LETTERS.get(word[1], ""), word[2:]
            equals = value
        else:
            name, equals, value = "", "", ""
        if not equals and _HARMLESS.get(name):
            value = next(words, None)
        yield word, name, value
