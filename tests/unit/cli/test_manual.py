"""The man pages: one for each verb, complete, and without text that groff would interpret."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from vizdash.actions import REGISTRY
from vizdash.cli import manual
from vizdash.cli.common import VERB_MODULES, cli

VERBS = sorted(verb for verbs in VERB_MODULES.values() for verb in verbs)
#: What man(7) has of requests and macros, as far as the pages use any.
_KNOWN = {".TH", ".SH", ".TP", ".B"}


def plain(text: str) -> str:
    """A page's words, in one line."""
    text = re.sub(r"^\.(SH|TP|B|TH) ?", "", text, flags=re.MULTILINE)
    text = text.replace(r"\fB", "").replace(r"\fR", "").replace(r"\fI", "").replace(r"\-", "-")
    return " ".join(text.replace(r"\(aq", "'").replace(r"\&", "").replace(r"\e", "\\").split())


def test_a_page_for_each_verb() -> None:
    assert sorted(manual.pages()) == sorted(["vizdash.1", *(f"vizdash-{v}.1" for v in VERBS)])


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_and_its_help_is_there(verb: str) -> None:
    page = plain(manual.pages()[f"vizdash-{verb}.1"])
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    for param in command.params:
        if isinstance(param, click.Option) and not param.hidden:
            assert all(name in page for name in param.opts)
            assert " ".join((param.help or "").split()) in page
    assert " ".join((command.help or "").split()) in page
    assert "-h, --help" in page


def test_the_programs_page_names_verbs_and_keys() -> None:
    page = plain(manual.pages()["vizdash.1"])
    assert all(f"vizdash-{verb}(1)" in page for verb in VERBS)
    assert all(f"{action.title}: {action.help}" in page for action in REGISTRY if action.keys)


@pytest.mark.parametrize("name", sorted(manual.pages()))
def test_no_text_is_taken_for_a_request(name: str) -> None:
    for line in manual.pages()[name].splitlines():
        if line[:1] in {".", "'"}:
            assert line.split()[0] in _KNOWN, line
        assert not re.search(r"\\[^-fe&(]", line), line


def test_text_that_groff_would_take_for_its_own() -> None:
    assert manual._text(".SH x\n'y \\n --z") == "\\&.SH x\n\\(aqy \\en \\-\\-z"


def test_the_pages_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["manual", str(tmp_path / "man1")])
    manual.main()
    written = {path.name: path.read_text() for path in (tmp_path / "man1").iterdir()}
    assert written == manual.pages()
