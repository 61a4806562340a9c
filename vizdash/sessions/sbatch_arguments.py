"""Raw arguments of sbatch: which are refused, and which vizdash can judge."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from vizdash.errors import UsageError
from vizdash.model import SessionRequest

#: sbatch's short options that take a value (24.11); -k may have one only in the same word.
_VALUED = frozenset("AaBbCcDdeFGiJkLMmNnopqStwx")
_ARRAY, _REQUEUE, _HET = "a job array", "a requeued job", "a heterogeneous job"
_REFUSED = {"array": _ARRAY, "requeue": _REQUEUE, "het-group": _HET, "pack-group": _HET}
#: The least number of letters by which sbatch accepts an abbreviated option.
_SHORTEST = {"array": 2, "requeue": 3, "het-group": 3, "pack-group": 2}
_WHY = {
    _ARRAY: "each of its tasks would be the same session",
    _REQUEUE: "an interrupted desktop can't be continued",
    _HET: "a session is one job on one node",
}


def check_arguments(words: Sequence[str]) -> None:
    """Check the arguments that a user gave after ``--``. Raises UsageError."""
    for option, what in _refused(words):
        raise UsageError(f"{option} is refused", f"{what}: {_WHY[what]}", "leave it out")


def check_script_arguments(script: str, name: str, *, legacy: bool) -> None:
    """Check the ``#SBATCH`` lines of a job script, up to its first command; of a legacy script,
    all. Raises UsageError with the line.
    """
    for number, words in _header(script, legacy=legacy):
        refused = list(_refused(words))
        if words[:1] in (["hetjob"], ["packjob"]):
            refused.append((f"#SBATCH {words[0]}", _HET))
        for option, what in refused:
            where = f"{option} in {name}, line {number}, is refused"
            raise UsageError(where, f"{what}: {_WHY[what]}", "remove the line")


def script_arguments(script: str, *, legacy: bool) -> tuple[str, ...]:
    """The arguments in the ``#SBATCH`` lines of a job script, as ``check_script_arguments`` finds
    them.
    """
    return tuple(word for _, words in _header(script, legacy=legacy) for word in words)


def _header(script: str, *, legacy: bool) -> Iterator[tuple[int, list[str]]]:
    """The ``#SBATCH`` lines of a script as words, with their numbers."""
    for number, line in enumerate(script.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#") and not legacy:
            break
        if not line.startswith("#SBATCH"):
            continue
        text = line.removeprefix("#SBATCH")
        try:
            yield number, shlex.split(text, comments=True)
        except ValueError:
            yield number, text.split()


def _refused(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Refused options as they were written, each with what it turns the job into."""
    rest = iter(words)
    for word in rest:
        if word == ":":
            yield word, _HET
        elif word.startswith("--"):
            name = word[2:].partition("=")[0]
            for option, what in _REFUSED.items():
                if len(name) >= _SHORTEST[option] and option.startswith(name):
                    yield word, what
        elif word.startswith("-"):
            for at, letter in enumerate(word[1:], 1):
                if letter == "a":
                    yield word, _ARRAY
                if letter in _VALUED:
                    if at == len(word) - 1 and letter != "k":
                        next(rest, "")  # its value
                    break


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
    # Limits of accounts and QOS are left to the engine.
    "account": True,
    "qos": True,
    # Judged by their values.
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


#: What a script's #SBATCH lines may say in vain, by the command line that vizdash gives to sbatch:
#: each option, and its letter. Beside --ntasks, --ntasks-per-node is only a maximum (sbatch(1)).
_OVERRIDDEN = {
    "cpus-per-task": "c",
    "nodes": "N",
    "ntasks": "n",
    "ntasks-per-node": "",
    "time": "t",
    "time-min": "",
}
_MEMORY = {"mem": "", "mem-per-cpu": "", "mem-per-gpu": ""}


def effective_script_arguments(
    words: Sequence[str], request: SessionRequest, *, memory: bool
) -> tuple[tuple[str, ...], str]:
    """Those of a script's arguments that count beside vizdash's own for ``request`` (as it is
    submitted, with the cluster's defaults), and the partition that they name; ``memory`` is whether
    vizdash requests memory.
    """
    fields = (
        ("gres", "", request.resources.gpus),
        ("nodelist", "w", request.node),
        ("reservation", "", request.reservation),
        ("constraint", "C", request.constraint),
        ("account", "A", request.account),
        ("qos", "q", request.qos),
        ("partition", "p", request.partition),
    )
    vain = _OVERRIDDEN | {name: letter for name, letter, value in fields if value}
    if memory:
        vain |= _MEMORY
    letters = {**_LETTERS, "p": "partition", **{v: name for name, v in vain.items() if v}}
    named, kept = "", []
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):
            name, given, value = word[2:].partition("=")
        else:
            name, value = letters.get(word[1:2], "") if word.startswith("-") else "", word[2:]
            given = value
        whole = [word]
        if not given and (name in vain or name == "partition" or _HARMLESS.get(name)):
            value = next(rest, "")
            whole.append(value)
        if name in vain:
            continue
        if name == "partition":
            named = value
        else:
            kept += whole
    return tuple(kept), named


def unjudged_option(extra: Sequence[str]) -> str:
    """The first raw argument whose effect only the scheduler knows; else empty."""
    for word, name, _ in _options(extra):
        if name not in _HARMLESS:
            return word.partition("=")[0]
    return ""


def effective_option(request: SessionRequest, name: str) -> str:
    """The value of sbatch's option ``name`` in ``request``: that of the last raw argument, else of
    the request's own field.
    """
    value_now: str = getattr(request, name)
    for _, option, value in _options(request.extra):
        if option == name and value is not None:
            value_now = value
    return value_now


def _options(extra: Sequence[str]) -> Iterator[tuple[str, str, str | None]]:
    """Each option as written, its name, and its value (None for a missing one). A word that is not
    an option (a script's name) has no name; the word after an option that is not among those above
    may be its value.
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
