"""The job scripts use nothing that bash 4.4 (EL 8) lacks.

It cannot be installed on today's systems, so the syntax is checked here.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vizdash.util.assets import assets

SCRIPTS = sorted([*(assets() / "jobs").glob("*.sh"), *(assets() / "nodes").glob("*.sh")])

_WORDS = {
    "5.0": "EPOCHSECONDS EPOCHREALTIME BASH_ARGV0 localvar_inherit localvar_unset assoc_expand_once"
    " progcomp_alias",
    "5.1": "SRANDOM",
    "5.2": "globskipdots patsub_replacement noexpand_translation varredir_close",
    "5.3": "BASH_MONOSECONDS BASH_TRAPSIG GLOBSORT array_expand_once bash_source_fullpath",
}
NEWER = {
    **{
        f"a name that is special since {version}": rf"\b({words.replace(' ', '|')})\b"
        for version, words in _WORDS.items()
    },
    "wait -n with PIDs, -f, -p (5.0, 5.1)": r"\bwait\s+(-\w+\s+)*(-\w*n\w*\s+[\"$%\w]|-\w*[fp])",
    "${name@U} and the like (5.1, 5.2)": r"\$\{[^}]*@[ULukK]\}",
    "${ command; } (5.3)": r"\$\{[\s|]",
    "history -d RANGE, ulimit -R (5.0, 5.1)": r"\bulimit\s+-\w*[RkP]|\bhistory\s+-d",
    "read -E, compgen -V, source -p (5.3)": r"\bread\s+(-\w+\s+)*-\w*E"
    r"|\bcompgen\s+-V|\b(source|\.)\s+-p\b",
    "printf %Q (5.2)": r"\bprintf\b[^|;&]*%\d*Q",
    "test -v NAME[@] (5.2)": r"-v\s+[\"']?\w+\[@\]",
}


def code(path: Path) -> list[str]:
    """Lines without comments, and without what is Python in a here-document."""
    text = re.sub(r"<<'PY'\n.*?\nPY\n", "\n", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [re.sub(r"(^|\s)#.*$", "", line) for line in text.splitlines()]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_nothing_newer_than_bash_4_4(path: Path) -> None:
    found = [
        f"{path.name}: {line.strip()} ({what})"
        for line in code(path)
        for what, pattern in NEWER.items()
        if re.search(pattern, line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        'wait -n "$a" "$b"',
        "wait -n $a",
        "wait -fn 12",
        "wait -p who -n",
        "now=$EPOCHSECONDS",
        'echo "${name@U}"',
        "wait -f $a",
        "x=${ echo; }",
        "printf '%Q' x",
        "shopt -s globskipdots",
    ],
)
def test_what_is_newer_is_found(line: str) -> None:
    assert [what for what, pattern in NEWER.items() if re.search(pattern, line)]


@pytest.mark.parametrize(
    "line", ["wait -n", 'wait "$leader"', '"${name@Q}"', "${now:-}", "printf '%q'", "local -"]
)
def test_what_4_4_has_is_not(line: str) -> None:
    assert not [what for what, pattern in NEWER.items() if re.search(pattern, line)]
