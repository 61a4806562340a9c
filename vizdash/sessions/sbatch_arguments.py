"""Raw arguments of sbatch: which are refused, and which vizdash can judge."""

from __future__ import annotations

from collections.abc import Sequence

from vizdash.engines.slurm.sbatch_options import (
    SbatchOption,
    excludes,
    header_lines,
    header_options,
    header_words,
    read_options,
)
from vizdash.errors import UsageError
from vizdash.model import SessionRequest

#: What nobody may give to sbatch: what it leads to, and what to do instead.
_REFUSED = {
    "array": ("a job array: each of its tasks would be the same session", ""),
    "requeue": ("a requeued job: an interrupted desktop can't be continued", ""),
    "clusters": (
        "a job of another cluster: vizdash would not find the session",
        "add that cluster to the configuration, and choose it by vizdash --cluster",
    ),
    "wait": (
        "sbatch would wait for the end of the session",
        "wait until the desktop is ready by vizdash start --wait",
    ),
    "test-only": (
        "sbatch would submit no job",
        "ask when the session would start by vizdash start --test-only",
    ),
    "external": ("a job without a script, and so without a desktop", ""),
    "autocomplete": ("sbatch would submit no job", ""),
}
_REFUSED["cluster"] = _REFUSED["clusters"]
#: Those beside them that sbatch ignores in a script.
_REFUSED_TO_USERS = {
    **_REFUSED,
    "wrap": ("sbatch would run it instead of the session's job script", ""),
    "quiet": ("sbatch would not print the job's id", ""),
    **dict.fromkeys(("help", "usage", "version"), ("sbatch would submit no job", "")),
}
_HET = "a heterogeneous job: a session is one job on one node"
_SCRIPT = "sbatch would take it for the job script, instead of the session's"


def check_arguments(words: Sequence[str], cluster: str = "") -> None:
    """Check the arguments that a user gave after ``--`` for a job on ``cluster`` (Slurm's name;
    empty: unknown). Raises UsageError.
    """
    for option in read_options(words):
        why, fix = _REFUSED_TO_USERS.get(option.name, ("", ""))
        if _names(option, cluster):
            continue
        if option.is_word:
            why = _HET if option.written == ":" else _SCRIPT
        if why:
            written = option.written or "an empty argument"
            raise UsageError(f"{written} is refused", why, fix or "leave it out")


def _names(option: SbatchOption, cluster: str) -> bool:
    """Whether the option says that the job is for ``cluster``, and for no other."""
    return option.name in {"cluster", "clusters"} and option.value == cluster != ""


def check_script_arguments(script: str, name: str, cluster: str = "") -> None:
    """Check the ``#SBATCH`` lines of a job script for a job on ``cluster``, as above. Raises
    UsageError with the line.
    """
    refused = [
        (number, f"#SBATCH {words[0]}", _HET)
        for number, line in header_lines(script)
        if (words := header_words(line)) and words[0].lower() in {"hetjob", "packjob"}
    ]
    refused += [
        (number, option.written, _REFUSED[option.name][0])
        for number, option in header_options(script)
        if option.name in _REFUSED and not _names(option, cluster)
    ]
    for number, option, why in refused:
        raise UsageError(f"{option} in {name}, line {number}, is refused", why, "remove the line")


def script_arguments(script: str) -> tuple[str, ...]:
    """The arguments in the ``#SBATCH`` lines of a job script."""
    return tuple(word for _, option in header_options(script) for word in option.words)


#: Options that change neither where nor when a job may start.
_HARMLESS = frozenset(
    {
        "acctg-freq",
        # Those of the cluster itself; others are refused.
        "cluster",
        "clusters",
        "chdir",
        "comment",
        "cpu-freq",
        "error",
        "export",
        "export-file",
        "get-user-env",
        "input",
        "job-name",
        "kill-on-invalid-dep",
        "mail-type",
        "mail-user",
        "no-requeue",
        "open-mode",
        "output",
        "parsable",
        "profile",
        "propagate",
        "quiet",
        "signal",
        "verbose",
        "wckey",
        # Limits of accounts and QOS are left to the engine.
        "account",
        "qos",
        # Judged by their values.
        "constraint",
        "reservation",
    }
)

#: What a script's #SBATCH lines may say in vain, by the command line that vizdash gives to sbatch.
#: Beside --ntasks, --ntasks-per-node is only a maximum (sbatch(1)).
_OVERRIDDEN = frozenset(
    {"cpus-per-task", "nodes", "ntasks", "ntasks-per-node", "tasks-per-node", "time", "time-min"}
)
_MEMORY = frozenset({"mem", "mem-per-cpu", "mem-per-gpu"})


def effective_script_arguments(
    words: Sequence[str], request: SessionRequest, *, memory: bool
) -> tuple[tuple[str, ...], str]:
    """Those of a script's arguments that count beside vizdash's own and the user's for ``request``
    (as it is submitted, with the cluster's defaults), and the partition that they name; ``memory``
    is whether vizdash requests memory.
    """
    fields = (
        ("gres", request.resources.gpus),
        ("nodelist", request.node),
        ("reservation", request.reservation),
        ("constraint", request.constraint),
        ("account", request.account),
        ("qos", request.qos),
        ("partition", request.partition),
    )
    vain = _OVERRIDDEN.union(name for name, value in fields if value)
    if memory:
        vain |= _MEMORY
    extra = list(read_options(request.extra))
    own = ("--cpus-per-task=1", "--gres=gpu:1" if request.resources.gpus else "")
    others = [*extra, *(option for option in read_options(own) if not excludes(option, extra))]
    named = ""
    kept: list[str] = []
    for option in read_options(words):
        if option.name in vain or excludes(option, others):
            continue
        if option.name == "partition":
            named = option.value or ""
        else:
            kept += option.words
    return tuple(kept), named


def unjudged_option(extra: Sequence[str]) -> str:
    """The first raw argument whose effect only the scheduler knows; else empty."""
    for option in read_options(extra):
        if option.name not in _HARMLESS:
            return option.written.partition("=")[0]
    return ""


def effective_option(request: SessionRequest, name: str) -> str:
    """The value of sbatch's option ``name`` in ``request``: that of the last raw argument, else of
    the request's own field.
    """
    value: str = getattr(request, name)
    return last_value(request.extra, name, value)


def last_value(words: Sequence[str], name: str, default: str = "") -> str:
    """The value of the last option ``name`` among raw arguments, else ``default``."""
    for option in read_options(words):
        if option.name == name and option.value is not None:
            default = option.value
    return default
