"""A verb imports only what it uses; no module below ui and cli imports a terminal library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import vizdash

#: Each costs a quarter of a second or so.
HEAVY = {"textual", "asyncssh", "rich", "ClusterShell", "cryptography"}
FACES = {"ui", "cli"}
_LOADED = (
    "import sys, json; {}; print(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
)


def loaded_by(code: str) -> set[str]:
    """Top-level modules that ``code`` has imported in a new Python."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED.format(code)], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def verb(*words: str) -> str:
    return (
        f"import contextlib; sys.argv = {['vizdash', *words]!r}\n"
        "from vizdash.cli import main\n"
        "with contextlib.suppress(SystemExit): main()\n"
    ).replace("\n", "\nimport sys\n", 1)


@pytest.mark.parametrize(
    "words", [("--version",), ("nodes", "--help"), ("start", "--help"), ("apps",), ("config",)]
)
def test_a_verb_loads_no_terminal_and_no_ssh_library(words: tuple[str, ...]) -> None:
    loaded = loaded_by("exec(" + repr(verb(*words)) + ")")
    assert "click" in loaded, "the verb did not run"
    assert not loaded & HEAVY


def test_a_verb_loads_no_other_verbs_module() -> None:
    code = (
        "import sys\n"
        + verb("sessions", "--help")
        + "print(sorted(m for m in sys.modules if '.cli.' in m))\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = output.stdout.splitlines()[-1]
    assert "vizdash.cli.sessions" in loaded
    assert "vizdash.cli.build" not in loaded and "vizdash.cli.images" not in loaded


def modules() -> list[str]:
    root = Path(vizdash.__file__).parent
    names = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[0] not in FACES and parts[-1] != "__main__":
            names.append(".".join(("vizdash", *parts)).removesuffix(".__init__"))
    return names


def test_no_module_below_ui_and_cli_imports_a_terminal_library() -> None:
    names = modules()
    assert len(names) > 40
    loaded = loaded_by(f"import importlib; [importlib.import_module(m) for m in {names!r}]")
    assert "vizdash" in loaded
    assert not loaded & {"textual", "rich", "click"}


#: What the dashboard's first screen has no use for: it shows what an earlier one saw.
LATER = {"click", "email", "http", "html", "xml", "json", "webbrowser", "configparser"}
#: Below these, nothing is imported for it.
LATER_PARTS = ("engines", "images", "sessions", "transport", "service.service", "ui.controllers")


def test_the_first_screen_loads_neither_the_service_nor_a_parser_of_arguments() -> None:
    code = "import sys, vizdash.cli.program, vizdash.cli.dashboard, vizdash.ui.app\n"
    code += "print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "vizdash.ui.screens.dashboard" in loaded
    assert not LATER.intersection(loaded)
    later = tuple(f"vizdash.{part}" for part in LATER_PARTS)
    assert [name for name in loaded if name.startswith(later)] == []


def test_a_service_loads_nothing_that_opens_desktops() -> None:
    loaded = loaded_by("import vizdash.service.factory")
    assert "vizdash" in loaded
    assert not loaded & {"click", "email", "http", "xml", "webbrowser", "configparser"}
