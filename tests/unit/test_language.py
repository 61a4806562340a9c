"""The English of screens, help, messages, comments and pages: no private idioms.

The list is short on purpose: words that readers met again and again, and stumbled over.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for pattern in (
        "vizdash/**/*.py",
        "assets/*/*",
        "docs/*.md",
        "*.md",
        "config.example.yaml",
        "Makefile",
        "scripts/*",
    )
    for path in ROOT.glob(pattern)
    if path.is_file() and path.suffix != ".pyc"
)
#: What not to write anywhere, and what to write instead.
IDIOMS = {
    r"mend(s|ed|ing)?": "fix",
    r"anew|once more": "again",
    r"(goes|went) on": "continues, keeps running",
    r"(broken|breaks|broke|breaking) off": "interrupted",
    r"in force": "active",
    r"nobody looks": "idle",
    r"(of )?one's own": "your, the user's",
    r"a fault of (vizdash|our)('s)? own": "internal error",
    r"never mind|might as well": "say what happens",
}
#: What not to write to users and in docstrings: strings of the code, and every page.
TOLD = {
    r"tells? (what|who|why|how|whether|that|of)|(is|are) told(?! apart)": "show, report, print",
    r"(be|is|are) ended": "stop, end",
    r"look(s|ed|ing)? at once": "check again",
    r"whoever": "the user who, anyone who",
    r"as it stands|what became of": "name the value",
}


def strings(path: Path) -> Iterator[str]:
    """The texts of a module: docstrings, messages, help. f-strings give their literal parts."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def found(texts: Iterator[str], idioms: dict[str, str]) -> list[str]:
    """Each idiom in the texts, with words around it and what to write instead."""
    flat = (re.sub(r"\s+(#:? )?", " ", text) for text in texts)
    return [
        f"...{text[max(0, match.start() - 30) : match.end() + 30]}... ({better})"
        for text in flat
        for idiom, better in idioms.items()
        for match in re.finditer(rf"(?i)\b({idiom})\b", text)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_plain_english(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert found(iter([text]), IDIOMS) == []
    shown = strings(path) if path.suffix == ".py" else iter([text])
    assert found(shown, TOLD) == []
