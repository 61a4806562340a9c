"""Prints every module of vizdash with the first sentence of its docstring: ``make outline``."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]


def module_summary(path: Path) -> str:
    """The first paragraph of a module's docstring, in one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


if __name__ == "__main__":
    for path in sorted((ROOT / "vizdash").rglob("*.py")):
        print(f"{path.relative_to(ROOT)}: {module_summary(path)}")
