"""The private names of Textual that vizdash uses: each exists, and each is listed."""

from __future__ import annotations

import ast
import gc
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import textual
from textual._styles_cache import StylesCache
from textual.app import App
from textual.message_pump import MessagePump
from textual.notifications import Notifications

import vizdash.ui
from tests.ui.fake import app_on, busy
from tests.ui.pilot import begin, press
from vizdash.ui.terminal import textual_private
from vizdash.ui.terminal.textual_private import PRIVATE_NAMES, PrivateName

ROOT = Path(vizdash.ui.__file__).parents[2]
#: Attributes that Python or Textual makes for each class.
_MADE_BY_TEXTUAL = (
    "__",
    "_abc_",
    "_merged_",
    "_css_",
    "_decorated_",
    "_inherit_",
    "_reactives",
    "_computes",
)


def missing(names: tuple[PrivateName, ...]) -> list[str]:
    """What this Textual lacks, with the reason why vizdash needs it."""
    made: dict[type, object] = {App: App(), Notifications: Notifications()}
    made[MessagePump] = made[App]
    return [
        f"Textual {textual.__version__} has no {one.owner.__name__}.{one.name}: {one.reason}"
        for one in names
        if not hasattr(made.get(one.owner, one.owner), one.name)
    ]


def test_this_version_of_textual_has_every_private_name() -> None:
    assert missing(PRIVATE_NAMES) == []


def test_a_missing_one_is_named() -> None:
    (line,) = missing((*PRIVATE_NAMES, PrivateName(App, "_gone", "it is needed")))
    assert line == f"Textual {textual.__version__} has no App._gone: it is needed"


def classes() -> Iterator[type]:
    """Every class of vizdash/ui that inherits one of Textual's."""
    for path in sorted((ROOT / "vizdash/ui").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if cls.__module__ == module.__name__:
                yield cls


def private_overrides(cls: type) -> Iterator[tuple[type, str]]:
    """Private names of a Textual class that ``cls`` defines, too."""
    for base in cls.__mro__[1:]:
        if base.__module__.startswith("textual"):
            for name in vars(cls).keys() & vars(base).keys():
                if name.startswith("_") and not name.startswith(_MADE_BY_TEXTUAL):
                    yield base, name


def test_no_private_name_is_overridden_unlisted() -> None:
    listed = {one.name for one in PRIVATE_NAMES}
    found = [
        f"{cls.__qualname__} overrides {base.__name__}.{name}"
        for cls in classes()
        for base, name in private_overrides(cls)
        if name not in listed
    ]
    assert found == []


def test_an_unlisted_override_is_found() -> None:
    class Careless(App[None]):
        def _end_update(self) -> None: ...

    assert list(private_overrides(Careless)) == [(App, "_end_update")]


def private_imports(path: Path) -> Iterator[str]:
    """Private modules and names that a module takes from Textual, or uses unchecked."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("textual"):
            names = [node.module or "", *(f".{alias.name}" for alias in node.names)]
            yield from (f"{path.name}: {name}" for name in names if "._" in name)
    yield from (f"{path.name}: {line}" for line in text.splitlines() if "noqa: SLF001" in line)


def test_no_other_module_uses_a_private_name_of_textual() -> None:
    modules = set((ROOT / "vizdash/ui").rglob("*.py")) - {Path(textual_private.__file__)}
    assert [found for path in sorted(modules) for found in private_imports(path)] == []
    assert len(list(private_imports(Path(textual_private.__file__)))) > 2


async def test_a_closed_dialog_leaves_nothing_in_memory() -> None:
    """Textual (8.2) keeps what the widgets of the last few hundred dialogs have drawn."""
    app, _ = app_on(busy())
    async with app.run_test(size=(120, 40)) as pilot:
        await begin(pilot)

        async def kept_after_help(times: int) -> int:
            for _ in range(times):
                await press(pilot, "?", "escape")
            gc.collect()
            return sum(type(one) is StylesCache for one in gc.get_objects())

        first = await kept_after_help(2)
        assert await kept_after_help(6) <= first
