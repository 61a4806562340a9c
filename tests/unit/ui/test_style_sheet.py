"""The style sheet names only classes that exist, so that a renamed widget keeps its style."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

from textual.widget import Widget

from vizdash import ui

SHEET = Path(ui.__file__).with_name("vizdash.tcss")


def class_names(cls: type[Widget]) -> set[str]:
    """The names of a widget class and of all its subclasses that were imported."""
    return {cls.__name__}.union(*(class_names(sub) for sub in cls.__subclasses__()))


def test_every_class_in_a_selector_exists() -> None:
    for module in pkgutil.walk_packages(ui.__path__, "vizdash.ui."):
        importlib.import_module(module.name)
    text = re.sub(r"/\*.*?\*/|\{.*?\}", " ", SHEET.read_text(encoding="utf-8"), flags=re.DOTALL)
    named = set(re.findall(r"(?<![\w$#.-])[A-Z]\w+", text))
    assert len(named) > 10
    assert named <= class_names(Widget)
