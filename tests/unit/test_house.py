"""Rules of the project that no linter checks: sizes, and forbidden strings."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.outline import module_summary

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "vizdash").rglob("*.py"))
#: Cohesion is what counts: a module of 500 lines about one subject is easier to read than five
#: parts of it. The limits keep out what cannot be taken in at a glance.
_MODULE_LINES, _FUNCTION_LINES = 500, 40


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


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_says_in_a_sentence_what_it_is(path: Path) -> None:
    """A reader who has only the list of files finds a subject by these sentences."""
    summary = module_summary(path)
    assert 15 < len(summary) <= 200 and summary.endswith((".", ")", "``"))


def test_the_app_leads_and_its_controllers_do_the_work() -> None:
    text = (ROOT / "vizdash/ui/app.py").read_text(encoding="utf-8")
    assert text.count("\n") < 250


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


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


#: Rows of a table in a test, named for what they hold, beside a type of the code.
_ROWS_OF_TESTS = {"Case", "Picture", "Target"}


def test_no_two_classes_have_one_name() -> None:
    homes: dict[str, list[str]] = {}
    for path in python_files("vizdash", "tests", "bench"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    shared = {name: paths for name, paths in homes.items() if len(paths) > 1}
    assert {name: paths for name, paths in shared.items() if name not in _ROWS_OF_TESTS} == {}


#: Modules of one name in several folders, and the one subject that they share.
SHARED_NAMES = {
    "base": "the protocol of a layer: engines and transport",
    "build": "building an image: plan, verb, screen",
    "builds": "the builds of images: service, controller",
    "client": "the client of a program: Slurm's, asyncssh's",
    "command_log": "the commands that were run: list, screen",
    "connection": "the SSH connection: itself, controller",
    "dashboard": "the dashboard: its verb, its screen",
    "deploy": "deploying an image: plan, screen",
    "forwarders": "PortForwarder: by ssh(1), by asyncssh",
    "handoff": "the line and link for another computer: text, screen",
    "help": "help: of verbs, of keys",
    "images": "images: verbs, controller, texts",
    "image_matrix": "which node has which image: text, screen",
    "load_history": "the history of load: store, screen",
    "login": "logging in: by OpenSSH, by asyncssh",
    "messages": "what SSH printed: of OpenSSH, of asyncssh",
    "nodes": "nodes: controller, texts",
    "quit": "quitting: controller, screen",
    "session_details": "the details of a session: text, screen",
    "sessions": "sessions: verbs, controller, texts",
    "share": "sharing a session: its tickets, its verb",
    "shares": "shared sessions: service, controller",
    "ssh": "logins to sessions: verbs, controller",
    "start": "starting a session: service, form",
    "tunnels": "tunnels: verb, screen",
}


def test_modules_of_one_name_have_one_subject() -> None:
    homes: dict[str, list[str]] = {}
    for path in MODULES:
        if not path.stem.startswith("__"):
            homes.setdefault(path.stem, []).append(str(path.relative_to(ROOT)))
    shared = {name: paths for name, paths in homes.items() if len(paths) > 1}
    assert shared.keys() - SHARED_NAMES.keys() == set(), "name it for its subject, or say which"


#: Names for the grammar of a value instead of its content: ``found`` may be anything.
_EMPTY_NAMES = {"told", "said"}


def stored_names(path: Path) -> Iterator[str]:
    """The names that a module gives to values."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg


def test_values_are_named_for_their_content() -> None:
    empty = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in python_files("vizdash", "assets", "bench")
        for name in stored_names(path)
        if name.strip("_") in _EMPTY_NAMES
    ]
    assert empty == []


#: Names that say neither what a thing is nor what a function does.
_VAGUE_NAMES = {
    *("away", "foresee", "handin", "imaging", "kept", "listed", "look", "looking", "mend", "own"),
    *("past", "places", "reach", "room", "said", "seen", "shelf", "stops", "told", "ways", "words"),
    "yard",
}


def test_modules_classes_and_functions_are_named_for_what_they_are() -> None:
    vague = []
    for path in python_files("vizdash", "assets", "bench", "tests"):
        kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = [path.stem, *(node.name for node in nodes if isinstance(node, kinds))]
        vague += [
            f"{path.relative_to(ROOT)}: {name}"
            for name in names
            if name.strip("_").lower() in _VAGUE_NAMES
        ]
    assert vague == []
