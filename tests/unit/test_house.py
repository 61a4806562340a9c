"""The house's own rules that no linter knows: sizes, and what may not stand in the code."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "vizdash").rglob("*.py"))
_MODULE_LINES, _FUNCTION_LINES = 400, 40


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Every function and how many lines it has, its docstring aside."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            yield node.name, (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_and_functions_can_be_taken_in_at_a_glance(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= _MODULE_LINES
    assert [(name, size) for name, size in functions(path) if size > _FUNCTION_LINES] == []


def tracked() -> list[Path]:
    """The files of the project; every file where there is no git."""
    done = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = done.stdout.splitlines()
    return [ROOT / n for n in names] or [p for p in ROOT.rglob("*") if ".venv" not in p.parts]


#: Paths of one machine and one workplace; the hosts of registries and mirrors.
_FOREIGN = re.compile(
    r"(?<![\w}])/(?:work|farm)/|\bdeb\.debian\.org|\bpypi\.org|files\.pythonhosted|registry\.npmjs"
)


def test_no_path_of_one_machine_and_no_host_of_a_registry() -> None:
    found = []
    for path in tracked():
        if path == Path(__file__) or "recorded" in path.parts or not path.is_file():
            continue
        text = path.read_bytes()
        if b"\0" not in text:
            found += [
                f"{path.relative_to(ROOT)}: {match[0]}"
                for match in _FOREIGN.finditer(text.decode("utf-8", errors="replace"))
            ]
    assert found == []
