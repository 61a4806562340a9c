"""sbatch's arguments that no session can have: refused before sbatch is asked.

They make several jobs, or several runs of a job, of one submission: those would share one session
id, one folder and one connection file. Read as sbatch does (getopt_long(3)): long options may be
cut short, short ones run together.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from vizdash.errors import UsageError

#: sbatch's short options that take a value (24.11); -k may have one only in the same word.
_VALUED = frozenset("AaBbCcDdeFGiJkLMmNnopqStwx")
_ARRAY, _REQUEUE, _HET = "a job array", "a requeued job", "a heterogeneous job"
_REFUSED = {"array": _ARRAY, "requeue": _REQUEUE, "het-group": _HET, "pack-group": _HET}
#: Letters from which on sbatch takes a shortened option for this one.
_SHORTEST = {"array": 2, "requeue": 3, "het-group": 3, "pack-group": 2}
_WHY = {
    _ARRAY: "each of its tasks would be the same session",
    _REQUEUE: "a desktop that was cut off can't be taken up again",
    _HET: "a session is one job on one node",
}


def check_arguments(words: Sequence[str]) -> None:
    """Raises UsageError for what a person gave behind ``--``."""
    for option, what in _refused(words):
        raise UsageError(f"{option} is refused", f"{what}: {_WHY[what]}", "leave it out")


def check_script(script: str, name: str, *, legacy: bool) -> None:
    """The same for the ``#SBATCH`` lines of a job script, up to its first command; all those of one
    of the legacy kind. Raises UsageError naming the line.
    """
    for number, line in enumerate(script.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#") and not legacy:
            break
        if not line.startswith("#SBATCH"):
            continue
        text = line.removeprefix("#SBATCH")
        try:
            words = shlex.split(text, comments=True)
        except ValueError:
            words = text.split()
        found = list(_refused(words))
        if words[:1] in (["hetjob"], ["packjob"]):
            found.append((f"#SBATCH {words[0]}", _HET))
        for option, what in found:
            where = f"{option} in {name}, line {number}, is refused"
            raise UsageError(where, f"{what}: {_WHY[what]}", "take the line out")


def _refused(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options that are refused, as they were written, each with what it makes of a job."""
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
