"""sbatch's arguments and #SBATCH lines, as sbatch itself reads them: by getopt_long(3), up to the
first word that is no option.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

#: The options of sbatch 22.05 to 26.05 that have a value, each with its letter, if it has one.
_WITH_VALUE = """
account/A acctg-freq array/a autocomplete batch bb bbf begin/b chdir/D cluster cluster-constraint
clusters/M comment constraint/C container container-id container-type context core-spec/S
cores-per-socket cpu-freq cpus-per-gpu cpus-per-task/c deadline delay-boot dependency/d
distribution/m error/e exclude/x export export-file extra extra-node-info/B gid gpu-bind gpu-freq
gpus/G gpus-per-node gpus-per-socket gpus-per-task gres gres-flags hint input/i job-name/J
kill-on-invalid-dep licenses/L mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu
mem-update mincpus network nodefile/F nodelist/w nodes/N ntasks/n ntasks-per-core ntasks-per-gpu
ntasks-per-node ntasks-per-socket ntasks-per-tres open-mode output/o partition/p power prefer
priority profile qos/q reservation resources segment signal sockets-per-node switches tasks-per-node
thread-spec threads-per-core time/t time-min tmp tres-bind tres-per-task uid wait-all-nodes wckey
wrap
"""
#: Those that have a value only in the same word.
_WITHOUT_WORD = """
consolidate-segments contiguous exclusive external get-user-env help/h hold/H ignore-pbs nice
no-kill/k no-requeue oom-kill-step overcommit/O oversubscribe/s parsable propagate quiet/Q reboot
requeue resv-ports spread-job spread-segments stepmgr test-only usage use-min-nodes verbose/v
version/V wait/W
"""
_VALUED = frozenset(entry.partition("/")[0] for entry in _WITH_VALUE.split())
_LETTERS = {
    letter: name
    for entry in (_WITH_VALUE + _WITHOUT_WORD).split()
    for name, _, letter in [entry.partition("/")]
    if letter
}
_NAMES = sorted(entry.partition("/")[0] for entry in (_WITH_VALUE + _WITHOUT_WORD).split())

#: Options of which sbatch takes only one (sbatch(1), and Slurm's slurm_opt.c): some only where
#: their value has this word.
_RIVALS = (
    {"mem": "", "mem-per-cpu": "", "mem-per-gpu": ""},
    {"cpus-per-task": "", "cpus-per-gpu": "", "tres-per-task": "cpu"},
    {"gres": "gpu", "gpus-per-node": ""},
)
_PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class SbatchOption:
    """An option, or a word that is none.

    ``written`` is its word; ``name`` its full long name: empty for a word that is no option, for an
    unknown option, and for an abbreviation of several, which sbatch refuses. ``value`` is None
    where there is none; ``words`` are those by which it can be passed on.
    """

    written: str
    name: str
    value: str | None
    words: tuple[str, ...]

    @property
    def is_word(self) -> bool:
        """Whether it is no option: sbatch takes it for the script, and what follows for its
        arguments.
        """
        return self.written in {"-", "--"} or not self.written.startswith("-")


def read_options(words: Iterable[str]) -> Iterator[SbatchOption]:
    """The options in ``words``. Of an unknown one (a SPANK plugin's), a word behind it counts as
    its value.
    """
    for _, option in _located(list(words)):
        yield option


def _located(words: Sequence[str]) -> Iterator[tuple[int, SbatchOption]]:
    """The options, each with the place of its word."""
    at = 0
    while at < len(words):
        word, first = words[at], at
        at += 1
        if word.startswith("--") and word != "--":
            option, takes_next = _long(word, words[at : at + 1])
            yield first, option
            at += takes_next
        elif word.startswith("-") and word not in {"-", "--"}:
            for option, takes_next in _short(word, words[at : at + 1]):
                yield first, option
                at += takes_next
        else:
            yield first, SbatchOption(word, "", None, (word,))


def _long(word: str, following: Sequence[str]) -> tuple[SbatchOption, bool]:
    """An option with two dashes, and whether the next word is its value."""
    given, equals, text = word[2:].partition("=")
    names = (given,) if given in _NAMES else tuple(n for n in _NAMES if n.startswith(given))
    name = names[0] if len(names) == 1 else ""
    full = f"--{name or given}"
    if equals or (names and names[0] not in _VALUED):
        return SbatchOption(word, name, text if equals else None, (f"{full}{equals}{text}",)), False
    if not following or (not names and following[0].startswith("-")):
        return SbatchOption(word, name, None, (full,)), False
    value = following[0]
    words = (f"{full}={value}",) if name else (word, value)
    return SbatchOption(word, name, value, words), True


def _short(word: str, following: Sequence[str]) -> Iterator[tuple[SbatchOption, bool]]:
    """The options in a word with one dash, and whether the next word is the value of one."""
    for place, letter in enumerate(word[1:], 2):
        name, rest = _LETTERS.get(letter, ""), word[place:]
        if name in _VALUED:
            value = rest or next(iter(following), None)
            words = (f"--{name}" if value is None else f"--{name}={value}",)
            yield SbatchOption(word, name, value, words), not rest and bool(following)
            return
        if name == "no-kill" and rest:
            yield SbatchOption(word, name, rest, (f"--{name}={rest}",)), False
            return
        yield SbatchOption(word, name, None, (f"--{name}" if name else f"-{letter}",)), False


def excludes(option: SbatchOption, others: Iterable[SbatchOption]) -> bool:
    """Whether sbatch refuses ``option`` beside another one among ``others``."""
    return any(
        other.name != option.name and _counts(option, group) and _counts(other, group)
        for group in _RIVALS
        for other in others
    )


def _counts(option: SbatchOption, group: dict[str, str]) -> bool:
    return option.name in group and group[option.name] in (option.value or "").lower()


def header_lines(script: str) -> Iterator[tuple[int, str]]:
    """The #SBATCH lines of a script that sbatch reads, those before the first command, with their
    numbers from 1.
    """
    for number, line in enumerate(script.split("\n"), 1):
        if line.startswith(("#SBATCH", "#SLURM")):
            yield number, line
        elif line.strip() and not line.lstrip().startswith("#"):
            return


def header_words(line: str) -> list[str]:
    """The arguments in an #SBATCH line."""
    text = re.sub("^#(SBATCH|SLURM)", "", line)
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return text.split()


def header_options(script: str) -> list[tuple[int, SbatchOption]]:
    """The options in the #SBATCH lines of a script, with the numbers of their lines."""
    numbers: list[int] = []
    words: list[str] = []
    for number, line in header_lines(script):
        found = header_words(line)
        numbers += [number] * len(found)
        words += found
    return [(numbers[at], option) for at, option in _located(words)]


def without_options(script: str, dropped: Callable[[SbatchOption], bool]) -> str:
    """``script`` with the options in its #SBATCH lines, except those that are ``dropped``."""
    options = header_options(script)
    if not any(dropped(option) for _, option in options):
        return script
    lines = script.split("\n")
    for number, _ in list(header_lines(script)):
        lines[number - 1] = "#SBATCH"
    for number, option in options:
        if not dropped(option):
            lines[number - 1] += "".join(f" {_quoted(word)}" for word in option.words)
    return "\n".join(lines)


def _quoted(word: str) -> str:
    """``word`` as sbatch reads it: to it, a backslash quotes between quotes of either kind."""
    if _PLAIN.fullmatch(word):
        return word
    return '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'
